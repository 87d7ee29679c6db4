"""Settings: environment `ADAPTER_<GROUP>__<NAME>`, or a TOML file; secrets also as `…_FILE`.

The descriptions here are the documentation: `config example` and the README are made from them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from adapter.domain.canonical import CHANNEL_SYSTEM
from adapter.domain.marker import Marker, MarkerElement
from adapter.errors import ConfigError

PREFIX: Final = "ADAPTER_"

_MARKER: Final = f"medium={CHANNEL_SYSTEM}|metriport"


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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
        description="Origins besides the FHIR server from which attachments are fetched, without credentials.",
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
        del dotenv_settings, file_secret_settings
        return (
            init_settings,
            env_settings,
            InitSettingsSource(settings_cls, _secret_files()),
            TomlConfigSettingsSource(settings_cls, toml_file=os.environ.get(f"{PREFIX}CONFIG")),
        )

    @property
    def public_url(self) -> str:
        """How others reach the adapter, without a slash at the end."""
        return (self.web.public_url or f"http://{self.web.host}:{self.web.port}").rstrip("/")


def _secret_files() -> dict[str, dict[str, Any]]:
    """`ADAPTER_GROUP__NAME_FILE=path` gives the setting the file's content, the line end taken off."""
    found: dict[str, dict[str, Any]] = {}
    for name, path in os.environ.items():
        if not (name.startswith(PREFIX) and name.endswith("_FILE") and "__" in name):
            continue
        group, setting = name[len(PREFIX) : -len("_FILE")].lower().split("__", 1)
        try:
            content = Path(path).read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{name} names a file that cannot be read: {type(error).__name__}.") from None
        value: object = content.split() if setting == "webhook_keys" else content
        found.setdefault(group, {})[setting] = value
    return found


def load(config: Path | None = None) -> Settings:
    """The settings in force.

    Raises:
        ConfigError: names every setting that is wrong, and what is wrong with it, without its value.
    """
    if config is not None:
        if not config.is_file():
            raise ConfigError(f"The configuration file {config} does not exist.")
        os.environ[f"{PREFIX}CONFIG"] = str(config)
    try:
        settings = Settings()
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)
        ]
        raise ConfigError("Settings are wrong: " + "; ".join(lines)) from None
    except ValueError as error:
        raise ConfigError(f"The settings cannot be read: {type(error).__name__}.") from None
    unknown = sorted(_unknown_names())
    if unknown:
        raise ConfigError(f"Unknown settings in the environment: {', '.join(unknown)}.")
    return settings


def _unknown_names() -> Iterator[str]:
    known = {f"{PREFIX}{group}__{name}".upper() for group, name, _ in fields()}
    for name in os.environ:
        if name.startswith(PREFIX) and "__" in name and name.removesuffix("_FILE") not in known:
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
        model = holder.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            for name, field in model.model_fields.items():
                yield group, name, field
