"""Who somebody is, and where: the rules for patients and facilities. Keys beyond the known ones are left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, Final

from adapter.simulators.metriport import npi
from adapter.simulators.metriport.answers import Refusal
from adapter.simulators.metriport.checks import DIRECT, Check, day, one_of

_STATES: Final = frozenset(
    [
        "AL",
        "AK",
        "AZ",
        "AR",
        "CA",
        "CO",
        "CT",
        "DE",
        "DC",
        "FL",
        "GA",
        "HI",
        "ID",
        "IL",
        "IN",
        "IA",
        "KS",
        "KY",
        "LA",
        "ME",
        "MD",
        "MA",
        "MI",
        "MN",
        "MS",
        "MO",
        "MT",
        "NE",
        "NV",
        "NH",
        "NJ",
        "NM",
        "NY",
        "NC",
        "ND",
        "OH",
        "OK",
        "OR",
        "PA",
        "RI",
        "SC",
        "SD",
        "TN",
        "TX",
        "UT",
        "VT",
        "VA",
        "WA",
        "WV",
        "WI",
        "WY",
        "AS",
        "GU",
        "PR",
        "VI",
    ]
)
_FALSE_ZIPS: Final = frozenset({"12345", "54321", "99999", *(f"{digit}0000" for digit in range(10))})
_OLDEST: Final = date(1900, 1, 1)
_GENDERS: Final = frozenset("FMOU")
_PHONE_DIGITS: Final = 10


def demographics(body: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """A patient as stated, normalised."""
    found = _read(body, _PATIENT, required={"firstName", "lastName", "dob", "genderAtBirth", "address"})
    if not _OLDEST <= day("dob", found["dob"]) <= now.date():
        raise Refusal(400, "dob must be between 1900 and today")
    return found


def facility(body: Mapping[str, Any]) -> dict[str, Any]:
    """A facility as stated, normalised."""
    return _read(body, _FACILITY, required={"name", "npi", "address"})


def _read(body: Mapping[str, Any], fields: Mapping[str, Check], *, required: set[str]) -> dict[str, Any]:
    stated = {name: body[name] for name in fields if body.get(name) is not None}
    for name in fields:
        if name in required and name not in stated:
            raise Refusal(400, f"{name} is required")
    return {name: fields[name](name, value) for name, value in stated.items()}


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Refusal(400, f"{name} must be a string that is not empty")
    return value.strip()


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise Refusal(400, f"{name} must be true or false")
    return value


def _listed(check: Callable[[Any], dict[str, Any]], *, least: int) -> Check:
    """One, or a list; shown as a list."""

    def several(name: str, value: Any) -> list[dict[str, Any]]:
        stated = value if isinstance(value, list) else [value]
        if len(stated) < least or not all(isinstance(one, dict) for one in stated):
            raise Refusal(400, f"{name} must be an object or a list of objects")
        return [check(one) for one in stated]

    return several


def _state(name: str, value: Any) -> str:
    state = _text(name, value).upper()
    if state not in _STATES:
        raise Refusal(400, f"{name} must be a USPS code")
    return state


def _zip(name: str, value: Any) -> str:
    text = _text(name, value)
    if not re.fullmatch("[0-9]{5}", text) or text in _FALSE_ZIPS:
        raise Refusal(400, f"{name} is not a valid zip code")
    return text


def _country(name: str, value: Any) -> str:
    one_of(name, value, {"USA"})
    return str(value)


def _address(stated: dict[str, Any]) -> dict[str, Any]:
    return {
        **_read(stated, _ADDRESS, required={"addressLine1", "city", "state", "zip"}),
        "country": "USA",
    }


def _phone(name: str, value: Any) -> str:
    digits = re.sub("[^0-9]", "", _text(name, value))
    national = digits[1:] if len(digits) == _PHONE_DIGITS + 1 and digits.startswith("1") else digits
    if len(national) != _PHONE_DIGITS:
        raise Refusal(400, f"{name} must have 10 digits")
    return national


def _email(name: str, value: Any) -> str:
    text = _text(name, value)
    if not DIRECT.fullmatch(text):
        raise Refusal(400, f"{name} must be an email address")
    return text


def _contact(stated: dict[str, Any]) -> dict[str, Any]:
    found = _read(stated, {"phone": _phone, "email": _email}, required=set())
    if not found:
        raise Refusal(400, "contact needs a phone or an email")
    return found


def _identifier(stated: dict[str, Any]) -> dict[str, Any]:
    kind = stated.get("type")
    if not isinstance(kind, str) or kind not in _IDENTIFIERS:
        raise Refusal(400, "personalIdentifiers.type must be ssn or driversLicense")
    fields = _IDENTIFIERS[kind]
    return {"type": kind, **_read(stated, fields, required=set(fields))}


def _dob(name: str, value: Any) -> str:
    return str(day(name, value))


def _gender(name: str, value: Any) -> str:
    one_of(name, value, _GENDERS)
    return str(value)


def _npi(name: str, value: Any) -> str:
    text = _text(name, value)
    if not npi.is_valid(text):
        raise Refusal(400, f"{name} is not a valid NPI")
    return text


_ADDRESS: Final[Mapping[str, Check]] = {
    "addressLine1": _text,
    "addressLine2": _text,
    "city": _text,
    "state": _state,
    "zip": _zip,
    "country": _country,
}
_IDENTIFIERS: Final[Mapping[str, Mapping[str, Check]]] = {
    "ssn": {"value": _text},
    "driversLicense": {"value": _text, "state": _state},
}
_PATIENT: Final[Mapping[str, Check]] = {
    "firstName": _text,
    "lastName": _text,
    "dob": _dob,
    "genderAtBirth": _gender,
    "address": _listed(_address, least=1),
    "contact": _listed(_contact, least=0),
    "personalIdentifiers": _listed(_identifier, least=0),
    "externalId": _text,
    "hieOptOut": _flag,
}
_FACILITY: Final[Mapping[str, Check]] = {
    "name": _text,
    "npi": _npi,
    "tin": _text,
    "active": _flag,
    "address": lambda name, value: _listed(_address, least=1)(name, value)[0],
}
