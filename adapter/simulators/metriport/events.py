"""Every webhook that Metriport documents, told on order with example content; and any other body as it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from adapter.simulators.metriport import consolidated, queries
from adapter.simulators.metriport.answers import Refusal, instant
from adapter.simulators.metriport.records import File
from adapter.simulators.metriport.server import LINK_LIFE, Server

_NOTICE_LIFE: Final = timedelta(minutes=10)

Content = Callable[[Server, dict[str, Any], datetime], dict[str, Any]]
Order = Callable[[Server, dict[str, Any], datetime], None]


def announce(server: Server, stated: Mapping[str, Any], now: datetime) -> None:
    """Calls the webhook with `type`, about `patientId`, or with the keys of `body` as they are."""
    kind, patient_id, body = stated.get("type"), stated.get("patientId"), stated.get("body")
    if not isinstance(kind, str) or not kind:
        raise Refusal(400, "type is required")
    if isinstance(body, dict):
        server.webhooks.tell(kind, lambda _: body, now)
        return
    order = _ORDERS.get(kind)
    if order is None:
        raise Refusal(400, f"type {kind} has no example; give a body")
    if not isinstance(patient_id, str):
        raise Refusal(400, "patientId is required")
    server.patient(patient_id)
    order(server, server.about(patient_id), now)


def _link(server: Server, about: dict[str, Any], now: datetime, life: timedelta) -> str:
    data = json.dumps(consolidated.bundle(server, about["patientId"], {})).encode()
    return server.share(File(data=data), now, life=life)


def _notice(*times: str) -> Content:
    """A `patient.*` event; its link lives ten minutes."""

    def content(server: Server, about: dict[str, Any], now: datetime) -> dict[str, Any]:
        payload = {"url": _link(server, about, now, _NOTICE_LIFE), **about}
        return {"payload": {**payload, **dict.fromkeys(times, instant(now))}}

    return content


def _transfer(server: Server, about: dict[str, Any], now: datetime) -> dict[str, Any]:
    payload: dict[str, Any] = _notice("admitTimestamp")(server, about, now)["payload"]
    wards = [{"name": name, "type": "ward"} for name in ("East Ward", "West Ward")]
    move = {"timestamp": instant(now), "sourceLocation": wards[0], "destinationLocation": wards[1]}
    return {"payload": {**payload, "transfers": [move]}}


def _documents(*keys: str, pages: bool = False) -> Content:
    """A `medical.document-*` event; each key is a link of the document."""

    def content(server: Server, about: dict[str, Any], now: datetime) -> dict[str, Any]:
        links = {key: _link(server, about, now, LINK_LIFE) for key in keys}
        document = {"id": "example", "fileName": "example.json", "mimeType": "application/json", **links}
        patient = {**about, "status": "completed", "documents": [document]}
        pagination = {"pagination": {"page": 1, "totalPages": 1, "totalItems": 1}} if pages else {}
        return {"patients": [{**patient, **pagination}]}

    return content


def _conversion(_server: Server, about: dict[str, Any], _now: datetime) -> dict[str, Any]:
    return {"patients": [{**about, "status": "completed"}]}


def _bulk_create(server: Server, _about: dict[str, Any], now: datetime) -> dict[str, Any]:
    result = server.share(File(data=b"rowNumber,status\n1,successful\n", content_type="text/csv"), now)
    created = {"requestId": server.ids.new(now), "status": "completed", "result": result}
    return {"bulkPatientCreate": created}


_CONTENTS: Final[dict[str, Content]] = {
    "medical.document-download": _documents(),
    "medical.document-conversion": _conversion,
    "medical.document-bulk-download-urls": _documents("url"),
    "medical.document-bulk-download-paged": _documents("url", "downloadUrl", pages=True),
    "medical.bulk-patient-create": _bulk_create,
    "patient.admit": _notice("admitTimestamp"),
    "patient.transfer": _transfer,
    "patient.discharge": _notice("admitTimestamp", "dischargeTimestamp"),
    "patient.laboratory": _notice("specimenCollectedDate"),
    "patient.pharmacy": _notice("medicationDispensedDate"),
}


def _told(kind: str, content: Content) -> Order:
    def order(server: Server, about: dict[str, Any], now: datetime) -> None:
        server.webhooks.tell(kind, lambda at: content(server, about, at), now)

    return order


def _query_ended(kind: str) -> Order:
    return lambda server, about, now: queries.ended(server, kind, about, now)


def _consolidated(server: Server, about: dict[str, Any], now: datetime) -> None:
    consolidated.tell(server, about["patientId"], {"conversionType": "json"}, now)


_ORDERS: Final[dict[str, Order]] = {
    **{kind: _told(kind, content) for kind, content in _CONTENTS.items()},
    **{f"network-query.{kind}": _query_ended(kind) for kind in queries.SOURCES},
    "network-query.hie.first-data-ready": queries.first_data,
    "medical.consolidated-data": _consolidated,
}
EXAMPLE_TYPES: Final = tuple(_ORDERS)
