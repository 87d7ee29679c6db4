"""The names of a received message's resources, and media types."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.domain.received import (
    Received,
    binary_id,
    communication_id,
    document_id,
    document_name,
    media_type,
)
from adapter.fhir import wire

names = st.text(min_size=1, max_size=128)


@given(names)
def test_ids_are_what_servers_take_and_always_the_same(name: str) -> None:
    ids = [make(name) for make in (communication_id, document_id, binary_id)]

    assert all(wire.is_id(id) for id in ids)
    assert len({*ids}) == 3
    assert ids[0] == Received(id=name).communication


def test_the_names_of_the_public_rule() -> None:
    """https://w3id.org/metriport-fhir-adapter as namespace: others may rely on it."""
    assert communication_id("m") == "4bdd651b-0e08-56f1-a18b-69a4233f0435"


def test_a_document_is_known_by_metriports_id_else_by_its_bytes() -> None:
    assert document_name("m", document="d", sha256="s", copies=0) == "d"
    assert document_name("m", document=None, sha256="s", copies=0) == "m/s"
    assert document_name("m", document=None, sha256="s", copies=2) == "m/s/3"


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        ("application/pdf", "application/pdf"),
        ("text/plain;  charset=utf-8", "text/plain; charset=utf-8"),
        ("application/vnd.x+json", "application/vnd.x+json"),
        ("pdf", None),
        ("text/plain\n", None),
        ("text/plain;\r\nX-Header: 1", None),
        ("text/\u0661", None),
        ("", None),
        (None, None),
        (["text/plain"], None),
    ],
)
def test_only_a_media_type_is_one(stated: object, kept: str | None) -> None:
    assert media_type(stated) == kept
