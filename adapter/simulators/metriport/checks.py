"""What the API lets in: strict bodies, lengths in UTF-16 units, normalised text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from datetime import date
from typing import Any, Final

from adapter.simulators.http import Request
from adapter.simulators.metriport.answers import Refusal

UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
OID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")
DIRECT: Final = re.compile(r"[^@\s]+@[^@\s]+")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# What JavaScript's `trim` takes off; Python's `strip` takes other characters.
_BLANKS: Final = "\t\n\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOST_DEPTH: Final = 100

Check = Callable[[str, Any], Any]


def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object; none counts as an empty one."""
    try:
        value = json.loads(request.body or b"{}", parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Refusal(400, "The body is not JSON") from None
    if not isinstance(value, dict):
        raise Refusal(400, "The body is not a JSON object")
    if not _is_shallow(value):
        raise Refusal(400, "The body is nested too deeply")
    return value


def _no_number(word: str) -> None:
    raise ValueError(word)


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(_MOST_DEPTH):
        values = [one.values() if isinstance(one, dict) else one for one in level]
        level = [child for one in values for child in one if isinstance(child, dict | list)]
        if not level:
            return True
    return False


def units(value: str) -> int:
    """Length in UTF-16 code units."""
    return len(value.encode("utf-16-le", "surrogatepass")) // 2


def plain(most: int) -> Check:
    """Plain text of 1 to `most` units once control characters and blank ends are off; empty counts as absent."""

    def check(name: str, value: Any) -> str | None:
        if not isinstance(value, str):
            raise Refusal(400, f"{name} must be a string")
        text = _CONTROLS.sub("", value).strip(_BLANKS)
        if units(text) > most:
            raise Refusal(400, f"{name} must have at most {most} characters")
        return text or None

    return check


def listed(most: int, fits: Callable[[str], bool], what: str) -> Check:
    """A list of 1 to `most` strings that fit."""

    def check(name: str, value: Any) -> list[str]:
        fine = isinstance(value, list) and 1 <= len(value) <= most
        if not fine or not all(isinstance(one, str) and fits(one) for one in value):
            raise Refusal(400, f"{name} must be a list of 1 to {most} {what}")
        return list(value)

    return check


def one_of(name: str, value: Any, allowed: Collection[str]) -> None:
    """Refuses what is not in a closed list; absent passes."""
    if value is not None and (not isinstance(value, str) or value not in allowed):
        raise Refusal(400, f"{name} must be one of {', '.join(sorted(allowed))}")


def day(name: str, value: Any) -> date:
    """A calendar date, `YYYY-MM-DD`."""
    try:
        if isinstance(value, str) and _DATE.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise Refusal(400, f"{name} must be a date, YYYY-MM-DD")


def period(query: Mapping[str, str]) -> dict[str, str]:
    """`dateFrom` and `dateTo`, as far as given."""
    return {name: str(day(name, query[name])) for name in ("dateFrom", "dateTo") if name in query}


def is_within(when: str, dates: Mapping[str, str]) -> bool:
    """Whether a time or date lies in a period, both ends included."""
    return dates.get("dateFrom", "") <= when[:10] <= dates.get("dateTo", "9999-12-31")


def metadata(body: Mapping[str, Any]) -> dict[str, str] | None:
    """What is to be echoed by webhook: at most 50 pairs, keys to 40 and values to 500 characters."""
    stated = body.get("metadata")
    if stated is None:
        return None
    if not isinstance(stated, dict) or len(stated) > 50:  # noqa: PLR2004  # the documented figures
        raise Refusal(400, "metadata must be at most 50 pairs of strings")
    for key, value in stated.items():
        if not 1 <= units(key) <= 40 or not isinstance(value, str) or units(value) > 500:  # noqa: PLR2004
            raise Refusal(400, "metadata takes keys of 1 to 40 and values of at most 500 characters")
    return dict(stated)


SEND: Final[Mapping[str, Check]] = {
    "destination": plain(255),
    "subject": plain(255),
    "body": plain(5000),
    "attachments": listed(5, lambda one: UUID.fullmatch(one) is not None, "UUIDs"),
    # The check digit of an NPI is not looked at here.
    "intendedRecipientNpi": listed(10, bool, "non-empty strings"),
}


def send_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a send, normalised; unknown keys are refused."""
    unknown = sorted(set(body) - set(SEND))
    if unknown:
        raise Refusal(400, f"Unrecognized key(s) in object: {', '.join(unknown)}")
    checked = {name: check(name, body[name]) for name, check in SEND.items() if name in body}
    found = {name: value for name, value in checked.items() if value is not None}
    for name in ("destination", "subject"):
        if name not in found:
            raise Refusal(400, f"{name} is required")
    if not OID.fullmatch(found["destination"]) and not DIRECT.fullmatch(found["destination"]):
        raise Refusal(400, "destination must be an OID or a Direct address")
    if "body" not in found and "attachments" not in found:
        raise Refusal(400, "At least one of body or attachments is required")
    return found
