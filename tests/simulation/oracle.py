"""What became of a history, judged by what was true: nothing is taken from what the adapter says of itself."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

from adapter.domain.canonical import COMMUNICATION_ID, INSTRUCTION_SYSTEM
from adapter.domain.mark import End, Mark, marks_on, newest
from adapter.domain.received import communication_id
from adapter.domain.resource import has_code, items
from tests.simulation.authors import Authors
from tests.simulation.clinicians import MATCHED, Clinicians
from tests.simulation.story import Letter
from tests.simulation.theatre import Theatre

_OURS: Final = frozenset(
    {"status", "statusReason", "sent", "received", "identifier", "extension", "meta", "category"}
)
_STATUS_OF: Final = {
    End.COMPLETED: "completed",
    End.FAILED: "stopped",
    End.HELD: "on-hold",
    End.REFUSED: "not-done",
    End.WITHDRAWN: "not-done",  # where an older copy was saved over the author's own
}


@dataclass(kw_only=True)
class Judgement:
    """The figures of one history, and a sentence about each thing that is wrong."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    spacing: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    held: int = 0
    messages: int = 0

    @property
    def wrong(self) -> list[str]:
        """All that is wrong."""
        return [
            f"{name}: {sentence}"
            for name in ("lost", "doubled", "unexpected", "spacing", "ends")
            for sentence in getattr(self, name)
        ]


@dataclass(frozen=True, kw_only=True)
class _Version:
    number: int
    content: dict[str, Any]  # empty where it was deleted
    authors: bool
    taken_back: bool

    @property
    def marks(self) -> list[Mark]:
        return marks_on(self.content)


def judge(stage: Theatre, authors: Authors, clinicians: Clinicians) -> Judgement:
    """Judges a history that has come to rest."""
    judgement = Judgement(messages=len(stage.letters) + len(authors.received))
    histories = {letter: list(_versions(stage, authors, letter)) for letter in stage.letters}
    recorded = Counter(
        message
        for versions in histories.values()
        for message in {mark.message for mark in versions[-1].marks if mark.message}
    )
    ever = {mark.message for versions in histories.values() for version in versions for mark in version.marks}
    _posts(stage, histories, judgement)
    _wishes(histories, judgement)
    for letter, versions in histories.items():
        _end(stage, letter, versions, judgement)
        _edits(letter, versions, judgement)
    held = any(mark.end is End.HELD for versions in histories.values() for mark in versions[-1].marks)
    gone = any(not version.content for versions in histories.values() for version in versions)
    for message in stage.metriport.messages:
        if message.direction == "inbound":
            _received(stage, authors, clinicians, message.id, judgement)
        elif recorded[message.id] > 1 or (message.id not in ever and not held and not gone):
            judgement.unexpected.append(f"{message.id[:13]} is on {recorded[message.id]} Communications")
    judgement.ends.extend(stage.failures)
    return judgement


def _versions(stage: Theatre, authors: Authors, letter: str) -> Iterator[_Version]:
    saved, withdrawn = authors.saved.get(letter, set()), authors.withdrawn.get(letter, set())
    status, taken_back = None, False
    for number, content in enumerate(stage.fhir.history("Communication", letter), start=1):
        before, status = status, (content or {}).get("status")
        taken_back = number in withdrawn or (taken_back and status == before)
        if number in saved and content and _looks_ended(content):
            taken_back = False
        yield _Version(number=number, content=content or {}, authors=number in saved, taken_back=taken_back)


def _looks_ended(content: dict[str, Any]) -> bool:
    """Whether it looks as the adapter leaves it: that shows nobody's decision."""
    known = newest(marks_on(content))
    ended = known.end if known and known.end is not End.WITHDRAWN else None
    return ended is not None and content["status"] == _STATUS_OF[ended]


