"""Attachments that stand on the web, outside the FHIR server (`ports.metriport.Web`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Self

import httpx

from adapter.errors import Rejected, Temporary
from adapter.metriport import wire
from adapter.metriport.exchange import FAILURES, broken, exchange, transport, web_url

FETCH_SECONDS: Final = 30.0

_DOING: Final = "Fetching an attachment from its url"
_PASSING: Final = frozenset({408, 425, 429})


class WebContent:
    """Fetches without credentials, cookies or redirects. Which origins are allowed is the caller's to decide."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        over: httpx.AsyncBaseTransport | None = None,
        seconds: float = FETCH_SECONDS,
    ) -> None:
        self._now = now
        self._over = over or transport(keep_alive=0)
        self._seconds = seconds

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._over.aclose()

    async def fetch(self, url: str, *, most_bytes: int) -> tuple[bytes, str | None]:
        """The bytes, at most `most_bytes` + 1 of them, and the content type.

        Raises:
            Temporary: no answer now.
            Rejected: the url answers with an error, or (400) is none that can be fetched. The text never holds the url.
        """
        parsed = web_url(url)
        if parsed is None:
            raise Rejected(f"{_DOING}: only plain http and https urls are fetched.", status=400)
        request = httpx.Request("GET", parsed, headers={"accept": "*/*", "accept-encoding": "identity"})
        try:
            answered = await exchange(self._over, request, seconds=self._seconds, most_bytes=most_bytes)
        except httpx.DecodingError:
            raise Rejected(f"{_DOING}: its content encoding is broken.", status=400) from None
        except FAILURES as error:
            raise broken(error, doing=_DOING, applied=False) from None
        status = answered.status
        if status // 100 == 5 or status in _PASSING:  # noqa: PLR2004
            wait = wire.retry_after(answered.headers, now=self._now())
            retry_at = None if wait is None else self._now() + timedelta(seconds=wait)
            raise Temporary(f"{_DOING}: it answers {status}.", retry_at=retry_at, applied=False)
        if status // 100 != 2:  # noqa: PLR2004
            raise Rejected(f"{_DOING}: it answers {status}.", status=status)
        return answered.body, answered.headers.get("content-type")
