"""What the adapter serves: the webhook, the doorbell, health and metrics.

One JSON error shape: `{"error": {"code", "message"}}`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapter.errors import AdapterError, ConfigError, Rejected, Temporary, Unverified

_log = structlog.get_logger(__name__)

MOST_BYTES: Final = 10_000_000
BODY_SECONDS: Final = 10.0  # Metriport gives up after four

_SIGNATURE: Final = "x-metriport-signature"
_LENGTH: Final = re.compile(r"0*(\d{1,15})", re.ASCII)

_STATUS: Final[tuple[tuple[type[AdapterError], int, str], ...]] = (
    (Unverified, 401, "unverified"),
    (Rejected, 400, "rejected"),
    (Temporary, 503, "temporary"),
    (ConfigError, 503, "not-configured"),
)


class NotRead(Rejected):
    """A request whose body is not read, or not to its end; `status` is the answer's."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """What `/health/ready` says of one neighbour or part."""

    name: str
    ok: bool
    detail: str


class Desk(Protocol):
    """What the web edge hands its calls to."""

    async def webhook(self, raw: bytes, *, signature: str | None) -> bytes:
        """Verifies and keeps a delivery; gives the body of the 200 once it is committed."""
        ...

    def doorbell(self, path: str, headers: dict[str, str]) -> None:
        """Rings, after the secret was checked."""
        ...

    async def health(self) -> list[Health]:
        """The parts that are needed to work."""
        ...

    async def metrics_text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        ...


def create_app(desk: Desk) -> Starlette:
    """The ASGI application."""

    async def webhook(request: Request) -> Response:
        raw = await _body(request)
        # Which one of several would count is not said, so none does.
        signatures = request.headers.getlist(_SIGNATURE)
        answer = await desk.webhook(raw, signature=signatures[0] if len(signatures) == 1 else None)
        return Response(answer, media_type="application/json")

    async def doorbell(request: Request) -> Response:
        # The body is not read: a notification carries no authority, and HAPI waits for the answer.
        desk.doorbell(request.url.path, dict(request.headers))
        return Response(status_code=200)

    async def live(_request: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(_request: Request) -> Response:
        parts = await desk.health()
        well = all(part.ok for part in parts)
        body = {
            "status": "ready" if well else "not-ready",
            "parts": [{"name": part.name, "ok": part.ok, "detail": part.detail} for part in parts],
        }
        return JSONResponse(body, status_code=200 if well else 503)

    async def metrics(_request: Request) -> Response:
        return Response(await desk.metrics_text(), media_type="text/plain; version=0.0.4")

    bell = ["POST", "PUT"]
    return Starlette(
        routes=[
            Route("/webhooks/metriport", _guarded(webhook), methods=["POST"]),
            Route("/doorbell", _guarded(doorbell), methods=bell),
            Route("/doorbell/{type}/{id}", _guarded(doorbell), methods=bell),
            Route("/health/live", live),
            Route("/health/ready", _guarded(ready)),
            Route("/metrics", _guarded(metrics)),
        ],
        exception_handlers={404: _no_route, 405: _no_route},
    )


Endpoint = Callable[[Request], Awaitable[Response]]


def _guarded(endpoint: Endpoint) -> Endpoint:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except AdapterError as error:
            return _refusal(error)
        except ClientDisconnect:
            return _answer(400, "gone", "The caller went away before its request was whole.")
        except Exception as error:  # noqa: BLE001  # its text may be patient content, and servers log what they catch
            _log.error("request.failed", request=endpoint.__name__, error=type(error).__name__)
            return _answer(500, "internal", "The request could not be worked on; the log names the error.")

    return answer


def _refusal(error: AdapterError) -> Response:
    status, code = next(
        ((status, code) for kind, status, code in _STATUS if isinstance(error, kind)), (500, "internal")
    )
    headers = {}
    if isinstance(error, NotRead):
        # What is still to come belongs to no other request.
        status, headers = error.status, {"connection": "close"}
    _log.info("request.refused", code=code, status=status)
    return _answer(status, code, str(error), headers=headers)


def _answer(
    status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(
        {"error": {"code": code, "message": message}}, status_code=status, headers=dict(headers or {})
    )


async def _no_route(_request: Request, error: Exception) -> Response:
    # A 405 says which methods there are (RFC 9110, 15.5.6).
    status, headers = getattr(error, "status_code", 404), getattr(error, "headers", None)
    message = "There is nothing at this address with this method."
    return _answer(status, "no-route", message, headers=headers)


async def _body(request: Request) -> bytes:
    """The body as it was signed: never inflated, and never more of it in memory than the cap."""
    encodings = {one.strip().lower() for one in request.headers.getlist("content-encoding")}
    if not encodings <= {"", "identity"}:
        raise NotRead("The body is encoded; send it as it is, without Content-Encoding.", status=415)
    if _declares_too_much(request):
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                if len(body) + len(chunk) > MOST_BYTES:
                    raise _too_large()
                body += chunk
    except TimeoutError:
        raise NotRead(f"The body did not arrive within {BODY_SECONDS:g} s.", status=408) from None
    return bytes(body)


def _declares_too_much(request: Request) -> bool:
    stated = request.headers.get("content-length", "0")
    length = _LENGTH.fullmatch(stated)
    return length is None or int(length[1]) > MOST_BYTES


def _too_large() -> NotRead:
    return NotRead(f"The body has more than {MOST_BYTES} bytes.", status=413)
