"""Webhook calls: who sent one, and what it says."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.message import MessageState
from adapter.errors import Rejected, Unverified
from adapter.metriport import webhook
from adapter.metriport.webhook import (
    KINDS,
    Event,
    Other,
    Ping,
    ReceivedEvent,
    StatusEvent,
    final_status,
    read,
    refuse_the_future,
    verify,
)
from adapter.ports.ledger import FinalStatus

KEY = "wk-present"
ID = "0190b1c2-0000-7000-8000-000000000001"
DELIVERY = "0190b1c2-0000-7000-8000-0000000000ff"
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
LINK = "https://files.metriport.test/message?X-Amz-Signature=s3cret"


def sign(raw: bytes, key: str = KEY) -> str:
    return hmac.new(key.encode(), raw, hashlib.sha256).hexdigest()


def call(**body: Any) -> bytes:
    meta = {"messageId": DELIVERY, "when": "2026-07-01T12:00:00Z", "type": "message.status"}
    return json.dumps({"meta": meta} | body).encode()


def status_call(**payload: Any) -> bytes:
    facts = {
        "id": ID,
        "patientId": "p",
        "status": "completed",
        "sentAt": "2026-07-01T12:00:00Z",
        "completedAt": "2026-07-01T12:05:00Z",
    }
    return call(payload=facts | payload)


@pytest.mark.parametrize("keys", [[KEY], ["wk-former", KEY], [KEY, "wk-next"]])
def test_a_call_signed_with_any_of_the_keys_is_verified(keys: list[str]) -> None:
    raw = status_call()

    verify(raw, sign(raw), keys)


RAW = status_call()


@pytest.mark.parametrize(
    ("signature", "keys"),
    [
        (None, [KEY]),
        ("", [KEY]),
        (sign(RAW, "another"), [KEY]),
        (sign(RAW).upper(), [KEY]),
        (sign(RAW)[:-1], [KEY]),
        (sign(RAW) + " ", [KEY]),
        ("sha256=" + sign(RAW), [KEY]),
        ("ünsigned", [KEY]),
        ("\ud800", [KEY]),
        ("x" * 100_000, [KEY]),
        (sign(RAW), []),
        (sign(RAW), ["another"]),
        (sign(RAW, ""), [""]),
        ("", [""]),
    ],
)
def test_any_other_call_is_not(signature: str | None, keys: list[str]) -> None:
    with pytest.raises(Unverified):
        verify(RAW, signature, keys)


def test_one_changed_byte_breaks_the_signature() -> None:
    with pytest.raises(Unverified):
        verify(RAW + b" ", sign(RAW), [KEY])


def test_the_error_holds_neither_key_nor_content() -> None:
    with pytest.raises(Unverified) as caught:
        verify(RAW, "f" * 64, [KEY])

    assert KEY not in str(caught.value)
    assert ID not in str(caught.value)


@given(
    raw=st.binary(),
    signature=st.none() | st.text(),
    keys=st.lists(st.text()),
)
def test_no_signature_is_a_crash_and_no_guess_is_right(
    raw: bytes, signature: str | None, keys: list[str]
) -> None:
    with pytest.raises(Unverified):
        verify(raw, signature, [*keys, "wk\udcff"])


def test_a_final_status_is_read_with_its_time_and_reason() -> None:
    assert read(status_call(status="failed", reason="No such mailbox.")) == StatusEvent(
        delivery_id=DELIVERY,
        kind="message.status",
        when=NOON,
        status=FinalStatus(
            message=ID,
            state=MessageState.FAILED,
            at=datetime(2026, 7, 1, 12, 5, tzinfo=UTC),
            detail="No such mailbox.",
        ),
    )


@pytest.mark.parametrize(
    "raw",
    [
        status_call(),
        call(payload={"messageId": ID, "status": "completed"}),
        call(payload={"communication": {"resourceType": "Communication", "id": ID, "status": "completed"}}),
        call(payload={"message": {"id": ID, "status": "completed"}}),
        call(id=ID, status="completed"),
        call(message={"id": ID, "status": "completed"}),
    ],
    ids=["documented", "message id", "communication", "message", "flat", "flat message"],
)
def test_a_final_status_is_found_where_the_dialects_may_put_it(raw: bytes) -> None:
    found = final_status(raw)

    assert found is not None
    assert (found.message, found.state) == (ID, MessageState.COMPLETED)


@pytest.mark.parametrize(
    "raw",
    [
        status_call(status="processing"),
        status_call(status=None),
        status_call(status="new"),
        status_call(id=None),
        call(payload=[]),
        call(),
        call(meta={"messageId": DELIVERY, "type": "ping"}, ping=["x"]),
        call(meta={"messageId": DELIVERY, "type": "ping"}),
    ],
)
def test_what_says_no_final_status_is_something_else(raw: bytes) -> None:
    found = read(raw)

    assert isinstance(found, Other)
    assert found.delivery_id == DELIVERY
    assert final_status(raw) is None


def received_call(**body: Any) -> bytes:
    return call(meta={"messageId": DELIVERY, "type": "message.received"}, **body)


@pytest.mark.parametrize("key", ["url", "bundleUrl", "downloadUrl", "messageUrl"])
@pytest.mark.parametrize("inside", [True, False], ids=["payload", "top level"])
def test_a_received_message_is_behind_a_link_whatever_its_key(key: str, inside: bool) -> None:  # noqa: FBT001
    facts = {key: LINK, "patientId": ID, "externalId": "MRN 7", "additionalIds": {"other": ["x"]}}

    found = read(received_call(payload=facts) if inside else received_call(**facts))

    assert found == ReceivedEvent(
        delivery_id=DELIVERY, kind="message.received", links=(LINK,), patient=ID, external_id="MRN 7"
    )


def test_several_links_are_all_kept_each_once() -> None:
    found = read(received_call(payload={"messageUrl": "https://a.test", "url": LINK, "downloadUrl": LINK}))

    assert isinstance(found, ReceivedEvent)
    assert found.links == (LINK, "https://a.test")


@pytest.mark.parametrize(
    "payload",
    [None, {}, [], {"url": 7, "patientId": ["x"], "externalId": {}}, {"id": ID, "status": "completed"}],
)
def test_a_received_message_without_anything_usable_is_still_one(payload: object) -> None:
    found = read(received_call(payload=payload))

    assert isinstance(found, ReceivedEvent)
    assert (found.links, found.patient, found.external_id) == ((), None, None)
    assert final_status(received_call(payload=payload)) is None


@pytest.mark.parametrize("stated", [" 8", "8 ", "7,8", "a|8", "7$8", "7\\8", "Ä 7", "8" * 1000])
def test_an_own_id_is_told_as_it_stands(stated: str) -> None:
    found = read(received_call(payload={"externalId": stated}))

    assert isinstance(found, ReceivedEvent)
    assert found.external_id == stated


@pytest.mark.parametrize(
    "stated", ["", " ", "8\x00", "8\n", "8\u200b", "8\ud800", "8" * 1001, 8, ["8"], None]
)
def test_an_own_id_that_cannot_be_one_is_not_mended(stated: object) -> None:
    found = read(received_call(payload={"externalId": stated}))

    assert isinstance(found, ReceivedEvent)
    assert found.external_id is None


def test_links_and_ids_of_a_received_message_are_not_in_its_repr() -> None:
    shown = repr(read(received_call(payload={"url": LINK, "patientId": ID, "externalId": "MRN 7"})))

    assert DELIVERY in shown
    assert not {part for part in ("s3cret", ID, "MRN") if part in shown}


@pytest.mark.parametrize("when", ["2026-07-01T13:00:00Z", "2001-01-01", "soon", None, 7])
def test_a_call_of_now_or_of_the_past_is_taken_and_so_is_one_without_a_time(when: object) -> None:
    refuse_the_future(read(call(meta={"when": when})), now=NOON)


@pytest.mark.parametrize("when", ["2026-07-01T13:00:01Z", "2026-07-01T15:00:01+02:00", "9999-12-31"])
def test_a_call_of_the_future_is_refused(when: str) -> None:
    with pytest.raises(Rejected, match="clock") as caught:
        refuse_the_future(read(call(meta={"when": when})), now=NOON)

    assert caught.value.status == 400


def test_what_is_counted_has_few_names() -> None:
    documented = {Event(delivery_id="x", kind=kind).counted_as for kind in KINDS}

    assert documented == KINDS
    assert Event(delivery_id="x", kind="something.new").counted_as == "other"


@pytest.mark.parametrize("kind", ["medical.consolidated-data", "patient.admit", "something.new"])
def test_other_kinds_keep_their_names(kind: str) -> None:
    assert read(call(meta={"messageId": DELIVERY, "type": kind})) == Other(delivery_id=DELIVERY, kind=kind)


@pytest.mark.parametrize("meta", [None, [], {}, {"type": 7}, {"type": "two words"}, {"type": "\ud800"}])
def test_a_kind_that_is_not_stated_is_unknown(meta: object) -> None:
    assert read(call(meta=meta, payload={})).kind == "unknown"


@pytest.mark.parametrize("meta", [{"messageId": DELIVERY, "type": "ping"}, {"messageId": DELIVERY}])
def test_a_ping_is_answered_with_its_word(meta: dict[str, str]) -> None:
    found = read(call(ping="w\ud800rd", meta=meta))

    assert isinstance(found, Ping)
    assert (found.delivery_id, found.kind) == (DELIVERY, "ping")
    assert json.loads(found.pong) == {"pong": "w\ud800rd"}


@pytest.mark.parametrize("stated", [None, "", 7, "two words", "x" * 129, "\ud800", "\u0000"])
def test_without_a_usable_id_a_delivery_is_known_by_its_body(stated: object) -> None:
    raw = call(meta={"messageId": stated, "type": "message.status"})

    assert read(raw).delivery_id == hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'"Jane Roe"',
        b'{"name": "Jane Roe"',
        b"\xff\xfeJane Roe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"a":' * 101 + b"1" + b"}" * 101,
        b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"a": ' + b"9" * 4_301 + b"}",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"meta": {"type": "ping", "type": "ping"}}',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        '{"a": 1}'.encode("utf-16"),
        b'\xef\xbb\xbf{"a": 1}',
        b" " * (webhook.MOST_BYTES + 1),
    ],
)
def test_what_cannot_be_read_is_rejected_without_quoting_it(raw: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        read(raw)

    assert caught.value.status == 400
    assert caught.value.issues == ()
    assert "Jane" not in str(caught.value)


@pytest.mark.parametrize(
    "raw", [b'{"a":' * 100 + b"1" + b"}" * 100, b'{"a": ' + b"9" * 4_300 + b"}", b'{"a": "\\ud800"}']
)
def test_what_is_only_odd_is_read(raw: bytes) -> None:
    assert isinstance(read(raw), Other)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["completed", ID]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    meta=JSON,
    payload=JSON,
    kind=st.sampled_from(["message.status", "message.received", "ping", "x"]),
    extra=st.dictionaries(st.text(), JSON),
)
def test_any_object_is_read_and_its_facts_can_be_stored(
    meta: Any, payload: Any, kind: str, extra: dict[str, Any]
) -> None:
    stated = meta | {"type": kind} if isinstance(meta, dict) else meta

    found = read(json.dumps(extra | {"meta": stated, "payload": payload}).encode())

    assert found.delivery_id.isascii()
    assert found.kind.isascii()


@given(st.binary())
def test_any_bytes_are_read_or_rejected(raw: bytes) -> None:
    try:
        read(raw)
    except Rejected as error:
        assert error.status == 400  # noqa: PT017 - most bytes are rejected, some are not
