"""Where settings come from, which wins, and what is said of a wrong one: its name, never its value."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from adapter.cli import app
from adapter.config import PREFIX, Settings, fields, load, parse_marker
from adapter.domain.marker import Marker, MarkerElement
from adapter.errors import ConfigError
from adapter.wiring import policy_of

VALUE = "s3cr3t-Value"


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


def _environment(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"{PREFIX}{name}", value)


def _toml(folder: Path, text: str) -> Path:
    file = folder / "adapter.toml"
    file.write_text(text, "utf-8")
    return file


def _cli(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


# --- where they come from ---------------------------------------------------------------------------------------------


def test_without_anything_every_setting_has_its_default() -> None:
    settings = load()

    assert settings.web.port == 8080
    assert settings.metriport.api_key.get_secret_value() == ""
    assert parse_marker(settings.watch.marker) == Marker()


def test_the_environment_names_group_and_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    _environment(monkeypatch, WEB__PORT="9000", FHIR__AUTHORIZATION="Bearer x", adapter_unrelated="1")

    settings = load()

    assert settings.web.port == 9000
    assert settings.fhir.authorization is not None
    assert settings.fhir.authorization.get_secret_value() == "Bearer x"


@pytest.mark.parametrize("stated", ['["one", "two"]', "one two", " one\n two "])
def test_several_keys_are_a_list_or_words(monkeypatch: pytest.MonkeyPatch, stated: str) -> None:
    _environment(monkeypatch, METRIPORT__WEBHOOK_KEYS=stated)

    assert [key.get_secret_value() for key in load().metriport.webhook_keys] == ["one", "two"]


def test_a_toml_file_has_groups_as_tables(tmp_path: Path) -> None:
    file = _toml(tmp_path, '[metriport]\nwebhook_keys = ["one"]\nsends_per_minute = 7\n[web]\nport = 1\n')

    settings = load(file)

    assert settings.metriport.sends_per_minute == 7
    assert [key.get_secret_value() for key in settings.metriport.webhook_keys] == ["one"]
    assert "ADAPTER_CONFIG" not in os.environ
    assert load().web.port == 8080


def test_the_environment_can_name_the_toml_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _environment(monkeypatch, CONFIG=str(_toml(tmp_path, "[web]\nport = 1\n")))

    assert load().web.port == 1


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_may_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    file = tmp_path / "key"
    file.write_bytes(f" {VALUE} {end}".encode())
    _environment(monkeypatch, METRIPORT__API_KEY_FILE=str(file), METRIPORT__WEBHOOK_KEYS_FILE=str(file))

    metriport = load().metriport

    assert metriport.api_key.get_secret_value() == f" {VALUE} "
    assert [key.get_secret_value() for key in metriport.webhook_keys] == [VALUE]


def test_environment_before_secret_file_before_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "key"
    secret.write_text("from the secret file")
    file = _toml(
        tmp_path,
        '[metriport]\napi_key = "from toml"\nbase_url = "https://toml.example"\nfacility_id = "toml"\n',
    )
    _environment(monkeypatch, METRIPORT__API_KEY_FILE=str(secret), METRIPORT__FACILITY_ID="environment")

    metriport = load(file).metriport
    _environment(monkeypatch, METRIPORT__API_KEY="from the environment")

    assert metriport.api_key.get_secret_value() == "from the secret file"
    assert (metriport.facility_id, metriport.base_url) == ("environment", "https://toml.example")
    assert load(file).metriport.api_key.get_secret_value() == "from the environment"


@pytest.mark.parametrize("name", ["FHIR__AUTHORIZATION", "MAPPINGS__DIRECTORY", "METRIPORT__FACILITY_ID"])
def test_what_is_left_blank_is_unset(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _environment(monkeypatch, **{name: ""})
    group, setting = name.lower().split("__")

    assert getattr(getattr(load(), group), setting) is None


# --- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "WEB__PROT",
        "NOPE__PORT",
        "WEB_PORT",
        "METRIPORT_API_KEY",
        "METRIPORT__API_KEYS_FILE",
        "WEB__",
        "FHIR__BASE__URL",
    ],
)
def test_a_name_that_is_none_is_said(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _environment(monkeypatch, **{name: VALUE})

    with pytest.raises(ConfigError, match=f"ADAPTER_{name}") as error:
        load()

    assert VALUE not in str(error.value)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("WEB__PORT", "web.port"),
        ("WATCH__MARKER", "watch.marker"),
        ("WATCH__DOORBELL", "watch.doorbell"),
        ("WATCH__DOORBELL_PAYLOAD", "watch.doorbell_payload"),
        ("METRIPORT__SENDS_PER_MINUTE", "metriport.sends_per_minute"),
        ("METRIPORT", "metriport"),
        ("MAPPINGS__LONG_BODY", "mappings.long_body"),
        ("TELEMETRY__LOG_LEVEL", "telemetry.log_level"),
    ],
)
def test_a_bad_value_is_named_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, setting: str
) -> None:
    _environment(monkeypatch, **{name: VALUE})

    with pytest.raises(ConfigError) as error:
        load()

    assert setting in str(error.value)
    assert VALUE not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param(f'[fhir]\nbase_urls = "{VALUE}"', "fhir.base_urls", id="unknown setting"),
        pytest.param(f'[fhri]\nbase_url = "{VALUE}"', "fhri", id="unknown group"),
        pytest.param(f'fhir = "{VALUE}"', "fhir", id="no table"),
        pytest.param(f'[metriport]\napi_key = ["{VALUE}"]', "metriport.api_key", id="wrong kind"),
        pytest.param(
            "[metriport]\nsends_per_minute = 21\n[web]\nport = 70000", "metriport.sends_per", id="several"
        ),
        pytest.param("[metriport]\nsends_per_minute = 0", "metriport.sends_per_minute", id="too small"),
        pytest.param(f"[metriport]\napi_key = {VALUE}", "line 2, column 11", id="no TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_by_name_or_place(tmp_path: Path, text: str, named: str) -> None:
    file = _toml(tmp_path, text)

    with pytest.raises(ConfigError) as error:
        load(file)

    assert named in str(error.value)
    assert VALUE not in str(error.value)
    assert ("web.port" in str(error.value)) is ("70000" in text)


def test_a_file_that_is_no_text_is_said(tmp_path: Path) -> None:
    file = tmp_path / "adapter.toml"
    file.write_bytes(b'[metriport]\napi_key = "\xff"')

    with pytest.raises(ConfigError, match=r"adapter\.toml cannot be read: UnicodeDecodeError"):
        load(file)


def test_a_file_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml does not exist"):
        load(tmp_path / "nowhere.toml")
    _environment(monkeypatch, CONFIG=str(tmp_path / "nowhere.toml"))
    with pytest.raises(ConfigError, match=r"nowhere\.toml does not exist"):
        load()


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_secret_file_that_cannot_be_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    _environment(monkeypatch, METRIPORT__API_KEY_FILE=str(file))

    with pytest.raises(ConfigError, match="ADAPTER_METRIPORT__API_KEY_FILE names a file that cannot be read"):
        load()


# --- the marker -------------------------------------------------------------------------------------------------------

token = st.text(st.characters(exclude_characters="|", exclude_categories=["Cs"]), min_size=1)


@given(element=st.sampled_from(MarkerElement), system=token, code=token)
def test_a_marker_has_element_system_and_code(element: MarkerElement, system: str, code: str) -> None:
    assert parse_marker(f"{element}={system}|{code}") == Marker(element=element, system=system, code=code)


@pytest.mark.parametrize(
    "text",
    ["", "medium", "medium=", "medium=|", "medium=system", "medium=system|", "medium=|code", "topic=s|c"],
)
def test_a_marker_without_one_of_them_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"medium=system\|code"):
        parse_marker(text)


def test_the_sites_decisions_reach_the_pipelines() -> None:
    settings = Settings.model_validate(
        {
            "watch": {"marker": "category=urn:s|c", "extra": "sender=Organization/1&_tag="},
            "attachments": {"allowed_origins": ["https://files.example/"]},
            "metriport": {"sends_per_minute": 5, "list_lag_seconds": 1, "unconfirmed_after_hours": 2},
        }
    )

    policy = policy_of(settings)

    assert policy.marker == Marker(element=MarkerElement.CATEGORY, system="urn:s", code="c")
    assert policy.extra_search == (("sender", "Organization/1"), ("_tag", ""))
    assert policy.allowed_origins == {"https://files.example"}
    assert policy.pace.sends_per_minute == 5
    assert (policy.list_lag.total_seconds(), policy.unconfirmed_after.total_seconds()) == (1, 7200)


# --- `config` ---------------------------------------------------------------------------------------------------------


def _uncommented(example: str) -> str:
    """The example with its settings in force; what describes them stays a comment."""
    return "\n".join(
        line.removeprefix("# ") if line.startswith("# ") and " = " in line.split(". ")[0] else line
        for line in example.splitlines()
    )


def test_the_example_can_be_used_as_it_is_and_uncommented(tmp_path: Path) -> None:
    example = _cli("config", "example").output
    uncommented = _uncommented(example)

    named = {f"{group}.{name}" for group, table in tomllib.loads(uncommented).items() for name in table}
    assert named == {f"{group}.{name}" for group, name, _ in fields()}
    assert load(_toml(tmp_path, example)) == load()
    assert load(_toml(tmp_path, uncommented)) == load()


def test_the_example_says_what_each_setting_does_and_how_the_environment_names_it() -> None:
    example = _cli("config", "example").output

    for group, name, field in fields():
        assert field.description in example
        assert f"Environment: ADAPTER_{group.upper()}__{name.upper()}\n" in example


SECRETS: dict[str, Any] = {
    "FHIR__AUTHORIZATION": f"Bearer {VALUE}",
    "WATCH__DOORBELL_SECRET": VALUE,
    "METRIPORT__API_KEY": VALUE,
    "METRIPORT__WEBHOOK_KEYS": f"{VALUE} {VALUE}-next",
}


@pytest.mark.parametrize(
    "ledger",
    [
        f"postgresql+psycopg://adapter:{VALUE}@db.example/ledger",
        f"postgresql+psycopg://adapter:{VALUE}@{VALUE}@db.example/ledger",
        f"postgresql+psycopg://db.example/ledger?password={VALUE}&user=adapter",
    ],
)
@pytest.mark.parametrize("how", [[], ["--json"]])
def test_no_secret_is_ever_shown(monkeypatch: pytest.MonkeyPatch, ledger: str, how: list[str]) -> None:
    _environment(monkeypatch, **SECRETS, LEDGER__URL=ledger)

    shown = _cli("config", "show", *how).output

    assert VALUE not in shown
    assert shown.count("(set)") == 5
    assert "db.example/ledger" in shown
    assert "adapter" in shown


def test_settings_are_shown_as_they_are_in_force(tmp_path: Path) -> None:
    file = _toml(tmp_path, f'[web]\nport = 9\n[mappings]\ndirectory = "{tmp_path}"\n')

    as_json = json.loads(_cli("config", "show", "--json", "--config", str(file)).output)
    as_text = _cli("config", "show", "--config", str(file)).output

    assert as_json["web.port"] == 9
    assert as_json["mappings.directory"] == str(tmp_path)
    assert as_json["metriport.api_key"] == ""
    assert as_json["watch.doorbell_payload"] is True
    assert set(as_json) == {f"{group}.{name}" for group, name, _ in fields()}
    assert "web.port = 9\n" in as_text
    assert tomllib.loads(as_text)["web"]["port"] == 9


def test_the_schema_describes_every_setting() -> None:
    schema = json.loads(_cli("config", "schema").output)

    described = {
        (group, name): setting
        for group, reference in schema["properties"].items()
        for name, setting in schema["$defs"][reference["$ref"].rpartition("/")[2]]["properties"].items()
    }
    assert {(group, name) for group, name, _ in fields()} == set(described)
    assert all(setting["description"] for setting in described.values())
