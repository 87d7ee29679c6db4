"""Those who act in the demo: the EHR that writes, the colleague who sends in, the clinician who reads and answers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from adapter.cli.cast import Cast, Letter, Scene
from adapter.domain.canonical import TASK_SYSTEM
from adapter.domain.received import communication_id
from adapter.domain.resource import obj
from adapter.errors import Rejected, Temporary

Json = dict[str, Any]
Communications = dict[str, Json]

_FHIR: Final = {"content-type": "application/fhir+json"}
_READING: Final = {"cache-control": "no-cache", "accept": "application/fhir+json"}


async def ask(http: httpx.AsyncClient, method: str, url: str, **parts: Any) -> httpx.Response:
    """One call that has to go well.

    Raises:
        Temporary: nobody answers, or with a server's error.
        Rejected: it is refused.
    """
    try:
        answer = await http.request(method, url, **parts)
    except httpx.TransportError as error:
        raise Temporary(f"{method} {url}: there is no answer ({type(error).__name__}).") from None
    said = f"{method} {url}: the server answers {answer.status_code}."
    if answer.is_server_error:
        raise Temporary(said)
    if answer.is_error:
        raise Rejected(said, status=answer.status_code)
    return answer


@dataclass(kw_only=True)
class Clinic:
    """The clinic's EHR and its people, at one FHIR server. `scenes` are the messages to be watched."""

    http: httpx.AsyncClient
    base_url: str
    cast: Cast
    scenes: list[Scene] = field(default_factory=list)
    _to_answer: str | None = None

    async def open(self) -> None:
        """People first, then one message after the other."""
        self.scenes.extend(self.cast.scenes())
        for resource in [*self.cast.stage(), *(scene.communication for scene in self.scenes)]:
            await self._save(resource)

    def expect(self, letter: Letter, message: str) -> None:
        """A message was sent in under that id: it has to appear, complete and the right patient's."""
        id = communication_id(message)
        self._to_answer = self._to_answer or id  # the first one
        self.scenes.append(
            Scene(
                id=id,
                title=letter.title,
                ends="completed",
                subject=f"Patient/{letter.subject}",
                attachments=len(letter.stated["attachments"]),
            )
        )

    async def look(self) -> Communications:
        """The watched messages as they are now. The clinician says whose one is, and answers another."""
        names = ",".join(scene.id for scene in self.scenes)
        found = {one["id"]: one for one in await self._search("Communication", _id=names)}
        await self._match([one for one in found.values() if "subject" not in one])
        to_answer = found.get(self._to_answer or "", {})
        if "subject" in to_answer:
            await self._answer(to_answer)
        return found

    async def _match(self, nobodys: list[Json]) -> None:
        """Whose each is, the clinician knows; on a server where a demo has been before, several Patients may be meant."""
        meant = {f"Communication/{scene.id}": scene.subject for scene in self.scenes if scene.subject}
        asked = {"code": f"{TASK_SYSTEM}|match-patient", "status": "requested"}
        for task in await self._search("Task", **asked) if nobodys else []:
            patient = meant.get(str(obj(task.get("focus")).get("reference")))
            if patient:
                kind = {"coding": [{"system": TASK_SYSTEM, "code": "choice"}]}
                choice = {"type": kind, "valueReference": {"reference": patient}}
                await self._save({**task, "status": "completed", "output": [choice]})

    async def _answer(self, received: Json) -> None:
        self._to_answer = None
        reply = self.cast.reply(received)
        self.scenes.append(reply)
        await self._save(reply.communication)

    async def _save(self, resource: Json) -> None:
        path = f"{self.base_url}/{resource['resourceType']}/{resource['id']}"
        await ask(self.http, "PUT", path, content=json.dumps(resource), headers=_FHIR)

    async def _search(self, type: str, **parameters: str) -> list[Json]:
        answer = await ask(
            self.http,
            "GET",
            f"{self.base_url}/{type}",
            params={**parameters, "_count": "50"},
            headers=_READING,
        )
        return [entry["resource"] for entry in answer.json().get("entry", [])]
