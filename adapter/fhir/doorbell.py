"""What a Subscription notification means: "look now". It carries no authority and its body is never read.

HAPI sends `PUT {endpoint}/Communication/{id}` when the Subscription asks for a payload, else `POST {endpoint}`.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from adapter.errors import ConfigError, Unverified
from adapter.fhir import wire

_COMMUNICATION: Final = re.compile(r"/Communication/([^/]+)/?$")
_BEARER: Final = re.compile(r"bearer +(.+)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Ring:
    """Look at one Communication, or at everything when it names none that could exist."""

    communication: str | None = None


def ring(path: str, headers: Mapping[str, str], *, secret: str) -> Ring:
    """What one notification says; `path` is that of the request, which may end in `/Communication/{id}`.

    Anything that does not name one Communication means everything: HAPI would repeat what is refused.

    Raises:
        Unverified: the secret is missing or wrong.
        ConfigError: no secret is set, so nobody can prove anything.
    """
    if not secret:
        raise ConfigError("The doorbell has no secret. Set watch.doorbell_secret.")
    if not _knows(headers, secret):
        raise Unverified(
            "A notification came without the doorbell's secret. Run subscribe to renew the Subscription's header, "
            "or find out who else calls this address."
        )
    match = _COMMUNICATION.search(path)
    return Ring(communication=match[1] if match and wire.is_id(match[1]) else None)


def _knows(headers: Mapping[str, str], secret: str) -> bool:
    given = next((value for name, value in headers.items() if name.lower() == "authorization"), "")
    bearer = _BEARER.fullmatch(given.strip())
    token = bearer[1] if bearer else ""
    return hmac.compare_digest(_bytes(token), _bytes(secret))


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")
