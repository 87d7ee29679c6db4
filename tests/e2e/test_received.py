"""Received messages on a real HAPI server: every shape of content, whoever the patient, whatever is attached."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.clinic import assert_whole, attached, clinic

ENTRIES: Final = [
    ("none", []),
    ("three", [b"%PDF-1.4 \x00\x01\n", b"plain words\n", b'{"a": 1.50}']),
    ("empty", [b""]),
    ("unknown type", [bytes(range(256))]),
]
TYPES: Final = ["application/pdf", "text/plain", "application/json"]
CONTENTS: Final = ("bundle", "communication", "message")
PLACES: Final = ("link", "inside")
PEOPLE: Final = ("matched", "external id only", "unmatched")


@pytest.mark.parametrize("dialect", ["sdk", "docs"])
@pytest.mark.parametrize("profile", ["defaults", "lax"])
def test_every_shape_for_everybody_with_everything(
    hapi_defaults: str, hapi_lax: str, tmp_path: Path, profile: str, dialect: str
) -> None:
    base_url = {"defaults": hapi_defaults, "lax": hapi_lax}[profile]
    with clinic(base_url, tmp_path, dialect=dialect) as here:
        sent: list[tuple[str, list[tuple[str, bytes]], str | None]] = []
        asked = sent[:]
        for content, place, person, (_, entries) in itertools.product(CONTENTS, PLACES, PEOPLE, ENTRIES):
            # Only named there, and without Metriport's patient nobody can ask for them: a person is, after a while
            # (integration/test_received_outages.py), and meanwhile no part of it is shown.
            cannot_be_had = content == "message" and bool(entries) and person == "unmatched"
            expected = [
                (kind if len(entries) > 1 else "application/x-unheard-of", data)
                for kind, data in zip(TYPES, entries, strict=False)
            ]
            owner = None if person == "unmatched" else f"Patient/{here.known}"
            message = here.receive(
                subject=f"{content}, {place}, {person}",
                body="Please see the attached.",
                attachments=[attached(data, kind) for kind, data in expected],
                content=content,
                attachmentsAs=place,
                **({"patientId": here.linked} if person == "matched" else {}),
                **({"externalId": here.known} if person == "external id only" else {}),
            )
            (asked if cannot_be_had else sent).append((message, expected, owner))
        for message, expected, owner in sent:
            here.wait_for(message)
            assert_whole(here, message, expected, owner=owner)
        for message, _, _ in asked:
            assert here.find(message) is None
