"""From a method and a path below the base to the interaction. https://hl7.org/fhir/R4/http.html#summary"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from urllib.parse import parse_qsl

from adapter.simulators.fhir.capability import statement
from adapter.simulators.fhir.outcome import Refused
from adapter.simulators.fhir.server import Server
from adapter.simulators.fhir.transaction import Bundled
from adapter.simulators.fhir.wire import answer, loads, refusal, require_json
from adapter.simulators.http import Request, Response

_Handler = Callable[[Server, list[str], Request, datetime], Response]
_WORDS = {"metadata", "_search", "_history", "$binary-access-read"}


def respond(server: Server, request: Request, now: datetime) -> Response:
    """Answers a request whose path starts below the base."""
    parts = [part for part in request.path.split("/") if part]
    handler = _ROUTES.get(interaction(request.method, request.path), _unknown)
    try:
        return handler(server, parts, request, now)
    except Refused as refused:
        return refusal(refused)


def interaction(method: str, path: str) -> tuple[str, str]:
    """The method and the shape of a path below the base, in which `*` stands for any type, id or version."""
    parts = [part for part in path.split("/") if part]
    return method, "/".join(part if part in _WORDS else "*" for part in parts)


def _unknown(_server: Server, _parts: list[str], request: Request, _now: datetime) -> Response:
    raise Refused(400, f"The server does not know how to handle {request.method} {request.path}")


def _metadata(server: Server, _parts: list[str], _request: Request, now: datetime) -> Response:
    return answer(200, statement(server.rules.base_url, now))


def _read(server: Server, parts: list[str], request: Request, _now: datetime) -> Response:
    return server.read(server.store.read(_key(server, parts)), request)


def _read_version(server: Server, parts: list[str], request: Request, _now: datetime) -> Response:
    return server.read(server.store.read_version(_key(server, parts), parts[3]), request)


def _content(server: Server, parts: list[str], _request: Request, _now: datetime) -> Response:
    return server.content(server.store.read(_key(server, parts)))


def _history(server: Server, parts: list[str], request: Request, now: datetime) -> Response:
    return answer(200, server.bundles.history(_key(server, parts), request.query, now))


def _create(server: Server, parts: list[str], request: Request, now: datetime) -> Response:
    return server.create(server.known(parts[0]), request, now)


def _update(server: Server, parts: list[str], request: Request, now: datetime) -> Response:
    return server.update(server.known(parts[0]), parts[1], request, now)


def _delete(server: Server, parts: list[str], _request: Request, now: datetime) -> Response:
    return server.delete(server.known(parts[0]), parts[1], now)


def _search(server: Server, parts: list[str], request: Request, now: datetime) -> Response:
    parameters = request.parameters
    if request.method == "POST":
        parameters += parse_qsl(request.body.decode(), keep_blank_values=True)
    type_ = server.known(parts[0])
    return answer(200, server.search(type_, parameters, _link(server, request), request, now))


def _page(server: Server, _parts: list[str], request: Request, now: datetime) -> Response:
    given = dict(request.parameters)
    if "_getpages" not in given:
        raise Refused(400, "This is the base URL of a FHIR server")
    return answer(200, server.bundles.page(given, _link(server, request), now))


def _bundle(server: Server, _parts: list[str], request: Request, now: datetime) -> Response:
    require_json(request.headers)
    bundled = Bundled(server, lambda read: respond(server, read, now), now)
    return answer(200, bundled.process(loads(request.body, "Bundle")))


def _key(server: Server, parts: list[str]) -> str:
    return f"{server.known(parts[0])}/{parts[1]}"


def _link(server: Server, request: Request) -> str:
    url = server.rules.base_url + request.path
    return f"{url}?{request.query}" if request.query else url


_ROUTES: dict[tuple[str, str], _Handler] = {
    ("GET", ""): _page,
    ("GET", "metadata"): _metadata,
    ("GET", "*"): _search,
    ("GET", "*/*"): _read,
    ("GET", "*/*/$binary-access-read"): _content,
    ("GET", "*/*/_history"): _history,
    ("GET", "*/*/_history/*"): _read_version,
    ("POST", ""): _bundle,
    ("POST", "*"): _create,
    ("POST", "*/_search"): _search,
    ("PUT", "*/*"): _update,
    ("DELETE", "*/*"): _delete,
}

INTERACTIONS = frozenset(_ROUTES)
"""All that the simulator knows."""
