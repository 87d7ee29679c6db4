"""Values that tests start from, each with keyword overrides. An element overridden with `None` is left out.

All people, places and texts are invented.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from adapter.domain.canonical import CHANNEL_SYSTEM, PATIENT_ID
from adapter.domain.mark import Mark, Token
from adapter.domain.ranking import Rank
from adapter.domain.resource import Resource
from adapter.domain.transmission import State, Transmission

NOW: Final = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
METRIPORT_PATIENT: Final = "0195f2a0-7c1e-7a52-9d3b-5f60c2b1a001"
MESSAGE: Final = "0195f2a0-7c1e-7a52-9d3b-5f60c2b1b001"
DOCUMENT: Final = "0195f2a0-7c1e-7a52-9d3b-5f60c2b1d001"
DESTINATION: Final = "intake@direct.lakeside.example"


def concept(system: str, code: str, **overrides: Any) -> dict[str, Any]:
    """A CodeableConcept of one coding."""
    return _without_none({"coding": [{"system": system, "code": code}], **overrides})


def communication(**overrides: Any) -> Resource:
    """A Communication that wants to be sent, and can be."""
    return _without_none(
        {
            "resourceType": "Communication",
            "id": "c1",
            "meta": {"versionId": "1", "lastUpdated": "2026-03-01T11:59:00.000Z"},
            "status": "preparation",
            "medium": [concept(CHANNEL_SYSTEM, "metriport")],
            "subject": {"reference": "Patient/p1"},
            "recipient": [{"display": DESTINATION}],
            "topic": {"text": "Follow-up after discharge"},
            "payload": [{"contentString": "Please see her within two weeks."}],
            **overrides,
        }
    )


def patient(**overrides: Any) -> Resource:
    """A Patient that is linked to Metriport."""
    return _without_none(
        {
            "resourceType": "Patient",
            "id": "p1",
            "identifier": [{"system": PATIENT_ID, "value": METRIPORT_PATIENT}],
            "name": [{"family": "Quillfeather", "given": ["Odalys"]}],
            "gender": "female",
            "birthDate": "1961-08-17",
            **overrides,
        }
    )


def token(resource_id: str = "c1", *, life: str = "life", nonce: str = "nonce") -> str:
    """A token that fits the resource, in its text form."""
    return str(Token.mint(life=life, nonce=nonce, resource_id=resource_id))


def mark(**overrides: Any) -> Mark:
    """The mark of a first round that was claimed on `Communication/c1`."""
    return Mark(
        **{"round": 1, "token": token(), "destination": DESTINATION, "digest": "ab" * 32, **overrides}
    )


def transmission(**overrides: Any) -> Transmission:
    """The ledger's row of a first round of `Communication/c1`."""
    return Transmission(
        **{
            "id": 1,
            "communication": "c1",
            "round": 1,
            "state": State.READY,
            "generation": 0,
            "rank": Rank(priority=3, since=NOW),
            "opened_at": NOW,
            "token": token(),
            **overrides,
        }
    )


def _without_none(element: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in element.items() if value is not None}
