"""What the API lets in: strict bodies, lengths in UTF-16 units, normalised text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from adapter.simulators.http import Request
from adapter.simulators.metriport.answers import Refusal

UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_STRIPPED: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_OBVIOUSLY_FALSE: Final = frozenset({"00000", "12345", "10000", "99999", "11111"})
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")

Check = Callable[[str, Any], Any]


def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object."""
    try:
        value = json.loads(request.body or b"{}")
    except (ValueError, RecursionError):
        raise Refusal(400, "The body is not JSON.") from None
    if not isinstance(value, dict):
        raise Refusal(400, "The body is not a JSON object.")
    return value


def units(value: str) -> int:
    """Length in UTF-16 code units."""
    return len(value.encode("utf-16-le", "surrogatepass")) // 2


def plain(most: int) -> Check:
    """Plain text of 1 to `most` units once control characters and blank ends are off; empty counts as absent."""

    def check(name: str, value: Any) -> str | None:
        if not isinstance(value, str):
            raise Refusal(400, f"{name} must be a string")
        text = _STRIPPED.sub("", value).strip()
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


SEND: Final[Mapping[str, Check]] = {
    "destination": plain(255),
    "subject": plain(255),
    "body": plain(5000),
    "attachments": listed(5, lambda one: UUID.fullmatch(one) is not None, "UUIDs"),
    "intendedRecipientNpi": listed(10, lambda one: bool(one.strip()), "non-empty strings"),
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
    if "body" not in found and "attachments" not in found:
        raise Refusal(400, "At least one of body or attachments is required")
    return found


def demographics(body: Mapping[str, Any]) -> dict[str, Any]:
    """A patient's demographics."""
    for name in ("firstName", "lastName"):
        if not isinstance(body.get(name), str) or not body[name].strip():
            raise Refusal(400, f"{name} is required")
    if not isinstance(body.get("dob"), str) or not _DATE.fullmatch(body["dob"]):
        raise Refusal(400, "dob must be YYYY-MM-DD")
    if body.get("genderAtBirth") not in {"F", "M", "O", "U"}:
        raise Refusal(400, "genderAtBirth must be one of F, M, O, U")
    stated = body.get("address")
    addresses: list[Any] = stated if isinstance(stated, list) else [stated]
    if not addresses:
        raise Refusal(400, "address is required")
    for address in addresses:
        _address(address)
    return {**body, "address": addresses}


def _address(address: Any) -> None:
    if not isinstance(address, dict):
        raise Refusal(400, "address is required")
    for name in ("addressLine1", "city", "state", "zip"):
        if not isinstance(address.get(name), str) or not address[name]:
            raise Refusal(400, f"address.{name} is required")
    if not re.fullmatch(r"[A-Z]{2}", address["state"]):
        raise Refusal(400, "address.state must be a USPS code")
    if not re.fullmatch(r"\d{5}", address["zip"]) or address["zip"] in _OBVIOUSLY_FALSE:
        raise Refusal(400, "address.zip is not a valid zip code")
