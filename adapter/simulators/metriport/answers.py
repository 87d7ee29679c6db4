"""The pretend Metriport's answers: JSON, and refusals in the contract's shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from adapter.simulators.http import Response

REQUEST_ID: Final = "x-metriport-request-id"

_NAMES: Final = {
    400: ("BAD_REQUEST", "BadRequestError"),
    404: ("NOT_FOUND", "NotFoundError"),
    412: ("PRECONDITION_FAILED", "VersionMismatchError"),
    429: ("TOO_MANY_REQUESTS", "TooManyRequestsError"),
    500: ("INTERNAL_SERVER_ERROR", "InternalServerError"),
    503: ("SERVICE_UNAVAILABLE", "ServiceUnavailableError"),
}

# The gateway's answers, before the API is reached: without a key that counts, and where there is no route.
FORBIDDEN: Final = Response(
    status=403, headers={"content-type": "application/json"}, body=b'{"message":"Forbidden"}'
)
NO_ROUTE: Final = Response(
    status=404, headers={"content-type": "application/json"}, body=b'{"message":"Not Found"}'
)


class Refusal(Exception):
    """The request is refused: status and detail."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """The refusal as the API says it."""
        name, title = _NAMES[self.status]
        body = {"status": self.status, "name": name, "title": title, "detail": self.detail}
        return as_json(body, status=self.status, headers=headers)


def as_json(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(
        status=status,
        headers={"content-type": "application/json", **(headers or {})},
        body=json.dumps(value, separators=(",", ":")).encode(),
    )


def instant(moment: datetime) -> str:
    """A time as the API writes it: UTC, milliseconds, `Z`; the vendor's schema refuses `+00:00`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
