"""The marker by which an author hands a Communication to the adapter (design: opting in)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from adapter.domain.canonical import (
    CHANNEL_SYSTEM,
    COMMUNICATION_ID,
    DIRECTION_SYSTEM,
    INSTRUCTION_SYSTEM,
    OWN_ID,
    own_id,
)
from adapter.domain.resource import entries, has_code, identifiers

SENT_ELSEWHERE: Final = "sent-elsewhere"


class MarkerElement(StrEnum):
    """Which element carries the marker; also the name of its search parameter in R4."""

    MEDIUM = "medium"
    CATEGORY = "category"


@dataclass(frozen=True, kw_only=True)
class Marker:
    """Element, system and code. Search, Subscription criteria and the check on what was read come from here."""

    element: MarkerElement = MarkerElement.MEDIUM
    system: str = CHANNEL_SYSTEM
    code: str = "metriport"

    @property
    def token(self) -> str:
        """The value of the search parameter: `system|code`."""
        return f"{self.system}|{self.code}"

    @property
    def parameter(self) -> tuple[str, str]:
        """The search parameter for the marked Communications of any status."""
        return (self.element.value, self.token)

    def on(self, communication: Mapping[str, Any]) -> bool:
        """Whether the Communication as read carries the marker."""
        return has_code(communication.get(self.element), self.system, self.code)

    def search(self, status: str) -> list[tuple[str, str]]:
        """Search parameters for the marked Communications of one status."""
        return [("status", status), self.parameter]


def is_inbound(communication: Mapping[str, Any]) -> bool:
    """Whether the adapter itself wrote it as a received message."""
    return _is_shown_as(communication, "inbound", ids="communication")


def is_sent_elsewhere(communication: Mapping[str, Any]) -> bool:
    """Whether the adapter itself wrote it to show what others sent."""
    return _is_shown_as(communication, SENT_ELSEWHERE, ids=SENT_ELSEWHERE)


def _is_shown_as(communication: Mapping[str, Any], direction: str, *, ids: str) -> bool:
    """By its category, or by the id that it got from the adapter: that stays when somebody drops the category."""
    if has_code(communication.get("category"), DIRECTION_SYSTEM, direction):
        return True
    names = [communication.get("id"), *identifiers(communication, OWN_ID)]
    return any(own_id(ids, message) in names for message in identifiers(communication, COMMUNICATION_ID))


def is_shown(communication: Mapping[str, Any]) -> bool:
    """Whether the adapter itself wrote it, to show a message: then it is no wish, whatever its status."""
    return is_inbound(communication) or is_sent_elsewhere(communication)


def wants_resend(communication: Mapping[str, Any]) -> bool:
    """Whether the author's resend instruction is on it."""
    return has_code(communication.get("category"), INSTRUCTION_SYSTEM, "resend")


def without_resend(communication: Mapping[str, Any]) -> list[Any]:
    """`category` with the resend instruction taken out; what else is coded beside it stays."""
    return [kept for entry in entries(communication.get("category")) for kept in _without_resend(entry)]


def _without_resend(entry: Any) -> list[Any]:
    if not _is_resend(entry):
        return [entry]
    others = [coding for coding in entry["coding"] if not _is_resend({"coding": [coding]})]
    return [{**entry, "coding": others}] if others else []


def _is_resend(concept: Any) -> bool:
    return has_code([concept], INSTRUCTION_SYSTEM, "resend")
