"""The parts of the README that are made from code. `python -m tests.architecture.documentation` writes them anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import typer

from adapter.cli import app
from adapter.cli.root import EXIT_CODES
from adapter.config import fields
from adapter.domain.reasons import CODES, sentence_of

README = Path(__file__).resolve().parents[2] / "README.md"


def _table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    head = list(heading)
    return "\n".join([line(head), line("---" for _ in head), *(line(row) for row in rows)])


def reasons() -> str:
    """Every reason code with its sentence, in the order of the table."""
    ordered = sorted(
        CODES, key=lambda code: (not code.startswith("refused"), not code.startswith("held"), code)
    )
    return _table(("code", "sentence"), ((f"`{code}`", sentence_of(code)) for code in ordered))


def exits() -> str:
    """Every exit code."""
    meanings = {0: "done", 1: "the command ran and the answer is no", 130: "broken off with Ctrl-C"}
    meanings |= {code: meaning for _, code, meaning in EXIT_CODES}
    return _table(("code", "meaning"), ((str(code), meaning) for code, meaning in sorted(meanings.items())))


def settings() -> str:
    """Every setting with its default."""
    return _table(
        ("setting", "default", "what it does"),
        (
            (f"`{group}.{name}`", f"`{_plain(field.default)}`", field.description)
            for group, name, field in fields()
        ),
    )


def commands() -> str:
    """Every command with its first sentence."""
    return _table(("command", "what it does"), _walk(typer.main.get_command(app), "metriport-adapter"))


def _walk(command: Any, name: str) -> Iterable[tuple[str, str]]:
    for child_name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from _walk(child, f"{name} {child_name}")
        else:
            yield f"`{name} {child_name}`", " ".join((child.help or "").split())


def _plain(value: Any) -> str:
    if value is None:
        return "unset"
    if hasattr(value, "get_secret_value"):
        return value.get_secret_value() or "unset"
    return "none" if value in ((), "") else str(value)


SECTIONS: dict[str, Callable[[], str]] = {
    "reasons": reasons,
    "exits": exits,
    "settings": settings,
    "commands": commands,
}


def section(text: str, name: str) -> str:
    """What stands between the section's two comments."""
    match = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", text, re.DOTALL)
    if match is None:
        raise LookupError(f"the README has no section {name}")
    return match[1].strip()


def main() -> None:
    """Writes every section anew."""
    text = README.read_text("utf-8")
    for name, make in SECTIONS.items():
        before, _, rest = text.partition(f"<!-- {name} -->")
        _, _, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}<!-- {name} -->\n{make()}\n<!-- /{name} -->{after}"
    README.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
