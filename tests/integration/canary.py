"""Strings that must not get out: in every field of what an author writes, and in what the neighbours say.

Each holds the stem, so a look for that finds them all, in whatever case, encoding or cut.
"""

from __future__ import annotations

import base64
import logging
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from io import StringIO
from typing import Any
from unittest import mock

import structlog

from adapter import telemetry
from adapter.domain.canonical import PATIENT_ID
from adapter.errors import AdapterError
from adapter.simulators.http import Neighbour, Request, Response
from tests.integration.people import communication, patient

STEM = "quokka"
BORN = "1931-07-23"
NUMBER = "900734417"
SECRETS = ("virtual-key", "virtual-secret", "_uploads", "signature=", "expires=")

# What the other tests' people are called and write; their ids may be told.
EVERYDAY = (
    "Maple",
    "Robin",
    "Could you see",
    "Please see",
    "Holter",
    "See the result",
    "call, please",
    "ECG, please",
    "Chalmers",
)

# Wherever the stem stands in what is encoded, one of the three is in the base64 of it.
_ENCODED = tuple(base64.b64encode(b" " * shift + STEM.encode())[4 if shift else 0 : -4] for shift in range(3))


def says(what: str) -> str:
    """A string for the field of that name."""
    return f"{STEM}-{what}"


def leaks_in(lines: Iterable[str], *, secrets: Iterable[str] = SECRETS) -> list[str]:
    """The lines that hold any of it."""
    words = [STEM, BORN, BORN.replace("-", ""), NUMBER, *(word.lower() for word in secrets)]
    return [
        line
        for line in lines
        if any(word in line.lower() for word in words) or any(one.decode() in line for one in _ENCODED)
    ]


def everyday_leaks_in(text: str) -> list[str]:
    """The lines of anything that was logged that tell of anybody."""
    words = (STEM, *EVERYDAY)
    if not any(word in text for word in words):
        return []
    return [line for line in text.splitlines() if any(word in line for word in words)]


