"""What is asked of Metriport about messages that others send in: `ports.mail.Mail`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import simplejson

from adapter.domain.attachment import stated
from adapter.domain.received import Linked
from adapter.domain.resource import Resource, items, obj, text
from adapter.errors import Rejected, Temporary
from adapter.metriport import wire
from adapter.metriport.account import Deliveries
from adapter.metriport.api import PAGE, Query
from adapter.ports.mail import Direction, Listed, MadeCall

_RECEIVED: Final = "message.received"
_NOT_FOUND: Final = 404
_GENDERS: Final = {"F": "female", "M": "male", "O": "other"}


class MetriportMail(Deliveries):
    """The calls about messages that others send in."""

    async def calls(self, *, since: datetime) -> AsyncIterator[MadeCall]:
        """The calls about received messages that Metriport first made since then, newest first."""
        async for request in self.deliveries():
            # Newest first: what comes after an older one is older still.
            if request.created_at is not None and request.created_at < since:
                return
            if request.kind in {_RECEIVED, None}:
                # `failure` in its packages, but not documented.
                missed = "fail" in (request.status or "").lower()
                yield MadeCall(id=request.id, at=request.created_at, missed=missed)

    async def list_messages(self, direction: Direction, *, since: datetime) -> AsyncIterator[Listed]:
        """The messages that Metriport lists, those before that time perhaps left out.

        The order of the list is not documented, and it may shift while it is read: what is older ends the reading
        only while each row is older than the one before, and one page later (protocol §8).

        Raises:
            Cut: after its last row, when the list goes on and cannot be followed.
        """
        doing = f"Listing {direction.value} messages at Metriport"
        query: Query = {"direction": direction.value, "count": PAGE}
        descending, last, margin = True, None, False
        async for page in self._pages("message", query, doing=doing):
            rows = obj(page).get("messages")
            if not isinstance(rows, list):
                raise Temporary(f"{doing}: the answer is no list of messages.", applied=False)
            for listed in filter(None, (_listed(row, direction) for row in items(rows))):
                at = listed.message.sent_at
                descending = descending and at is not None and (last is None or at < last)
                last = at
                yield listed
            if margin and descending:
                return
            margin = last is not None and last < since

    async def document_link(self, document: str, *, patient: str, title: str | None = None) -> Linked | None:
        """A presigned link to a document of the patient's, the file of that title where it has several.

        `None` when Metriport does not list it.
        """
        doing = "Asking Metriport for a document"
        listed = await self._read("document", {"patientId": patient}, doing=doing)
        file = _file(wire.read_json(listed.body), document, title)
        if file is None:
            return None
        query: Query = {"fileName": str(file["title"])}
        answered = await self._read("document/download-url", query, doing=doing)
        url = text(obj(wire.read_json(answered.body)).get("url"))
        return Linked(url=url, stated=stated(file)) if url else None

    async def person(self, patient: str) -> Resource | None:
        """Whom Metriport knows under its id, as a FHIR Patient; `None` when it does not know the id."""
        return _patient(await self._known(quote(patient, safe="")))

    async def known_as(self, external_id: str) -> str | None:
        """Metriport's id of the patient whom the account calls so; `None` when it knows nobody by that."""
        return text((await self._known("external-id", externalId=external_id)).get("id"))

    async def _known(self, path: str, **query: str) -> Mapping[str, Any]:
        try:
            found = await self._read(f"patient/{path}", query, doing="Asking Metriport for a patient")
        except Rejected as error:
            if error.status == _NOT_FOUND and error.issues:
                return {}
            raise
        return obj(wire.read_json(found.body))


def _listed(row: Mapping[str, Any], direction: Direction) -> Listed | None:
    if text(row.get("direction")) not in {None, direction.value}:
        return None  # it was not asked for
    found = wire.read_message(row)
    raw = simplejson.dumps(row, ensure_ascii=True, use_decimal=True).encode("ascii")
    return Listed(message=found, row=raw) if found else None


def _file(listed: object, document: str, title: str | None) -> Mapping[str, Any] | None:
    """The document's Attachment, as far as it has a file's name: the one of that title, or the first."""
    for row in items(obj(listed).get("documents")):
        if row.get("id") == document:
            shown = [obj(one.get("attachment")) for one in items(row.get("content"))]
            flat = {"title": row.get("fileName"), "size": row.get("size")}
            files = [one for one in [*shown, flat] if text(one.get("title"))]
            return next((one for one in files if title in {None, one["title"]}), None)
    return None


def _patient(found: Mapping[str, Any]) -> Resource | None:
    """Metriport's demographics as a FHIR Patient (Metriport contract §3): several names are joined by commas."""
    family, given = text(found.get("lastName")), text(found.get("firstName"))
    if not (family or given):
        return None
    addresses = found.get("address")
    places = items(addresses) if isinstance(addresses, list) else [obj(addresses)]
    numbers = [text(one.get("phone")) for one in items(found.get("contact"))]
    return {
        "resourceType": "Patient",
        "name": [{"family": one, "given": _names(given)} for one in _names(family) or [""]],
        "birthDate": text(found.get("dob")),
        "gender": _GENDERS.get(str(found.get("genderAtBirth"))),
        "address": [{"postalCode": text(one.get("zip"))} for one in places],
        "telecom": [{"system": "phone", "value": number} for number in numbers if number],
    }


def _names(joined: str | None) -> list[str]:
    return [name for one in (joined or "").split(",") if (name := one.strip())]
