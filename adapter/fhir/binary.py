"""The two forms in which a Binary is sent (https://hl7.org/fhir/R4/binary.html#rest), never in memory as a whole.

Raw with its own content type; as JSON that is made while it is sent, where it would not arrive as it went, or a server does
not take it so. Sent raw, HAPI 8.8 takes FHIR's own types for the resource itself, loses the bytes of a form without a
word, and binary storage refuses what has no type. Either way HAPI wants 2 GB of heap to give 45 MB back.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

import simplejson

from adapter.domain.resource import Resource, text
from adapter.errors import Temporary
from adapter.fhir import wire

# Without parameters: those may come back in another spelling.
_RAW: Final = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
_FOR_THE_SERVER: Final = re.compile(
    r"(application/(fhir\+|(json|xml)\+fhir|x-www-form-urlencoded)|multipart/)", re.IGNORECASE
)


class Body(Protocol):
    """What is sent of a Binary: its pieces, how many bytes they are in all, and the headers that go with them."""

    length: int
    headers: Mapping[str, str]

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces."""
        ...


def goes_raw(content_type: str, *, size: int) -> bool:
    """Whether so many bytes of that type arrive as they are when they are sent raw."""
    return bool(size and _RAW.fullmatch(content_type) and not _FOR_THE_SERVER.match(content_type))


class Raw:
    """The bytes of one Binary, as they are; `size` is how many."""

    def __init__(
        self, *, content_type: str, content: AsyncIterator[bytes], size: int, security_context: str | None
    ) -> None:
        owner = {"X-Security-Context": security_context} if security_context else {}
        self.headers: Mapping[str, str] = {"Content-Type": content_type, **owner}
        self.length = size
        self._content = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._content


class Document:
    """The JSON of one Binary; `size` is how many bytes `content` has."""

    headers: Mapping[str, str] = MappingProxyType({"Content-Type": wire.FHIR_JSON})

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
