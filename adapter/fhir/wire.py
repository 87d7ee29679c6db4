"""What goes over the wire to a FHIR server and what comes back, decided from bytes alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import SplitResult, quote, urlencode, urljoin, urlsplit

import simplejson

from adapter.domain.resource import Resource, items, obj, text, version_of
from adapter.errors import ConfigError, Rejected, Temporary

FHIR_JSON: Final = "application/fhir+json"
MOST_DEPTH: Final = 100
MOST_RETRY_AFTER: Final = timedelta(hours=1)

_LONGEST_INTEGER: Final = 18  # digits; what is longer is kept as a Decimal, digit for digit
_ID: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9\-.]{1,64}")
_TYPE: Final = re.compile(r"[A-Z][A-Za-z]{1,63}")
_ETAG: Final = re.compile(r'(?:W/)?"([A-Za-z0-9\-.]{1,64})"')
_SECONDS: Final = re.compile(r"[ \t]*([0-9]{1,9})[ \t]*")
_PORTS: Final = {"http": 80, "https": 443}


def parse(body: bytes, *, what: str, status: int = 200) -> Any:
    """The JSON value, numbers as precise as they were written (`1.50` stays `1.50`).

    Raises:
        Temporary: it is no JSON; a proxy's page, or an answer that was cut off.
        Rejected: it is JSON beyond what can be held, and will be tomorrow.
    """
    try:
        value = simplejson.loads(body.decode("utf-8-sig"), parse_float=Decimal, parse_int=_integer)
    except (RecursionError, InvalidOperation) as error:
        raise _beyond(what, status) from error
    except ValueError:
        # The decoder's own error holds the document, and with it patient data: it is not kept as the cause.
        raise Temporary(
            f"{what}: the answer (HTTP {status}) is not FHIR JSON. If this stays so, check that fhir.base_url "
            "is the server's FHIR base and not a page in front of it."
        ) from None
    if _deeper_than(value, MOST_DEPTH):
        raise _beyond(what, status)
    return value


def _integer(digits: str) -> int | Decimal:
    exact = len(digits) <= _LONGEST_INTEGER and digits != "-0"
    return int(digits) if exact else Decimal(digits)


def _beyond(what: str, status: int) -> Rejected:
    return Rejected(
        f"{what}: the answer is nested more than {MOST_DEPTH} levels deep or holds a number that nothing can "
        "compute with. No FHIR resource needs that; look at the resource on the server.",
        status=status,
    )


def _deeper_than(value: object, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return False
    return any(isinstance(node, dict | list) for node in level)


def serialise(resource: Mapping[str, Any]) -> bytes:
    """The JSON text of a resource: plain ASCII, so that even a lone surrogate goes back as it came."""
    return simplejson.dumps(
        resource, use_decimal=True, allow_nan=False, ensure_ascii=True, separators=(",", ":")
    ).encode("ascii")


def etag(version: str) -> str:
    """The entity tag that `If-Match` takes (https://hl7.org/fhir/R4/http.html#concurrency).

    Raises:
        Rejected: no server can have given such a version.
    """
    if not _ID.fullmatch(version):
        raise Rejected(
            "A version id may only have letters, digits, '-' and '.'; nothing was sent.", status=400
        )
    return f'W/"{version}"'


def version_in(header: str | None) -> str | None:
    """The version in an `ETag` header."""
    match = _ETAG.fullmatch(header.strip()) if header else None
    return match[1] if match else None


def with_version(resource: Resource, version: str | None) -> Resource:
    """The resource with `meta.versionId`, for servers that say the version in the `ETag` header only."""
    meta = obj(resource.get("meta"))
    if version is None or text(meta.get("versionId")):
        return resource
    return {**resource, "meta": {**meta, "versionId": version}}


def is_id(value: object) -> bool:
    """Whether it can be a resource's id (https://hl7.org/fhir/R4/datatypes.html#id) and a segment of a path."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def is_type(value: object) -> bool:
    """Whether it is spelled like a resource type."""
    return isinstance(value, str) and _TYPE.fullmatch(value) is not None


def type_of(resource: Mapping[str, Any]) -> str:
    """`resourceType`, as a segment of a path.

    Raises:
        Rejected: it has none.
    """
    type = resource.get("resourceType")
    if isinstance(type, str) and _TYPE.fullmatch(type):
        return type
    raise Rejected("What has no resourceType cannot be written; nothing was sent.", status=400)


def location(type: str, id: object) -> str:
    """`Type/id` as a path below the base.

    Raises:
        Rejected: they cannot name a resource.
    """
    if not (is_type(type) and is_id(id)):
        raise Rejected(
            "A resource needs a type and an id of letters, digits, '-' and '.', at most 64; nothing was sent.",
            status=400,
        )
    return f"{type}/{id}"


def query(parameters: Iterable[tuple[str, str]]) -> str:
    """The query string; order and repeats kept."""
    return urlencode(list(parameters), quote_via=quote, errors="replace")


def base_of(url: str, *, setting: str = "fhir.base_url") -> str:
    """The base URL that a setting gives, without a trailing slash.

    Raises:
        ConfigError: it is not a plain http(s) URL.
    """
    parts = _split(url)
    if not parts or parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(
            f"{setting} must be an absolute http or https URL without user, query or fragment, such as "
            "https://host.example.org/path. Credentials have settings of their own."
        )
    return url.rstrip("/")


def url_under(base: str, path: str, parameters: Iterable[tuple[str, str]] = ()) -> str:
    """The URL to ask: a path below the base, or an absolute URL of the base's origin as it stands.

    Raises:
        Rejected: the absolute URL is on another origin; credentials must not go there.
    """
    if ":" in path.split("/", 1)[0]:
        return _same_origin(path, base=base)
    asked = query(parameters)
    return base + (f"/{path}" if path else "") + (f"?{asked}" if asked else "")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _PORTS and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    return parts if usable else None


def _origin(parts: SplitResult | None) -> tuple[str, str, int] | None:
    if parts is None or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]


