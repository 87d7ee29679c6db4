"""Clinicians: they say whose a received message is, note something on it, or throw it away."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from adapter.domain.canonical import TASK_STATE_SYSTEM, TASK_SYSTEM
from adapter.domain.received import communication_id
from adapter.domain.resource import has_code, obj
from adapter.domain.tasks import UNDECIDED
from tests.simulation.authors import Authors
from tests.simulation.story import Answer
from tests.simulation.theatre import Theatre

MATCHED: Final = frozenset({"choose", "by-hand"})
_PATIENT: Final = {"reference": "Patient/maple"}
_CHOICE: Final = {"coding": [{"system": TASK_SYSTEM, "code": "choice"}]}
_STATUS: Final = {"choose": "completed", "choose-nobody": "completed", "reject": "rejected"}
_PATIENCE: Final = 6 * 3600
_LOOK: Final = 10


@dataclass(kw_only=True)
class Clinicians:
    """Who reads what came in; by message, what was `decided` of it and how many `notes` it got."""

    stage: Theatre
    authors: Authors
    decided: dict[str, list[str]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)

    async def answer(self, answer: Answer) -> None:
        """Waits for the message, reads, thinks, saves with `If-Match`; again if somebody was faster."""
        message = await self._comes(answer.arrival)
        if message is None:
            return
        await asyncio.sleep(answer.after)
        for _ in range(5):
            wanted = self._wanted(answer.kind, message)
            await asyncio.sleep(answer.gap)
            if wanted is None or self._save(answer.kind, message, wanted):
                return

    async def _comes(self, place: int) -> str | None:
        for _ in range(0, _PATIENCE, _LOOK):
            for message, (arrival, _contents) in self.authors.received.items():
                if arrival is self.stage.story.arrivals[place] and self.of(message):
                    return message
            await asyncio.sleep(_LOOK)
        return None

    def of(self, message: str) -> dict[str, Any]:
        """The received message's Communication."""
        return self.stage.found("Communication", communication_id(message))

    def asked(self, message: str) -> list[dict[str, Any]]:
        """The Tasks that ask whose it is."""
        focus = {"reference": f"Communication/{communication_id(message)}"}
        return [one for one in self.stage.fhir.resources("Task") if one.get("focus") == focus]

    @property
    def waits(self) -> bool:
        """Whether somebody's answer is not carried out yet."""
        return any(
            has_code([task["businessStatus"]], TASK_STATE_SYSTEM, "open")
            and (task["status"] not in UNDECIDED or "subject" in self.of(message))
            for message in self.authors.received
            for task in self.asked(message)
        )

    def _wanted(self, kind: str, message: str) -> dict[str, Any] | None:
        communication, tasks = self.of(message), self.asked(message)
        if not communication:
            return None
        is_open = bool(tasks) and tasks[0]["status"] in UNDECIDED
        match kind:
            case "note":
                return {**communication, "note": [*communication.get("note", []), {"text": "seen"}]}
            case "discard":
                return communication
            case "by-hand" if is_open and "subject" not in communication:
                return {**communication, "subject": _PATIENT}
            case "choose" | "choose-nobody" | "reject" if is_open:
                chosen = _PATIENT if kind == "choose" else {"reference": "Patient/nobody"}
                output = [{"type": _CHOICE, "valueReference": chosen}]
                return {**tasks[0], "status": _STATUS[kind], "output": [] if kind == "reject" else output}
        return None

    def _save(self, kind: str, message: str, wanted: dict[str, Any]) -> bool:
        """Whether it was saved: not when somebody else has saved meanwhile, or the server will not delete it."""
        stage, type_ = self.stage, wanted["resourceType"]
        if self._wanted(kind, message) is None:
            return True
        if obj(stage.found(type_, wanted["id"]).get("meta")).get("versionId") != wanted["meta"]["versionId"]:
            return False
        if kind == "discard":
            if not stage.remove(f"{type_}/{wanted['id']}"):
                return True
        else:
            stage.write({name: value for name, value in wanted.items() if value != []})
        stage.say(f"{message[:13]}: {kind}")
        stage.covered.add(("clinician", kind))
        if kind == "note":
            self.notes[message] += 1
        else:
            self.decided.setdefault(message, []).append(kind)
        return True