@dataclass(kw_only=True)
class Overheard:
    """What was said while somebody listened: log lines as they are printed, and the text of every error made."""

    printed: StringIO = field(default_factory=StringIO)
    errors: list[AdapterError] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Every line of the log."""
        return self.printed.getvalue().splitlines()

    def texts(self) -> list[str]:
        """Every error as a log would print it, with those that it came from, and without our own source."""
        return [text for error in self.errors for text in (*_printed(error), repr(error))]

    def events(self) -> str:
        """All of the log."""
        return self.printed.getvalue()


@contextmanager
def overhearing(*, style: str, libraries: int | None = None) -> Iterator[Overheard]:
    """Listens to a process that logs all it can; `libraries` is a level for those that the product keeps quiet."""
    heard = Overheard()
    root = logging.getLogger()
    before = (root.handlers[:], root.level, {name: _level(name) for name in telemetry._TALKATIVE})

    def made(kind: type[AdapterError], *arguments: Any, **_facts: Any) -> AdapterError:
        error = Exception.__new__(kind, *arguments)
        heard.errors.append(error)
        return error

    try:
        with mock.patch("sys.stderr", heard.printed), mock.patch.object(AdapterError, "__new__", made):
            telemetry.configure(level="debug", style=style)
            if libraries is not None:
                for name in telemetry._TALKATIVE:
                    # At its lowest level SQLAlchemy prints rows, whatever it is told about parameters.
                    lowest = logging.INFO if name == "sqlalchemy" else libraries
                    logging.getLogger(name).setLevel(max(lowest, libraries))
            yield heard
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        for name, level in before[2].items():
            logging.getLogger(name).setLevel(level)
        structlog.reset_defaults()


def _printed(error: BaseException) -> Iterator[str]:
    chain: traceback.TracebackException | None = traceback.TracebackException.from_exception(error)
    while chain is not None:
        yield from chain.format_exception_only()
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)


def _level(name: str) -> int:
    return logging.getLogger(name).level


@dataclass(kw_only=True)
class Order:
    """What a talkative neighbour answers, so many times, to requests of that method below that path."""

    method: str
    path: str
    answer: Response
    times: int = 1


class Talkative:
    """A neighbour that answers as it is told, and as its world does otherwise."""

    def __init__(self, world: Neighbour) -> None:
        self._world = world
        self.orders: list[Order] = []
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def handle(self, request: Request, now: datetime) -> Response:
        """Answers one request, and keeps its URL."""
        self.asked.append(f"{request.path}?{request.query}")
        for order in self.orders:
            if order.times and order.method == request.method and order.path in request.path:
                order.times -= 1
                return order.answer
        return self._world.handle(request, now)


def a_patient(**elements: Any) -> dict[str, Any]:
    """The linked Patient, telling everything."""
    own = patient()
    return patient(
        **{
            "identifier": [
                *own["identifier"],
                {"system": f"urn:{says('system')}", "value": says("mrn"), "assigner": _named("assigner")},
                {"system": "http://hl7.org/fhir/sid/us-ssn", "value": NUMBER},
            ],
            "name": [{"text": says("name"), "family": says("family"), "given": [says("given")]}],
            "telecom": [{"system": "phone", "value": NUMBER}, {"system": "email", "value": says("email")}],
            "gender": "female",
            "birthDate": BORN,
            "address": [{"text": says("address"), "line": [says("street")], "city": says("city")}],
            "contact": [{"name": {"text": says("contact")}}],
            **elements,
        }
    )


def a_stranger(**elements: Any) -> dict[str, Any]:
    """A Patient who is not linked."""
    unlinked = [{"system": PATIENT_ID, "value": says("no-uuid")}]
    return a_patient(**{"id": "stranger", "identifier": unlinked, **elements})


def a_message(id: str, **elements: Any) -> dict[str, Any]:
    """A Communication that tells everything in every field, and can be sent; elements that are `None` are left out."""
    plain = communication()
    told = communication(
        **{
            "id": id,
            "identifier": [{"system": f"urn:{says('order')}", "value": says("order-number")}],
            "text": {
                "status": "generated",
                "div": f"<div xmlns='http://www.w3.org/1999/xhtml'>{says('div')}</div>",
            },
            "language": "en",
            "reasonCode": [{"text": says("reason"), "coding": [{"display": says("reason-display")}]}],
            "note": [{"text": says("note"), "authorString": says("author")}],
            "subject": {"reference": "Patient/maple", "display": says("subject-display")},
            "recipient": [{**plain["recipient"][0], "display": says("recipient")}],
            "sender": _named("sender"),
            "topic": {"text": says(f"topic {id}")},
            "payload": [{"contentString": says("body")}, an_attachment()],
            "extension": [{"url": f"urn:{says('extension')}", "valueString": says("extension-value")}],
            **elements,
        }
    )
    return {name: value for name, value in told.items() if value is not None}


def an_attachment(**elements: Any) -> dict[str, Any]:
    """An attachment whose title and contents tell."""
    told = {
        "contentType": "text/plain",
        "title": says("title.txt"),
        "data": base64.b64encode(says("contents").encode()).decode(),
        **elements,
    }
    return {"contentAttachment": {name: value for name, value in told.items() if value is not None}}


def a_document(id: str, **elements: Any) -> dict[str, Any]:
    """A DocumentReference that tells."""
    return {
        "resourceType": "DocumentReference",
        "id": id,
        "status": "current",
        "subject": {"reference": "Patient/maple", "display": says("document-subject")},
        "description": says("description"),
        "type": {"text": says("type")},
        "author": [_named("document-author")],
        "content": [{"attachment": an_attachment()["contentAttachment"]}],
        **elements,
    }


def _named(what: str) -> dict[str, Any]:
    return {"display": says(what)}


OUTCOME = (
    '{"resourceType": "OperationOutcome", "text": {"status": "generated", "div": "<div>quokka</div>"}, '
    f'"issue": [{{"severity": "error", "code": "invalid", "diagnostics": "{says("diagnostics")}", '
    f'"details": {{"text": "{says("details")}"}}, "expression": ["{says("expression")}"]}}]}}'
).encode()

PROBLEM = (
    f'{{"status": 400, "name": "{says("name")} of a person", "title": "{says("title")} of a person", '
    f'"detail": "{says("detail")}", "message": "{says("message")}"}}'
).encode()


def answers(body: bytes, statuses: Iterable[int]) -> Iterator[Response]:
    """The body with each of the statuses; then answers that are no good in other ways."""
    json = {"content-type": "application/fhir+json"}
    told = {**json, "etag": f'W/"{says("etag")}"', "retry-after": says("later"), "x-id": says("header")}
    yield from (Response(status=status, headers=told, body=body) for status in statuses)
    yield Response(status=200, headers=json, body=b'{"id": "quokka-cut')
    yield Response(status=200, headers=json, body=b'"quokka-string"')
    yield Response(status=200, headers=json, body=b'[{"quokka": "quokka"}]')
    yield Response(status=200, headers=json, body=body)
    yield Response(status=200, headers={"content-type": "text/html"}, body=b"<html>quokka</html>")
    yield Response(status=200, headers={**json, "content-encoding": "gzip"}, body=b"quokka")
    yield Response(status=307, headers={"location": "http://quokka.example/quokka?token=quokka"})
    yield Response(status=0, drop=True)
