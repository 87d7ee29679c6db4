"""Settings: environment `ADAPTER_<GROUP>__<NAME>`, or a TOML file; secrets also as `…_FILE`.

The descriptions here are the documentation: `config example` and the README are made from them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from adapter.domain.canonical import CHANNEL_SYSTEM
from adapter.domain.marker import Marker, MarkerElement
from adapter.errors import ConfigError

PREFIX: Final = "ADAPTER_"

_FILE: Final = "_FILE"
_PLACE: Final = re.compile(r"\(at .*\)$")
_toml_file: Final[ContextVar[Path | None]] = ContextVar("toml_file", default=None)

_MARKER: Final = f"medium={CHANNEL_SYSTEM}|metriport"


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _blank_is_unset(cls, value: Any, info: ValidationInfo) -> Any:
        # `config example` shows what is unset as "", and so does a variable of the environment left blank.
        optional = cls.model_fields[str(info.field_name)].default is None
        return None if optional and value == "" else value


class FhirGroup(_Group):
    """The local FHIR server."""

    base_url: str = Field("http://127.0.0.1:8081/fhir", description="Base URL of the FHIR R4 server.")
    authorization: SecretStr | None = Field(
        None, description="The whole Authorization header for the FHIR server, such as `Bearer …`."
    )


class WatchGroup(_Group):
    """How outbound Communications are found."""

    marker: str = Field(
        _MARKER,
        description="The marker, `medium=system|code` or `category=system|code`. Nothing without it is sent.",
    )
    extra: str = Field("", description="Further search parameters that narrow the search, `name=value&…`.")
    sweep_seconds: float = Field(30.0, gt=0, description="Seconds between two sweeps.")
    patrol_seconds: float = Field(300.0, gt=0, description="Seconds between two sweeps over `in-progress`.")
    doorbell: Literal["off", "rest-hook"] = Field(
        "off", description="`rest-hook` keeps a Subscription on the FHIR server that rings at web.public_url."
    )
    doorbell_payload: bool = Field(
        default=True,
        description="Whether the notification names the resource, so that it is looked at directly.",
    )
    doorbell_secret: SecretStr = Field(
        SecretStr(""), description="What the doorbell must carry as `Authorization: Bearer …`."
    )

    @field_validator("marker")
    @classmethod
    def _marker_has_its_parts(cls, value: str) -> str:
        parse_marker(value)
        return value


class MetriportGroup(_Group):
    """Metriport Message Delivery."""

    base_url: str = Field(
        "https://api.sandbox.metriport.com",
        description="Origin of Metriport's API; production: api.metriport.com.",
    )
    api_key: SecretStr = Field(SecretStr(""), description="The API key. It goes to this origin only.")
    webhook_keys: tuple[SecretStr, ...] = Field(
        (), description="The webhook keys that count, several while one is being replaced."
    )
    facility_id: str | None = Field(None, description="The facility that new patients belong to.")
    sends_per_minute: int = Field(
        20, ge=1, le=20, description="Sends a minute; Metriport publishes 20 at most."
    )
    list_lag_seconds: float = Field(
        120.0, ge=0, description="After how many seconds an accepted message is surely on Metriport's list."
    )
    after_unknown: Literal["resend", "hold"] = Field(
        "resend",
        description="What becomes of a message of unknown outcome that Metriport's list does not show: "
        "one more attempt, or a person is asked.",
    )
    reference_line: bool = Field(
        default=False,
        description="Whether each text ends in a short reference, by which the message is found on Metriport's list.",
    )
    unconfirmed_after_hours: float = Field(
        72.0,
        gt=0,
        description="Hours without an acknowledgement after which a message is said to be unconfirmed.",
    )


class LedgerGroup(_Group):
    """The adapter's own memory; it may be deleted at any time without losing a message."""

    url: str = Field(
        "sqlite+aiosqlite:///ledger.sqlite3",
        description="`sqlite+aiosqlite:///file` for one process, `postgresql+psycopg://…` for replicas.",
    )


class WebGroup(_Group):
    """Where the adapter listens."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on.")
    public_url: str | None = Field(
        None, description="How the FHIR server and Metriport reach the adapter; unset: http://host:port."
    )


class MappingsGroup(_Group):
    """How FHIR becomes Metriport's JSON."""

    directory: Path | None = Field(
        None, description="A site's own templates; each replaces one of the packaged."
    )
    default_subject: str | None = Field(
        None, description="The subject line of a Communication that has none; unset: such a one is refused."
    )
    long_body: Literal["refuse", "attach"] = Field(
        "refuse", description="What becomes of a text over 5,000 UTF-16 units."
    )


class RecipientsGroup(_Group):
    """How destinations are read from recipients."""

    plain_email: bool = Field(
        default=False,
        description="Whether an e-mail address without the Direct extension counts as a Direct address.",
    )


class AttachmentsGroup(_Group):
    """What may be attached."""

    allowed_origins: tuple[str, ...] = Field(
        (),
        description="Origins besides the FHIR server from which attachments are fetched, without credentials; "
        "they may be inside the own network.",
    )


class PatientsGroup(_Group):
    """How patients here and at Metriport are tied together."""

    external_id_system: str | None = Field(
        None,
        description="Identifier system of the Patient that Metriport knows as `externalId`; unset: `Patient.id`.",
    )


