"""What is wrong with something that a mapping made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A place, and the rule that it breaks.

    `at` holds names from the rule book and positions only. `key` is a name that the rule book does not know;
    it may come from a value, so nobody shows it who has not found it in the template.
    """

    at: tuple[str | int, ...] = ()
    rule: str
    key: str | None = None

    @property
    def path(self) -> str | None:
        """The place as `recipient[0].reference`; `None` for the whole."""
        return dotted(self.at)


def dotted(at: tuple[str | int, ...]) -> str | None:
    """Names and positions as `recipient[0].reference`; `None` for none."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).lstrip(".") or None
