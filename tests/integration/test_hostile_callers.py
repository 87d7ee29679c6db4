"""Callers that mean no good: each gets its answer, costs little, leaves nothing in the log, and stops nobody else."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import json
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import ASGIApp

from adapter.web.app import BODY_SECONDS, MOST_BYTES
from tests.integration import canary
from tests.integration.canary import leaks_in, says
from tests.integration.mutations import BODIES, mutated
from tests.virtual.loop import run
from tests.virtual.site import Site, site

ENTRY = "/webhooks/metriport"
SIGNATURE = b"x-metriport-signature"
TELLING = json.dumps({"meta": {"type": "message.received"}, "payload": {"url": says("link")}}).encode()

Headers = list[tuple[bytes, bytes]]


@dataclass(kw_only=True)
class Call:
    """One request, byte by byte. Without an end the caller goes on for ever; `pause` is before each chunk."""

    headers: Headers = field(default_factory=list)
    chunks: Iterator[bytes] = field(default_factory=lambda: iter([b""]))
    method: str = "POST"
    path: str = ENTRY
    pause: float = 0.0
    ends_with: str = "http.request"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the caller got, and after how many seconds."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    seconds: float


async def called(app: ASGIApp, call: Call) -> Answer:
    """Makes the call to the application itself: no client in between tidies it up."""
    loop = asyncio.get_running_loop()
    began, said = loop.time(), []

    async def receive() -> dict[str, Any]:
        if call.pause:
            await asyncio.sleep(call.pause)
        chunk = next(call.chunks, None)
        if chunk is None:
            return {"type": call.ends_with}
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message: Any) -> None:
        said.append(message)

    scope = {
        "type": "http", "method": call.method, "path": call.path, "query_string": b"", "headers": call.headers
    }  # fmt: skip
    await app(scope, receive, send)
    start = next(one for one in said if one["type"] == "http.response.start")
    body = b"".join(one.get("body", b"") for one in said)
    return Answer(
        status=start["status"], headers=dict(start["headers"]), body=body, seconds=loop.time() - began
    )


def key_of(clinic: Site) -> bytes:
    """The key that counts."""
    return clinic.settings.metriport.webhook_keys[0].get_secret_value().encode()


def sign(raw: bytes, key: bytes) -> bytes:
    """The signature as Metriport makes it."""
    return hmac.new(key, raw, hashlib.sha256).hexdigest().encode()


def signed(raw: bytes, key: bytes, *others: tuple[bytes, bytes]) -> Call:
    """A call that Metriport could have made."""
    return Call(headers=[(SIGNATURE, sign(raw, key)), *others], chunks=iter([raw]))


def a_good_one(key: bytes, id: str) -> Call:
    """A delivery to be kept under that id."""
    return signed(json.dumps({"meta": {"messageId": id, "type": "patient.admit"}}).encode(), key)


async def kept(clinic: Site) -> set[str]:
    """The ids of the deliveries that wait."""
    assert clinic.adapter is not None
    return {
        one.delivery_id for one in await clinic.adapter.ledger.waiting(limit=1000, now=clinic.clock.now())
    }


def _signature(change: Callable[[bytes], list[bytes]]) -> Callable[[bytes], Call]:
    def make(key: bytes) -> Call:
        right = sign(TELLING, key)
        return Call(headers=[(SIGNATURE, one) for one in change(right)], chunks=iter([TELLING]))

    return make


def _signed(raw: bytes, *others: tuple[bytes, bytes]) -> Callable[[bytes], Call]:
    return lambda key: signed(raw, key, *others)


def _never_read() -> Iterator[bytes]:
    raise AssertionError("it was read")
    yield b""


def _unread(*headers: tuple[bytes, bytes]) -> Callable[[bytes], Call]:
    return lambda key: Call(headers=[(SIGNATURE, sign(b"", key)), *headers], chunks=_never_read())


def _endless(*, pause: float = 0.0, size: int = 1_000_000) -> Callable[[bytes], Call]:
    def make(key: bytes) -> Call:
        chunk = bytes(size)
        return Call(headers=[(SIGNATURE, sign(b"", key))], chunks=iter(lambda: chunk, None), pause=pause)

    return make


def _bell(method: str, path: str, *authorization: bytes) -> Callable[[bytes], Call]:
    headers = [(b"authorization", one) for one in authorization]
    return lambda _: Call(method=method, path=path, headers=headers, chunks=_never_read())


BOMB = gzip.compress(bytes(100_000_000))
DEEP = b'{"quokka": ' * 10_000 + b"1" + b"}" * 10_000
FUTURE = b'{"meta": {"messageId": "quokka", "type": "patient.admit", "when": "2026-03-02T09:30:00Z"}}'

HOSTILE = [
    ("no signature", 401, _signature(lambda _: [])),
    ("an empty signature", 401, _signature(lambda _: [b""])),
    ("an upper-case signature", 401, _signature(lambda right: [right.upper()])),
    ("a signature that is cut", 401, _signature(lambda right: [right[:-1]])),
    ("a signature and more", 401, _signature(lambda right: [right + b"0"])),
    ("a signature in blanks", 401, _signature(lambda right: [b" " + right])),
    ("a signature with its method", 401, _signature(lambda right: [b"sha256=" + right])),
    ("a signature that is not ASCII", 401, _signature(lambda _: ["quökka".encode()])),
    ("a signature that is not even text", 401, _signature(lambda _: [bytes(range(128, 256))])),
    ("a signature of a megabyte", 401, _signature(lambda right: [right * 16_000])),
    ("the signature twice", 401, _signature(lambda right: [right, right])),
    ("the signature after another", 401, _signature(lambda right: [b"0" * 64, right])),
    ("the signature before another", 401, _signature(lambda right: [right, b"0" * 64])),
    ("another body's signature", 401, lambda key: Call(headers=signed(b"{}", key).headers)),
    ("another key's signature", 401, lambda _: signed(TELLING, b"another key")),
    ("the empty key's signature", 401, lambda _: signed(TELLING, b"")),
    ("nothing", 400, _signed(b"")),
    ("no JSON", 400, _signed(says("text").encode())),
    ("no object", 400, _signed(b'["quokka"]')),
    ("ten thousand levels", 400, _signed(DEEP)),
    ("a million levels without an end", 400, _signed(b'{"quokka":' * 900_000)),
    ("a number of 4,301 digits", 400, _signed(b'{"quokka": ' + b"9" * 4_301 + b"}")),
    ("a number of a million digits", 400, _signed(b'{"quokka": ' + b"9" * 1_000_000 + b"}")),
    ("invalid UTF-8", 400, _signed(b'{"quokka": "\xff"}')),
    ("half a character as UTF-8", 400, _signed(b'{"quokka": "\xed\xa0\x80"}')),
    ("UTF-16", 400, _signed('{"quokka": 1}'.encode("utf-16"))),
    ("a key that stands twice", 400, _signed(b'{"quokka": 1, "quokka": 2}')),
    ("a constant that is no JSON", 400, _signed(b'{"quokka": NaN}')),
    ("a time to come", 400, _signed(FUTURE)),
    ("gzip", 415, _signed(BOMB, (b"content-encoding", b"gzip"))),
    ("gzip among others", 415, _unread((b"content-encoding", b"identity"), (b"content-encoding", b"GZip"))),
    ("an encoding nobody knows", 415, _unread((b"content-encoding", b"qu\xf6kka"))),
    ("a length over the cap", 413, _unread((b"content-length", str(MOST_BYTES + 1).encode()))),
    ("a length of 5,000 digits", 413, _unread((b"content-length", b"9" * 5_000))),
    ("a length that is none", 413, _unread((b"content-length", b"quokka"))),
    ("a body without an end", 413, _endless()),
    ("a body over the cap at once", 413, _signed(b" " * (MOST_BYTES + 1))),
    ("a body that is longer than it says", 413, _signed(b" " * (MOST_BYTES + 1), (b"content-length", b"5"))),
    ("a body byte by byte", 408, _endless(pause=1.0, size=1)),
    ("a body that does not come", 408, _endless(pause=3600.0)),
    ("a caller that goes away", 400, lambda _: Call(chunks=iter([b"{"]), ends_with="http.disconnect")),
    ("a bell that is not ASCII", 401, _bell("PUT", "/doorbell/Communication/x", "Bearer quökka".encode())),
    ("a bell of a megabyte", 401, _bell("POST", "/doorbell", b"Bearer " + b"quokka" * 200_000)),
    ("a path to somewhere else", 404, _bell("POST", f"{ENTRY}/../../quokka")),
    ("a path that is no text", 404, _bell("POST", "/quokka\ud800\x00")),
    ("another method", 405, _bell("QUOKKA", ENTRY)),
]  # fmt: skip


@pytest.mark.parametrize(("status", "make"), [pytest.param(*row[1:], id=row[0]) for row in HOSTILE])
def test_each_gets_its_answer_and_the_next_caller_is_served(
    status: int, make: Callable[[bytes], Call]
) -> None:
    async def scenario() -> tuple[Answer, Answer, set[str]]:
        async with site(started=False, doorbell=False) as clinic:
            app = (await clinic.start(idle=True)).app
            before = await kept(clinic)
            hostile = await called(app, make(key_of(clinic)))
            good = await called(app, a_good_one(key_of(clinic), "good"))
            return hostile, good, await kept(clinic) - before

    with canary.overhearing(style="json") as heard:
        hostile, good, fresh = run(scenario())

    assert hostile.status == status
    assert set(json.loads(hostile.body)) == {"error"}
    assert hostile.seconds <= BODY_SECONDS
    assert good.status == 200
    assert fresh == {"good"}
    assert leaks_in([*heard.lines(), *heard.texts(), hostile.body.decode()]) == []


@pytest.mark.parametrize("status", [408, 413, 415])
def test_a_body_that_is_not_read_ends_the_connection(status: int) -> None:
    async def scenario() -> list[Answer]:
        async with site(started=False, doorbell=False) as clinic:
            app = (await clinic.start(idle=True)).app
            key = key_of(clinic)
            return [await called(app, make(key)) for _, stated, make in HOSTILE if stated == status]

    assert {one.headers[b"connection"] for one in run(scenario())} == {b"close"}


def test_drippers_keep_nobody_waiting() -> None:
    async def scenario() -> tuple[list[Answer], Answer]:
        async with site(started=False, doorbell=False) as clinic:
            app = (await clinic.start(idle=True)).app
            make = _endless(pause=1.0, size=1)
            drips = [asyncio.create_task(called(app, make(key_of(clinic)))) for _ in range(200)]
            await clinic.passes(2)
            good = await called(app, a_good_one(key_of(clinic), "good"))
            return await asyncio.gather(*drips), good

    drips, good = run(scenario())

    assert (good.status, good.seconds) == (200, 0.0)
    assert {(one.status, one.seconds) for one in drips} == {(408, BODY_SECONDS)}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(_endless(), id="without an end"),
        pytest.param(_signed(BOMB, (b"content-encoding", b"gzip")), id="gzip"),
        pytest.param(_signed(BOMB), id="gzip that does not say so"),
    ],
)
def test_no_body_costs_more_memory_than_the_cap(make: Callable[[bytes], Call]) -> None:
    async def scenario() -> int:
        async with site(started=False, doorbell=False) as clinic:
            app = (await clinic.start(idle=True)).app
            await called(app, make(key_of(clinic)))
            call = make(key_of(clinic))
            tracemalloc.start()
            try:
                await called(app, call)
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    assert run(scenario()) < 2 * MOST_BYTES


# --- a hundred thousand ------------------------------------------------------------------------------------------------

MUTATIONS = 100_000
_GOOD_EVERY = 1_000


def _one(numbers: random.Random, key: bytes) -> tuple[Call, bool]:
    """A call made from one that is good, and whether it is signed as it has to be."""
    raw = mutated(numbers, numbers.choice(BODIES))
    right = numbers.random() < 0.3
    signatures = [sign(raw, key)] if right else _wrong(numbers, raw, key)
    headers = [(SIGNATURE, one) for one in signatures]
    if not right and numbers.random() < 0.2:
        headers.append(_odd_header(numbers))
    cut = numbers.randrange(len(raw) + 1)
    ends = "http.disconnect" if not right and numbers.random() < 0.02 else "http.request"
    return Call(headers=headers, chunks=iter([raw[:cut], raw[cut:]]), ends_with=ends), right


def _wrong(numbers: random.Random, raw: bytes, key: bytes) -> list[bytes]:
    right = sign(raw, key)
    at = numbers.randrange(len(right))
    return numbers.choice(
        [
            [],
            [b""],
            [right.upper() + b"A"],
            [right[:at]],
            [right, right],
            [right[:at] + b"g" + right[at + 1 :]],
            [sign(raw, numbers.randbytes(8))],
            [sign(raw + b" ", key)],
            [numbers.randbytes(64)],
            [right + numbers.randbytes(numbers.randrange(1, 40))],
        ]
    )


def _odd_header(numbers: random.Random) -> tuple[bytes, bytes]:
    name = numbers.choice(
        [b"content-length", b"content-encoding", b"content-type", b"expect", b"transfer-encoding"]
    )
    value = numbers.choice([b"", b"-1", b"identity", b"gzip", b"9" * 20, b"1e9", numbers.randbytes(6)])
    return name, value


def test_a_hundred_thousand_mutated_calls_are_never_an_error_of_ours() -> None:
    seen: Counter[tuple[bool, int]] = Counter()

    async def scenario() -> set[str]:
        numbers = random.Random(20260302)
        async with site(started=False, doorbell=False) as clinic:
            app = (await clinic.start(idle=True)).app
            for number in range(MUTATIONS):
                call, right = _one(numbers, key_of(clinic))
                seen[right, (await called(app, call)).status] += 1
                if number % _GOOD_EVERY == 0:
                    good = await called(app, a_good_one(key_of(clinic), f"good-{number}"))
                    assert good.status == 200
            return await _all_kept(clinic)

    with canary.overhearing(style="json") as heard:
        there = run(scenario())

    assert sum(seen.values()) == MUTATIONS
    assert {status for right, status in seen if right} == {200, 400}
    assert {status for right, status in seen if not right} == {400, 401, 413, 415}
    # A 400 without a signature is a caller that went away.
    assert seen[False, 400] < MUTATIONS * 0.02
    assert {f"good-{number}" for number in range(0, MUTATIONS, _GOOD_EVERY)} <= there
    assert leaks_in([*heard.lines(), *heard.texts()]) == []


async def _all_kept(clinic: Site) -> set[str]:
    assert clinic.adapter is not None
    waiting = await clinic.adapter.ledger.waiting(limit=2 * MUTATIONS, now=clinic.clock.now())
    return {one.delivery_id for one in waiting}