class InboundGroup(_Group):
    """Messages that others send in."""

    most_bytes: int = Field(
        100_000_000, ge=1, description="The largest attachment that is taken in, in bytes."
    )
    reconcile_seconds: float = Field(
        600.0, gt=0, description="How often Metriport's list is read for messages whose call never came."
    )
    sent_elsewhere: bool = Field(
        default=False,
        description="Whether what others sent from the account is shown as Communications, too; never a wish to send.",
    )
    spool_directory: Path | None = Field(
        None,
        description="Where attachments are kept on disk while they are written; unset: the system's temporary "
        "directory. Nothing there outlives the process.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts that links of received messages may lead to, `files.example.org` or `*.example.org`; "
        "unset: any.",
    )
    allow_private_addresses: bool = Field(
        default=False,
        description="Whether these links may lead into the own network; for a simulator on this machine.",
    )


class TelemetryGroup(_Group):
    """What the adapter says of itself. Patient content is never in it."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least level logged."
    )
    log_format: Literal["json", "console"] = Field(
        "json", description="`json` for machines, `console` for people."
    )


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    fhir: FhirGroup = FhirGroup()
    watch: WatchGroup = WatchGroup()
    metriport: MetriportGroup = MetriportGroup()
    ledger: LedgerGroup = LedgerGroup()
    web: WebGroup = WebGroup()
    mappings: MappingsGroup = MappingsGroup()
    recipients: RecipientsGroup = RecipientsGroup()
    attachments: AttachmentsGroup = AttachmentsGroup()
    patients: PatientsGroup = PatientsGroup()
    inbound: InboundGroup = InboundGroup()
    telemetry: TelemetryGroup = TelemetryGroup()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over secret files, these over the TOML file."""
        del env_settings, dotenv_settings, file_secret_settings
        return (
            init_settings,
            _Environment(settings_cls),
            InitSettingsSource(settings_cls, _secret_files()),
            TomlConfigSettingsSource(settings_cls, toml_file=_toml_file.get()),
        )

    @property
    def public_url(self) -> str:
        """How others reach the adapter, without a slash at the end."""
        return (self.web.public_url or f"http://{self.web.host}:{self.web.port}").rstrip("/")


class _Environment(EnvSettingsSource):
    """The environment, where several values may also be written with blanks between them, as in a secret's file."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        named = super()._load_env_vars()
        return {name: value for name, value in named.items() if not name.upper().endswith(_FILE)}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """JSON, or for a tuple the words of the text."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            if not str(field.annotation).startswith("tuple"):
                raise
            return str(value).split()


def _secret_files() -> dict[str, dict[str, Any]]:
    """`ADAPTER_GROUP__NAME_FILE=path` gives the setting the file's content, the line end taken off."""
    found: dict[str, dict[str, Any]] = {}
    for name, path in os.environ.items():
        stated = name.upper()
        if not (stated.startswith(PREFIX) and stated.endswith(_FILE) and "__" in stated):
            continue
        group, setting = stated[len(PREFIX) : -len(_FILE)].lower().split("__", 1)
        try:
            content = Path(path).read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{name} names a file that cannot be read: {type(error).__name__}.") from None
        value: object = content.split() if setting == "webhook_keys" else content
        found.setdefault(group, {})[setting] = value
    return found


def load(config: Path | None = None) -> Settings:
    """The settings in force; without `config` those of the file that ADAPTER_CONFIG names.

    Raises:
        ConfigError: names every setting that is wrong, and what is wrong with it, without its value.
    """
    named = os.environ.get(f"{PREFIX}CONFIG")
    file = config or (Path(named) if named else None)
    if file is not None and not file.is_file():
        raise ConfigError(f"The configuration file {file} does not exist.")
    unknown = sorted(_unknown_names())
    if unknown:
        raise ConfigError(
            f"Unknown settings in the environment: {', '.join(unknown)}. They are named {PREFIX}<GROUP>__<NAME>."
        )
    token = _toml_file.set(file)
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)
        ]
        raise ConfigError("Settings are wrong: " + "; ".join(lines)) from None
    except SettingsError as error:
        raise ConfigError(f"The environment cannot be read: {error}.") from None
    except (OSError, ValueError) as error:
        # What the file says is not repeated: it may be a key.
        place = _PLACE.search(str(error)) if isinstance(error, ValueError) else None
        where = f" {place[0]}" if place else ""
        raise ConfigError(
            f"The configuration file {file} cannot be read: {type(error).__name__}{where}."
        ) from None
    finally:
        _toml_file.reset(token)


def _unknown_names() -> Iterator[str]:
    """Names that look like settings and are none; one underscore instead of two is the usual slip."""
    known = {f"{PREFIX}{group}__{name}".upper() for group, name, _ in fields()}
    groups = tuple(f"{PREFIX}{group}_".upper() for group in Settings.model_fields)
    for name in os.environ:
        stated = name.upper()
        meant = stated.startswith(groups) or (stated.startswith(PREFIX) and "__" in stated)
        if meant and stated.removesuffix(_FILE) not in known:
            yield name


def parse_marker(value: str) -> Marker:
    """The marker in its text form `element=system|code`.

    Raises:
        ValueError: it has not these parts.
    """
    element, _, token = value.partition("=")
    system, bar, code = token.partition("|")
    if element not in list(MarkerElement) or not bar or not system or not code:
        raise ValueError("must be `medium=system|code` or `category=system|code`")
    return Marker(element=MarkerElement(element), system=system, code=code)


def fields() -> Iterator[tuple[str, str, Any]]:
    """Every setting: group, name, and its pydantic field with description and default."""
    for group, holder in Settings.model_fields.items():
        model: Any = holder.annotation
        for name, field in model.model_fields.items():
            yield group, name, field
