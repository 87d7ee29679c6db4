"""Bodies of webhook calls, and what a seeded fuzzer makes of them. Each holds strings that must not get out."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from adapter.metriport.webhook import KINDS
from tests.integration.canary import says

_ID = "0190b1c2-0000-7000-8000-000000000001"
_WHEN = "2026-03-02T08:00:00Z"

_PAYLOADS: list[dict[str, Any]] = [
    {"ping": says("word")},
    {
        "payload": {
            "id": _ID,
            "patientId": says("patient"),
            "status": "failed",
            "sentAt": _WHEN,
            "completedAt": _WHEN,
            "reason": says("reason"),
        }
    },
    {
        "payload": {
            "url": says("link"),
            "patientId": says("patient"),
            "externalId": says("mrn"),
            "additionalIds": {},
        }
    },
    {
        "patients": [
            {"patientId": says("patient"), "status": "completed", "bundle": {"entry": [{"resource": {}}]}}
        ]
    },
    {"bulkPatientCreate": {"requestId": _ID, "status": "completed", "result": says("link")}},
]
BODIES = [
    json.dumps({"meta": {"messageId": _ID, "when": _WHEN, "type": kind}, **payload}).encode()
    for kind in [*sorted(KINDS), "something.new"]
    for payload in _PAYLOADS
]

_VALUES: list[Any] = [
    None, True, 0, -1, 1e308, 10**40, "", " ", "\x00", "\ud800", "🦘", "..", says("value") * 50, [], {}, [[[]]], [None],
    {"id": {}}, "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "2026-03-02T99:00:00Z", "completed", "message.received",
]  # fmt: skip
_PIECES = [
    b"", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b'"', b"\\", b"\\ud800", b"{", b"}", b"[" * 2_000, b'{"quokka":' * 300,
    b",", b":", b"NaN", b"-Infinity", b"1e999999", b"9" * 4_301, b'"meta":{},', b"\xef\xbb\xbf", b"null",
]  # fmt: skip


def mutated(numbers: random.Random, raw: bytes) -> bytes:
    """The body with values replaced, or bytes, or both, or as it was."""
    if numbers.random() < 0.5:
        body = json.loads(raw)
        for _ in range(numbers.randrange(1, 4)):
            _replace(numbers, body)
        raw = json.dumps(body).encode()
    if numbers.random() < 0.5:
        for _ in range(numbers.randrange(1, 4)):
            raw = _spliced(numbers, raw)
    return raw


def _replace(numbers: random.Random, body: dict[str, Any]) -> None:
    """Puts a value that nobody expects somewhere, under a key that is there."""
    place: Any = body
    while True:
        name = numbers.choice(list(place))
        inner = place[name]
        if not isinstance(inner, dict) or not inner or numbers.random() < 0.2:
            place[name] = copy.deepcopy(numbers.choice(_VALUES))
            return
        place = inner


def _spliced(numbers: random.Random, raw: bytes) -> bytes:
    start = numbers.randrange(len(raw) + 1)
    end = min(start + numbers.choice([0, 0, 1, 8, 10_000]), len(raw))
    return raw[:start] + numbers.choice([*_PIECES, numbers.randbytes(3), raw[start:end] * 2]) + raw[end:]
