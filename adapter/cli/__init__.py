"""The command line: `metriport-adapter`."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.markup import escape

from adapter.cli import (
    configuration,
    demo,
    doctor,
    messages,
    orders,
    preview,
    reconcile,
    run,
    simulate,
    subscribe,
    webhook,
)
from adapter.cli.root import EXIT_CODES, app
from adapter.errors import AdapterError

__all__ = ["COMMANDS", "app", "main"]

COMMANDS = (
    demo,
    run,
    simulate,
    doctor,
    subscribe,
    webhook,
    preview,
    messages,
    orders,
    reconcile,
    configuration,
)


def main() -> None:
    """Runs one command. An error of the adapter's own is one sentence on standard error, and an exit code."""
    try:
        app()
    except AdapterError as error:
        Console(stderr=True).print(
            f"[bold red]{type(error).__name__}[/]: {escape(str(error))}", soft_wrap=True, highlight=False
        )
        sys.exit(next(code for kind, code, _ in EXIT_CODES if isinstance(error, kind)))