def _posts(stage: Theatre, histories: dict[str, list[_Version]], judgement: Judgement) -> None:
    """At most one message for each wish; of identical ones it does not matter whose it is."""
    shown = {message.id: message for message in stage.metriport.messages}
    applied: Counter[tuple[Any, ...]] = Counter()
    wishes: dict[tuple[Any, ...], set[tuple[str, int]]] = {}
    for post in stage.posts:
        if post.letter not in histories:
            judgement.unexpected.append(f"{post.letter} is nobody's wish")
        if post.message is None or post.letter not in histories:
            continue
        message = shown[post.message]
        content = (message.destination, message.body, tuple(sorted(message.attachments)))
        applied[content] += 1
        alike = stage.letters[post.letter]
        rounds = {
            (letter, round_)
            for letter, versions in histories.items()
            if _content(stage.letters[letter]) == _content(alike)
            for round_, end in _ends(versions).items()
            if end is not End.WITHDRAWN
        }
        own = {(post.letter, post.round)}
        wishes.setdefault(content, set()).update(own if alike.enclosure == "own" else rounds)
    for content, count in applied.items():
        if count > len(wishes[content]):
            of = ", ".join(f"{letter} round {round_}" for letter, round_ in sorted(wishes[content]))
            judgement.doubled.append(f"{count} messages for {of}")
    arrivals = sorted(post.at for post in stage.posts)
    most = stage.story.sends_per_minute
    for first, last in zip(arrivals, arrivals[most:], strict=False):
        if last - first < timedelta(seconds=60):
            judgement.spacing.append(f"{most + 1} POSTs within {(last - first).total_seconds():.2f} s")
            break


def _ends(versions: list[_Version]) -> dict[int, End | None]:
    """How each round stood when it was last seen."""
    return {mark.round: mark.end for version in versions for mark in version.marks}


def _content(letter: Letter) -> tuple[str, str, str]:
    return letter.to, letter.text, letter.enclosure


def _received(
    stage: Theatre, authors: Authors, clinicians: Clinicians, message: str, judgement: Judgement
) -> None:
    """It is there once, complete from its first version on, and with the Patient whose it is, once that is known."""
    arrival, contents = authors.received[message]
    name, id, decided = message[:13], communication_id(message), clinicians.decided.get(message, [])
    matched = not MATCHED.isdisjoint(decided)
    shown = [
        one["id"]
        for one in stage.fhir.resources("Communication")
        if {"system": COMMUNICATION_ID, "value": message} in one.get("identifier", [])
    ]
    if shown != ([] if "discard" in decided else [id]):
        (judgement.doubled if shown else judgement.lost).append(
            f"{name} was received: {len(shown)} are there"
        )
        return
    versions = [version for version in stage.fhir.history("Communication", id) if version]
    if len(versions) != 1 + clinicians.notes[message] + matched:
        judgement.doubled.append(f"{name} was received: {len(versions)} versions")
    for version in versions:
        if sorted(_enclosed(stage, version)) != sorted(contents):
            judgement.lost.append(f"{name} was received: not with its attachments")
    owned = ["subject" in version for version in versions]
    if owned != sorted(owned) or (owned[0], owned[-1]) != (arrival.known, arrival.known or matched):
        judgement.unexpected.append(f"{name} was received: its subject")
    if "discard" not in decided and any(
        owner != versions[-1].get("subject") for owner in _owners(stage, versions[-1])
    ):
        judgement.unexpected.append(f"{name} was received: whose its attachments are")
    tasks = [
        (task["status"], task["businessStatus"]["coding"][0]["code"]) for task in clinicians.asked(message)
    ]
    if len(tasks) != (not arrival.known) or any(not _is_settled(task, decided) for task in tasks):
        judgement.unexpected.append(f"{name} was received: its Tasks are {tasks} after {decided}")


def _is_settled(task: tuple[str, str], decided: list[str]) -> bool:
    """Whether the Task shows what was decided; once it is clear whose the message is, other answers do not count."""
    if not MATCHED.isdisjoint(decided):
        return task[1] == "applied"
    return task == (("rejected", "applied") if "reject" in decided else ("requested", "open"))