def _same_origin(url: str, *, base: str) -> str:
    parts = _split(url)
    there, here = _origin(parts), _origin(_split(base))
    if parts and there == here and parts.username is None:
        return url
    named = f"{there[0]}://{there[1]}:{there[2]}" if there else "an address that is no http URL"
    raise Rejected(
        f"The FHIR server refers to {named}, which is not where fhir.base_url points, so it was not followed. "
        "Set fhir.base_url to the address that the server announces, or tell the server its address as seen "
        "from here (HAPI: hapi.fhir.server_address, or X-Forwarded-* headers from the proxy).",
        status=200,
    )


def resource(value: object, *, what: str, type: str, id: str | None = None) -> Resource:
    """The value, if it is the resource that was asked for.

    Raises:
        Temporary: the server answered with something else.
    """
    if isinstance(value, dict) and value.get("resourceType") == type and id in (None, value.get("id")):
        return value
    raise Temporary(
        f"{what}: the answer is not the {type} that was asked for. If this stays so, check that fhir.base_url "
        "is the server's FHIR R4 base."
    )


def matches(page: Mapping[str, Any], type: str) -> Iterator[Resource]:
    """The matches on one page of a search; what was included with them, and outcomes, left out."""
    for entry in items(page.get("entry")):
        found = entry.get("resource")
        mode = obj(entry.get("search")).get("mode", "match")
        if mode == "match" and isinstance(found, dict) and found.get("resourceType") == type:
            yield found


def versions(page: Mapping[str, Any]) -> Iterator[Resource]:
    """The versions on one page of a history; deletions have none."""
    for entry in items(page.get("entry")):
        found = entry.get("resource")
        if isinstance(found, dict) and obj(entry.get("request")).get("method") != "DELETE":
            yield with_version(found, version_in(text(obj(entry.get("response")).get("etag"))))


def reaches_first(page: Mapping[str, Any]) -> bool:
    """Whether the last version on that page of a history is the resource's first: numbered so, or shown as created."""
    entry = obj(next(reversed(items(page.get("entry"))), None))
    request, response = obj(entry.get("request")), obj(entry.get("response"))
    created = request.get("method") == "POST" or str(response.get("status")).startswith("201")
    return created or version_of(obj(entry.get("resource"))) == "1"


def next_link(page: Mapping[str, Any], *, asked: str, base: str) -> str | None:
    """Where the next page is, verbatim; a relative link is taken from the URL that was asked.

    Raises:
        Rejected: on another origin than the base.
    """
    links: Sequence[Mapping[str, Any]] = items(page.get("link"))
    url = next((text(link.get("url")) for link in links if link.get("relation") == "next"), None)
    if url is None:
        return None
    try:
        absolute = urljoin(asked, url)
    except ValueError:
        absolute = url
    return _same_origin(absolute, base=base)


def retry_at(header: str | None, *, now: datetime) -> datetime | None:
    """When to try again by a `Retry-After` header, in seconds or as a date; at most an hour from now."""
    if header is None:
        return None
    seconds = _SECONDS.fullmatch(header)
    if seconds:
        return now + min(timedelta(seconds=int(seconds[1])), MOST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(moment, now), now + MOST_RETRY_AFTER)
