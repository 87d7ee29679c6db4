"""A person's answer to whose a message is: the whole message moves to that Patient at once (design §3, Tasks)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog

from adapter.domain.canonical import TASK_STATE_SYSTEM, TASK_SYSTEM
from adapter.domain.inbox import chosen, concept, owned_by, saved, transaction
from adapter.domain.marker import is_inbound
from adapter.domain.reasons import TaskCode
from adapter.domain.resource import LocalReference, Resource, items, local_reference, obj, version_of
from adapter.domain.tasks import DECIDED, UNDECIDED
from adapter.domain.text import clip
from adapter.errors import Conflict, Rejected
from adapter.pipelines.each import each, over
from adapter.pipelines.inbound.context import Context

_log = structlog.get_logger(__name__)

_INBOUND_ROUND: Final = 0
_ASKED_AGAIN: Final = {
    "text": "Not one Patient of this server was chosen. Put exactly one into `output` of type `choice`, then complete "
    "the Task."
}

_REFUSED: Final = "The FHIR server does not take what the answer changes. It is tried again."
_MOST_REASON: Final = 500


async def apply_answers(context: Context) -> int:
    """Carries out what people decided since the last time; gives how many Tasks were applied.

    Raises:
        Temporary: the FHIR server cannot answer.
    """

    async def apply(task: Resource) -> bool:
        return await _once(context, task, answered=task.get("status") == "completed")

    return await each(over(await _tasks(context, DECIDED)), apply, doing="answers")


async def close_settled(context: Context) -> int:
    """Closes Tasks whose message has got a subject meanwhile: whoever set it has answered. Raises as `apply_answers`."""

    async def close(task: Resource) -> bool:
        communication = await _message_of(context, task)
        if communication is not None and not communication.get("subject"):
            return False
        return await _once(context, task, answered=False, status="cancelled")

    return await each(over(await _tasks(context, UNDECIDED)), close, doing="settled")


async def _tasks(context: Context, statuses: Sequence[str]) -> list[Resource]:
    parameters = [
        ("code", f"{TASK_SYSTEM}|{TaskCode.MATCH_PATIENT.value}"),
        ("status", ",".join(statuses)),
        ("business-status", f"{TASK_STATE_SYSTEM}|open"),
    ]
    return [task async for task in context.fhir.search("Task", parameters)]


async def _once(context: Context, task: Resource, *, answered: bool, status: str | None = None) -> bool:
    """Applies one Task; somebody else's edit in between puts it off, a server's refusal stops no other."""
    try:
        return await _apply(context, {**task, "status": status or task["status"]}, answered=answered)
    except (Conflict, Rejected) as error:
        _log.warning("task.waits", task=task["id"], error=type(error).__name__, detail=str(error))
        if isinstance(error, Rejected):
            await _say_refused(context, task, error)
        return False


async def _say_refused(context: Context, task: Resource, error: Rejected) -> None:
    """Whoever answered sees on the Task why nothing moves."""
    why = {"text": clip(" ".join([_REFUSED, *error.issues]), _MOST_REASON)}
    if task.get("statusReason") == why:
        return
    try:
        await context.fhir.replace({**task, "statusReason": why}, version=str(version_of(task)))
    except (Conflict, Rejected) as again:
        _log.warning(
            "task.reason-not-written", task=task["id"], error=type(again).__name__, detail=str(again)
        )


async def _apply(context: Context, task: Resource, *, answered: bool) -> bool:
    communication = await _message_of(context, task)
    if communication is None:
        await _save(context, [_closed(task)])
        return True
    if not is_inbound(communication):
        return False
    patient: LocalReference | None = None
    if communication.get("subject"):
        patient = _subject(context, communication)
    elif answered:
        patient = await _choice(context, task)
        if patient is None:
            await _save(context, [saved(_asked_again(task), version=version_of(task))])
            return False
    moves, binaries = await _moves(context, communication, patient) if patient else ([], {})
    await _move(context, [*moves, _closed(task)], binaries)
    await context.ledger.note(
        str(communication["id"]),
        round=_INBOUND_ROUND,
        what="matched" if patient else "unassigned",
        now=context.clock.now(),
    )
    _log.info(
        "message.matched", communication=communication["id"], task=task["id"], matched=patient is not None
    )
    return True


async def _move(context: Context, rest: list[dict[str, Any]], binaries: Mapping[str, dict[str, Any]]) -> None:
    """All at once. A Binary that is not there any more would keep all else from moving: then each follows by itself."""
    try:
        await _save(context, [*rest, *binaries.values()])
    except Rejected:
        if not binaries:
            raise
        await _save(context, rest)
        for id, entry in binaries.items():
            try:
                await _save(context, [entry])
            except Rejected as error:
                _log.warning("binary.not-moved", binary=id, detail=str(error))


def _closed(task: Resource) -> dict[str, Any]:
    closed = {**task, "businessStatus": concept(TASK_STATE_SYSTEM, "applied")}
    said = str(obj(task.get("statusReason")).get("text"))
    if said == _ASKED_AGAIN["text"] or said.startswith(_REFUSED):
        del closed["statusReason"]  # answered since
    return saved(closed, version=version_of(task))


def _subject(context: Context, communication: Resource) -> LocalReference | None:
    """The Patient that somebody has set on the message: that one stays, whatever is chosen."""
    reference = obj(communication.get("subject")).get("reference")
    local = local_reference(reference, base_url=context.fhir.base_url)
    return local if local and local.type == "Patient" else None


async def _message_of(context: Context, task: Resource) -> Resource | None:
    focus = local_reference(obj(task.get("focus")).get("reference"), base_url=context.fhir.base_url)
    if focus is None or focus.type != "Communication":
        return None
    return await context.fhir.read("Communication", focus.id)


async def _choice(context: Context, task: Resource) -> LocalReference | None:
    """The one Patient of this server that was chosen."""
    found = {local_reference(one.get("reference"), base_url=context.fhir.base_url) for one in chosen(task)}
    choice = found.pop() if len(found) == 1 else None
    if choice is None or choice.type != "Patient" or await context.fhir.read("Patient", choice.id) is None:
        return None
    return LocalReference(type="Patient", id=choice.id)


def _asked_again(task: Resource) -> Resource:
    return {**task, "status": "requested", "statusReason": _ASKED_AGAIN}


async def _moves(
    context: Context, communication: Resource, patient: LocalReference
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """What becomes the patient's: the message and its documents that are nobody's yet, and their bytes by Binary."""
    subject = {"reference": str(patient)}
    moves, binaries = [], {}
    if not communication.get("subject"):
        moves.append(saved({**communication, "subject": subject}, version=version_of(communication)))
    for part in items(communication.get("payload")):
        document = await _document(context, obj(part.get("contentReference")).get("reference"))
        if document is not None and not document.get("subject"):
            moves.append(saved({**document, "subject": subject}, version=version_of(document)))
            for binary in _binaries(document, context.fhir.base_url):
                binaries[binary] = owned_by(binary, str(patient))
    return moves, binaries


async def _document(context: Context, reference: object) -> Resource | None:
    local = local_reference(reference, base_url=context.fhir.base_url)
    if local is None or local.type != "DocumentReference":
        return None
    return await context.fhir.read("DocumentReference", local.id)


def _binaries(document: Resource, base_url: str) -> list[str]:
    urls = [obj(content.get("attachment")).get("url") for content in items(document.get("content"))]
    found = [local_reference(url, base_url=base_url) for url in urls]
    return [one.id for one in found if one is not None and one.type == "Binary"]


async def _save(context: Context, entries: list[dict[str, Any]]) -> None:
    await context.fhir.transaction(transaction(entries))
