"""A FHIR server as the suite talks to it: plain httpx, and what every test needs to say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import simplejson

JSON = {"Content-Type": "application/fhir+json"}
NO_CACHE = {"Cache-Control": "no-cache"}


@dataclass(frozen=True, kw_only=True)
class Fhir:
    """One server; `tag` is this test's own, so that tests share a server without meeting."""

    base_url: str
    strict: bool
    http: httpx.Client
    tag: str

    def id(self, name: str = "x") -> str:
        """An id of this test's own."""
        return f"{name}-{self.tag}"

    def url(self, path: str) -> str:
        """An absolute URL below the base."""
        return f"{self.base_url}/{path}"

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Reads, past every cache; names of headers with underscores for hyphens."""
        return self.http.get(self.url(path), headers=NO_CACHE | _named(headers))

    def post(self, path: str, resource: Any, **headers: str) -> httpx.Response:
        """Posts a resource."""
        return self.http.post(
            self.url(path).rstrip("/"), content=dumps(resource), headers=JSON | _named(headers)
        )

    def put(self, resource: dict[str, Any], **headers: str) -> httpx.Response:
        """Puts a resource where it belongs."""
        path = f"{resource['resourceType']}/{resource['id']}"
        return self.http.put(self.url(path), content=dumps(resource), headers=JSON | _named(headers))

    def delete(self, path: str) -> httpx.Response:
        """Deletes, again if need be (see `_past_the_queue`)."""
        return _past_the_queue(lambda: self.http.delete(self.url(path)))

    def post_with_deletions(self, bundle: dict[str, Any]) -> httpx.Response:
        """Posts a transaction that deletes, again if need be (see `_past_the_queue`)."""
        return _past_the_queue(lambda: self.post("", bundle))

    def stored(self, type_: str, name: str = "x", /, **elements: Any) -> dict[str, Any]:
        """Stores a resource under an id of this test's own; what the server made of it."""
        answer = self.put({"resourceType": type_, "id": self.id(name), **elements})
        assert answer.status_code in {200, 201}, answer.text
        made: dict[str, Any] = body(answer)
        return made

    def found(self, query: str) -> list[str]:
        """The names of what a search finds, this test's own part cut off."""
        answer = self.get(query)
        assert answer.status_code == 200, answer.text
        return [
            entry["resource"]["id"].removesuffix(f"-{self.tag}") for entry in body(answer).get("entry", [])
        ]


def _past_the_queue(ask: Callable[[], httpx.Response], *, seconds: float = 20.0) -> httpx.Response:
    """The answer to a deletion, asked for again while HAPI still matches what is deleted with its Subscriptions.

    With Subscriptions on, HAPI 8.8 queues each change under its id and version, and a deletion under the version before
    it; what was written less than a poll ago is still in that queue, and the deletion is refused (HAPI-0550, HAPI-0826).
    """
    end = time.monotonic() + seconds
    while (answer := ask()).status_code == 409 and time.monotonic() < end:
        if not any(code in answer.text for code in ("HAPI-0550", "HAPI-0826")):
            break
        time.sleep(0.05)
    return answer


@contextmanager
def connected(base_url: str, *, strict: bool) -> Iterator[Fhir]:
    """The server, with a connection pool of its own."""
    with httpx.Client(timeout=30, trust_env=False) as http:
        yield Fhir(base_url=base_url, strict=strict, http=http, tag=uuid4().hex[:12])


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def dumps(resource: Any) -> bytes:
    """JSON bytes; a string or bytes as it is."""
    if isinstance(resource, bytes):
        return resource
    return simplejson.dumps(resource, use_decimal=True).encode()


def body(answer: httpx.Response) -> Any:
    """An answer's JSON."""
    return simplejson.loads(answer.text, use_decimal=True)


def refused(answer: httpx.Response, status: int) -> bool:
    """Whether the answer is an OperationOutcome with an error, under that status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].lower() == "application/fhir+json;charset=utf-8"
    issues = body(answer)["issue"]
    return bool(body(answer)["resourceType"] == "OperationOutcome" and issues[0]["severity"] == "error")


def eventually(holds: Any, *, seconds: float = 20.0) -> bool:
    """Whether it holds within that time."""
    end = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < end:
        time.sleep(0.05)
    return bool(held)