def _documents(
    stage: Theatre, communication: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The documents of a message, each with its Binaries."""
    for part in items(communication.get("payload")):
        if reference := part.get("contentReference", {}).get("reference"):
            document = stage.found(*reference.split("/"))
            urls = [content["attachment"]["url"] for content in document.get("content", [])]
            yield document, [stage.found(*url.split("/")) for url in urls]


def _enclosed(stage: Theatre, communication: dict[str, Any]) -> Iterator[bytes]:
    for _, binaries in _documents(stage, communication):
        for binary in binaries:
            yield base64.b64decode(binary.get("data", ""))


def _owners(stage: Theatre, communication: dict[str, Any]) -> Iterator[Any]:
    """Whose the documents and the Binaries are, as far as they say it."""
    for document, binaries in _documents(stage, communication):
        yield document.get("subject")
        if "subject" in document:
            yield from (binary.get("securityContext") for binary in binaries)


def _wishes(histories: dict[str, list[_Version]], judgement: Judgement) -> None:
    """Each further round rests on an author's wish, made when the message before it had failed, or to resend it."""
    for letter, versions in histories.items():
        for before, version in pairwise(versions):
            known, present = newest(before.marks), newest(version.marks)
            if version.authors or present is None or present.round == 1:
                continue
            if known is not None and known.round >= present.round:
                continue
            if any(
                mark.round >= present.round
                for earlier in versions[: version.number - 1]
                for mark in earlier.marks
            ):
                continue
            if not _is_asked_for(versions[: version.number - 1], present.round):
                judgement.unexpected.append(f"{letter} round {present.round} rests on no wish")
            if not _has_ended(versions[: version.number], before=present.round):
                judgement.unexpected.append(
                    f"{letter} round {present.round} begins before the one before has ended"
                )
        _answered(letter, versions, judgement)


def _has_ended(versions: list[_Version], *, before: int) -> bool:
    """Whether the last round before that one had come to its end; one that was never claimed has no mark.

    What its author deleted, it has: it may have been waiting, and the end was nowhere to be written.
    """
    if not all(version.content for version in versions):
        return True
    marks = [mark for version in versions for mark in version.marks if mark.round < before]
    last = max((mark.round for mark in marks), default=0)
    return not marks or any(mark.end for mark in marks if mark.round == last)


def _is_asked_for(versions: list[_Version], round_: int) -> bool:
    """Whether an author asked again after the round before was claimed."""
    claimed = next((v.number for v in versions if any(mark.round == round_ - 1 for mark in v.marks)), 0)
    return any(
        v.authors and v.number > claimed and v.content.get("status") == "preparation" for v in versions
    )


def _wants_resend(content: dict[str, Any]) -> bool:
    return has_code(items(content.get("category")), INSTRUCTION_SYSTEM, "resend")


def _answered(letter: str, versions: list[_Version], judgement: Judgement) -> None:
    """A wish after an end that its author saw opens a round, unless the author wrote something else before."""
    for before, version, after in zip(versions, versions[1:], [*versions[2:], None], strict=False):
        known = newest(before.marks)
        if not version.authors or version.content.get("status") != "preparation" or known is None:
            continue
        ended = known.end in {End.FAILED, End.HELD, End.REFUSED, End.WITHDRAWN}
        resent = known.end is End.COMPLETED and _wants_resend(version.content)
        if not (ended or resent) or newest(version.marks) != known or (after is not None and after.authors):
            continue
        following = newest(after.marks) if after else None
        if following is None or following.round <= known.round:
            judgement.lost.append(f"{letter} version {version.number}: the wish for another round")


def _end(stage: Theatre, letter: str, versions: list[_Version], judgement: Judgement) -> None:
    present, taken_back = versions[-1].content, versions[-1].taken_back
    if not present:
        return
    mark, status = newest(marks_on(present)), present["status"]
    if mark is None or mark.end is None:
        if mark is not None or not taken_back:
            judgement.lost.append(f"{letter} stays {status}, without an end")
        return
    judgement.held += mark.end is End.HELD
    judgement.ends += _contradictions(stage, letter, mark)
    owned = [version.taken_back for version in versions if version.authors]
    if mark.end in {End.COMPLETED, End.FAILED} and mark.message is None:
        judgement.lost.append(f"{letter} is {mark.end.value} without a message")
    if mark.end is End.WITHDRAWN and not any(owned):
        judgement.lost.append(f"{letter} is withdrawn by nobody")
    if mark.end is End.REFUSED:
        judgement.lost.append(f"{letter} was refused: {present['statusReason']['text']}")
    if not taken_back and status != _STATUS_OF.get(mark.end):
        judgement.ends.append(f"{letter} is {status} after {mark.end.value}")
    if owned[-1] and not taken_back:
        judgement.ends.append(f"{letter} is {status} though its author took it back")


def _contradictions(stage: Theatre, letter: str, mark: Mark) -> list[str]:
    truth = stage.ends.get(mark.message, (None, None))[1] if mark.message and mark.end else None
    if mark.message is None or mark.end is None or mark.end.value == truth:
        return []
    return [f"{letter} is {mark.end.value}, Metriport says {truth}"]


def _edits(letter: str, versions: list[_Version], judgement: Judgement) -> None:
    """The adapter changes its own fields only, and no mark goes back."""
    for before, version in pairwise(versions):
        if version.authors:
            continue
        lost = [name for name in _differing(before.content, version.content) if name not in _OURS]
        if lost:
            judgement.unexpected.append(f"{letter} version {version.number} changes {', '.join(lost)}")
        known, present = newest(before.marks), newest(version.marks)
        if known and (present is None or present.progress < known.progress):
            judgement.unexpected.append(f"{letter} version {version.number} knows less than the one before")


def _differing(one: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    return (name for name in sorted({*one, *other}) if one.get(name) != other.get(name))
