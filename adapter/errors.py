"""The whole error tree.

    AdapterError
    ├── ConfigError         a setting is missing or wrong: stop and say which
    ├── Temporary           worth trying again, perhaps not before `retry_at`
    ├── Conflict            somebody else changed it first (409, 412)
    ├── Rejected            the neighbour refuses it as it is (any other 4xx)
    ├── Unverified          a caller did not prove who it is
    ├── MappingError        a template or what it made is wrong
    ├── Unresolved          nobody fits, or several do
    └── IllegalTransition   a state change that the table does not have: a bug

Errors carry facts for the person who has to act. They never carry patient content, keys or presigned URLs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from traceback import walk_tb
from typing import Final

_HERE: Final = Path(__file__).parent


class AdapterError(Exception):
    """Anything the adapter itself has to say."""


class ConfigError(AdapterError):
    """A setting is missing or wrong."""


class Temporary(AdapterError):
    """A neighbour could not answer now. `applied` tells whether the request may have had its effect all the same."""

    def __init__(self, message: str, *, retry_at: datetime | None = None, applied: bool = True) -> None:
        super().__init__(message)
        self.retry_at = retry_at
        self.applied = applied


class Conflict(AdapterError):
    """The version that was to be replaced is no longer the current one."""

    def __init__(self, message: str, *, version: str | None = None) -> None:
        super().__init__(message)
        self.version = version


class Rejected(AdapterError):
    """A neighbour refuses the request as it is.

    `status` is the HTTP status; `issues` are the neighbour's own sentences, meant for the resource and never for a log.
    """

    def __init__(self, message: str, *, status: int, issues: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.issues = tuple(issues)


class Unverified(AdapterError):
    """A caller did not prove who it is."""


class MappingError(AdapterError):
    """A template cannot be used, or made something that is not valid."""

    def __init__(
        self, message: str, *, template: str, line: int | None = None, path: str | None = None
    ) -> None:
        place = template + (f", line {line}" if line is not None else "") + (f", at {path}" if path else "")
        super().__init__(f"{place}: {message}")
        self.template = template
        self.line = line
        self.path = path


class Unresolved(AdapterError):
    """A look-up ended with nobody, or with several."""

    def __init__(self, message: str, *, candidates: int) -> None:
        super().__init__(message)
        self.candidates = candidates


class IllegalTransition(AdapterError):
    """A state change that the table does not have."""


def place(error: BaseException) -> str:
    """File and line where it happened: what can be said of an unforeseen error without its text.

    The last ones of the adapter's own, if there are any.
    """
    at = [(Path(frame.f_code.co_filename), line) for frame, line in walk_tb(error.__traceback__)]
    own = [(file, line) for file, line in at if file.is_relative_to(_HERE)]
    return next((f"{file.name}:{line}" for file, line in reversed(own or at)), "unknown")
