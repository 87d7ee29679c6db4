"""Resources of the adapter's own making on a server that gives all ids itself: ours become identifiers (protocol §8).

What keeps each there once is `If-None-Exist` and the search before it, so such a server has to show at once what was
written. A Binary has no identifier: it is created in the transaction of the DocumentReference that refers to it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from adapter.domain.canonical import OWN_ID
from adapter.domain.resource import Resource, entries, identifiers, items, local_reference, obj
from adapter.errors import Temporary

_BLOCK: Final = 3 << 14  # bytes that make base64 without padding


def criteria(id: str) -> list[tuple[str, str]]:
    """The search for what was created under that id of ours."""
    return [("identifier", f"{OWN_ID}|{id}")]


def bears(resource: Mapping[str, Any], id: str) -> bool:
    """Whether the resource was created under that id of ours."""
    return id in identifiers(resource, OWN_ID)


def puts(resources: Sequence[Resource], *, if_match: str | None) -> Resource:
    """The transaction that puts the resources under their ids, with that entity tag in each `ifMatch`."""
    condition = {"ifMatch": if_match} if if_match else {}
    return _transaction(
        [
            {"resource": one, "request": {"method": "PUT", "url": _place(one), **condition}}
            for one in resources
        ]
    )


def posts(resources: Sequence[Resource]) -> Resource:
    """The transaction that creates them under ids of the server's, those left out that it has already."""
    placeholders = {_place(one): _urn(one) for one in resources}
    return _transaction([_post(one, placeholders) for one in resources])


def ids(answer: Mapping[str, Any], resources: Sequence[Resource], *, base_url: str) -> list[str]:
    """The ids that the transaction's answer tells, in order.

    Raises:
        Temporary: it does not tell all.
    """
    told = [obj(entry.get("response")).get("location") for entry in items(answer.get("entry"))]
    places = [local_reference(location, base_url=base_url) for location in told]
    found = [place.id for place in places if place is not None]
    if len(found) != len(resources):
        raise Temporary(
            "POST a transaction: the server took it and does not say where it put what was created."
        )
    return found


async def inline(
    id: str, *, content_type: str, content: AsyncIterator[bytes], security_context: str | None
) -> Resource:
    """The Binary with its bytes in it."""
    data, left = bytearray(), b""
    async for chunk in content:
        whole = left + chunk
        usable = len(whole) - len(whole) % _BLOCK
        data += b64encode(whole[:usable])
        left = whole[usable:]
    data += b64encode(left)
    return {
        "resourceType": "Binary",
        "id": id,
        "contentType": content_type,
        **({"securityContext": {"reference": security_context}} if security_context else {}),
        **({"data": data.decode("ascii")} if data else {}),
    }


def _transaction(entries: Sequence[Mapping[str, Any]]) -> Resource:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


def _post(resource: Resource, placeholders: Mapping[str, str]) -> dict[str, Any]:
    type, id = resource["resourceType"], resource["id"]
    made = {name: _pointing(value, placeholders) for name, value in resource.items() if name != "id"}
    condition = {}
    if type != "Binary":
        made["identifier"] = [*entries(made.get("identifier")), {"system": OWN_ID, "value": id}]
        condition = {"ifNoneExist": f"identifier={quote(f'{OWN_ID}|{id}', safe='')}"}
    request = {"method": "POST", "url": type, **condition}
    return {"fullUrl": _urn(resource), "resource": made, "request": request}


def _pointing(value: Any, placeholders: Mapping[str, str]) -> Any:
    """The element with its references to the others, which have no id yet, as placeholders."""
    if isinstance(value, list):
        return [_pointing(one, placeholders) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: placeholders.get(inner, inner)
        if name in {"reference", "url"} and isinstance(inner, str)
        else _pointing(inner, placeholders)
        for name, inner in value.items()
    }


def _place(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _urn(resource: Resource) -> str:
    return f"urn:uuid:{resource['id']}"
