"""The JSON of a Binary (https://hl7.org/fhir/R4/binary.html#rest): made while it is sent, never in memory as a whole.

One form for all types. Sent raw, HAPI 8.8 takes `application/fhir+json`, `+xml` and `+ndjson` for the resource itself,
loses the bytes of `application/x-www-form-urlencoded` without a word, and binary storage refuses what has no type.
The price, measured at 45 MB: a third more on the wire, and 13 to 28 s in HAPI where raw takes 2 to 20 s. Either way HAPI
wants 2 GB of heap to give that much back.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping
from typing import Any

import simplejson

from adapter.domain.resource import Resource, text
from adapter.errors import Temporary
from adapter.fhir import wire


class Document:
    """The JSON of one Binary; `size` is how many bytes `content` has."""

    def __init__(
        self,
        id: str,
        *,
        content_type: str,
        content: AsyncIterator[bytes],
        size: int,
        security_context: str | None,
    ) -> None:
        owner = {"securityContext": {"reference": security_context}} if security_context else {}
        head = wire.serialise({"resourceType": "Binary", "id": id, "contentType": content_type, **owner})
        # An element that is there is not empty: https://hl7.org/fhir/R4/json.html#null
        self._head, self._tail = (head[:-1] + b',"data":"', b'"}') if size else (head, b"")
        self._content = content
        self.length = len(self._head) + (size + 2) // 3 * 4 + len(self._tail)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._head
        left = b""
        async for chunk in self._content:
            whole = left + chunk
            usable = len(whole) - len(whole) % 3
            left = whole[usable:]
            yield b64encode(whole[:usable])
        yield b64encode(left) + self._tail


def shown(body: bytes, content_type: str, *, id: str) -> Resource | None:
    """The Binary itself, where a server shows it though its bytes were asked for.

    HAPI does when it has none, or keeps them apart; other servers always may.
    """
    if not content_type.startswith(wire.FHIR_JSON):
        return None
    try:
        value = simplejson.loads(body)
    except (ValueError, RecursionError):
        return None
    is_it = isinstance(value, dict) and (value.get("resourceType"), value.get("id")) == ("Binary", id)
    return value if is_it else None


def data_of(resource: Mapping[str, Any], *, what: str) -> bytes:
    """The bytes that are in the Binary; without any, none.

    Raises:
        Temporary: they are not base64.
    """
    try:
        return b64decode(text(resource.get("data")) or "")
    except ValueError:
        raise Temporary(f"{what}: the server shows a Binary whose data is not base64.") from None
