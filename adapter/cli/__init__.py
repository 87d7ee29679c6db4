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
from adapter.cli.root import BUG, EXIT_CODES, app
from adapter.errors import AdapterError, place

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
    """Runs one command. An error is one sentence on standard error, and an exit code; an unforeseen one says where.

    Its text, and a traceback, may be patient content.
    """
    try:
        app()
    except AdapterError as error:
        _say(error, str(error))
        sys.exit(next(code for kind, code, _ in EXIT_CODES if isinstance(error, kind)))
    except Exception as error:  # noqa: BLE001
        _say(error, f"an error in the adapter, at {place(error)}. Please report it.")
        sys.exit(BUG)


def _say(error: Exception, sentence: str) -> None:
    Console(stderr=True).print(
        f"[bold red]{type(error).__name__}[/]: {escape(sentence)}", soft_wrap=True, highlight=False
    )
