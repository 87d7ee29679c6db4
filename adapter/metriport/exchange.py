"""One HTTP exchange: all of this package's network code goes through here.

Transports are used as they are, without httpx's client around them: no cookie is kept, no redirect followed,
no netrc or proxy setting picked up from the environment, and no URL written to httpx's log (a presigned one is
a credential).
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Final

import httpx

from adapter.errors import AdapterError, Temporary
from adapter.metriport import wire

# What the network, or a neighbour that breaks the rules of HTTP, can do to an exchange.
FAILURES: Final = (httpx.HTTPError, OSError)
# Failures that come before a request has anywhere to go.
NO_CONNECTION: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)

_LAST_PORT: Final = 65535
_CONNECT_SECONDS: Final = 8.0
# Once for TCP and once for TLS, so that both end before the whole does and are told apart from it.
_CONNECT_SHARE: Final = 0.4


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A whole answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def refusal(self, *, doing: str, now: datetime) -> AdapterError | None:
        """The error that the answer is, `None` for a 2xx."""
        return wire.refusal(self.status, self.headers, self.body, doing=doing, now=now)


_HOST: Final = re.compile(rb"([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


def web_url(stated: str, *, base: httpx.URL | None = None) -> httpx.URL | None:
    """An http or https URL that a connection can be tried to; `None` for anything else.

    One with a user in it is none: that carries credentials, and is the classic way to disguise a host.
    """
    try:
        url = base.join(stated) if base else httpx.URL(stated)
        # Asking for the host decodes it, which fails for some that were parsed.
        named = url.scheme in {"http", "https"} and not url.userinfo and bool(url.host)
    except (httpx.InvalidURL, UnicodeError):
        return None
    reachable = _HOST.fullmatch(url.raw_host) and 0 < (url.port or 1) <= _LAST_PORT
    return url if named and reachable else None


def transport(*, keep_alive: int) -> httpx.AsyncHTTPTransport:
    """A real transport: HTTP/1.1, no retries, so many idle connections kept."""
    limits = httpx.Limits(max_keepalive_connections=keep_alive)
    return httpx.AsyncHTTPTransport(verify=_trust(), http1=True, http2=False, retries=0, limits=limits)


@cache
def _trust() -> ssl.SSLContext:
    """The trusted authorities (SSL_CERT_FILE is respected), read once: it takes longer than a request."""
    return httpx.create_ssl_context()


def timed(request: httpx.Request, *, seconds: float) -> httpx.Request:
    """The request with the limits of its single steps; the whole has one of its own."""
    connect = min(_CONNECT_SECONDS, _CONNECT_SHARE * seconds)
    request.extensions["timeout"] = httpx.Timeout(seconds, connect=connect).as_dict()
    return request


async def exchange(
    over: httpx.AsyncBaseTransport, request: httpx.Request, *, seconds: float, most_bytes: int
) -> Answered:
    """Sends the request once and reads the answer, cut at `most_bytes` + 1 bytes.

    Raises:
        httpx.HTTPError: the exchange failed.
        TimeoutError: it took longer than `seconds` in all.
    """
    async with asyncio.timeout(seconds):
        response = await over.handle_async_request(timed(request, seconds=seconds))
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > most_bytes:
                    break
        finally:
            await response.aclose()
    return Answered(
        status=response.status_code, headers=dict(response.headers), body=bytes(body[: most_bytes + 1])
    )


def in_words(error: BaseException) -> str:
    """The kind of failure; never the error's own text, which can hold pieces of an answer or a URL."""
    kind = type(error).__name__
    if isinstance(error, NO_CONNECTION):
        untrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
        why = ", its certificate is not trusted" if untrusted else ""
        return f"no connection could be made ({kind}{why})"
    if isinstance(error, (httpx.TimeoutException, TimeoutError)):
        return f"no whole answer came in time ({kind})"
    return f"the connection broke before the whole answer was there ({kind})"


def broken(error: BaseException, *, doing: str, applied: bool) -> Temporary:
    """The failure as the caller gets it. `applied` tells whether the request could have had an effect."""
    reached = not isinstance(error, NO_CONNECTION)
    return Temporary(f"{doing}: {in_words(error)}; it is tried again later.", applied=applied and reached)
