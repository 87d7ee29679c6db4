"""`config`: the settings, documented, in force, and as a schema."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import typer
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from adapter.cli.root import ConfigOption, JsonOption, app, print_json
from adapter.config import PREFIX, Settings, fields, load

# That of ledger.url: between user and host, or as a parameter.
_PASSWORD: Final = re.compile(r"(://[^:/?#\s]*:)\S*(?=@)|(?<=[?&])(password=)[^&\s]*")

_config = typer.Typer(help="The settings.", no_args_is_help=True)
app.add_typer(_config, name="config")


@_config.command()
def example() -> None:
    """A TOML file with every setting, its default and what it does."""
    group_now = None
    for group, name, field in fields():
        if group != group_now:
            typer.echo(f"{'' if group_now is None else chr(10)}[{group}]")
            group_now = group
        typer.echo(f"# {field.description} Environment: {PREFIX}{group.upper()}__{name.upper()}")
        typer.echo(f"# {name} = {_toml(field.default)}")


@_config.command("show")
def show_settings(json: JsonOption = False, config: ConfigOption = None) -> None:
    """The settings in force; secrets are not shown, only whether they are set."""
    settings = load(config)
    shown = {
        f"{group}.{name}": _plain(getattr(getattr(settings, group), name)) for group, name, _ in fields()
    }
    if json:
        print_json(shown)
        return
    for name, value in shown.items():
        typer.echo(f"{name} = {_toml(value)}")


@_config.command()
def schema() -> None:
    """The settings as JSON Schema."""
    print_json(Settings.model_json_schema())


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return "(set)" if value.get_secret_value() else ""
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, str):
        return _PASSWORD.sub(lambda found: f"{found[1] or found[2]}***", value)
    return value if isinstance(value, int | float | bool | None) else str(value)


def _toml(value: Any) -> str:
    plain = _plain(value)
    return '""' if plain is None or plain is PydanticUndefined else json.dumps(plain, ensure_ascii=False)
