"""What all commands share: the application, the configuration option, and the exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from adapter.errors import (
    AdapterError,
    ConfigError,
    Conflict,
    IllegalTransition,
    MappingError,
    Rejected,
    Temporary,
    Unresolved,
    Unverified,
)

BUG: Final = 70

EXIT_CODES: Final[tuple[tuple[type[AdapterError], int, str], ...]] = (
    (ConfigError, 2, "a setting is missing or wrong"),
    (Temporary, 3, "a neighbour does not answer; try again"),
    (Conflict, 4, "somebody changed it first; try again"),
    (Rejected, 5, "a neighbour refuses the request"),
    (Unverified, 6, "a secret is missing or wrong"),
    (MappingError, 7, "a mapping is wrong"),
    (Unresolved, 8, "nobody fits, or several do"),
    (IllegalTransition, BUG, "a bug in the adapter"),
    (AdapterError, BUG, "a bug in the adapter"),
)

app: Final = typer.Typer(
    name="metriport-adapter",
    help="Carries clinical messages between a FHIR R4 server and Metriport Message Delivery, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file with settings.", envvar="ADAPTER_CONFIG")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for scripts.")]

# Rich takes what is no terminal for one of 80 columns; whatever reads a pipe wants it whole.
console: Final = Console(width=None if Console().is_terminal else 200)

_HERE: Final = re.compile(r"https?://(127\.|localhost\b|\[::1\])", re.IGNORECASE)


def is_here(url: str) -> bool:
    """Whether it is an address of this machine."""
    return _HERE.match(url) is not None


def print_json(value: Mapping[str, Any] | list[Any]) -> None:
    """JSON as it is, without colours or wrapping."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))
