"""Guards of the protocol, each to be taken out once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest
import sqlalchemy as sa

from adapter.domain import evidence
from adapter.domain.mark import marks_on, newest
from adapter.domain.resolution import resolve as resolve_all
from adapter.domain.rounds import Decision, Verdict, decide
from adapter.domain.transmission import State
from adapter.domain.writeback import written
from adapter.fhir.client import FhirClient
from adapter.ledger.changes import move
from adapter.ledger.inbox import Inbox
from adapter.ledger.tables import transmissions as table
from adapter.pipelines.outbound import claim, look, resolve, transmit
from adapter.ports.ledger import Delivery
from tests.simulation import theatre
from tests.virtual.sqlite import empty_image

Patch = pytest.MonkeyPatch


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """The adapter without one guard, and what goes wrong then: named stories, and the random story of a seed."""

    without: Callable[[Patch], None]
    stories: tuple[str, ...]
    seed: int | None = None


def _claim_without_mark(patch: Patch) -> None:
    def bare(*arguments: Any) -> dict[str, Any]:
        return {name: value for name, value in written(*arguments).items() if name != "extension"}

    patch.setattr(claim, "written", bare)


def _no_overwrite_rule(patch: Patch) -> None:
    def on_the_resource(communication: Any, _: Any, __: Any) -> Any:
        return newest(marks_on(communication))

    patch.setattr(look, "_known_mark", on_the_resource)


def _blind(patch: Patch, *, when: Callable[[Any], bool]) -> None:
    async def over_all(self: Any, resource: Any, *, version: str) -> Any:
        if resource["resourceType"] == "Communication" and when(newest(marks_on(resource))):
            present = await self.read("Communication", resource["id"])
            version = present["meta"]["versionId"]
        return await put(self, resource, version=version)

    put = FhirClient.replace
    patch.setattr(FhirClient, "replace", over_all)


def _blind_claim(patch: Patch) -> None:
    _blind(patch, when=lambda mark: mark.message is None and mark.end is None)


def _blind_write_back(patch: Patch) -> None:
    _blind(patch, when=lambda mark: mark.message is not None or mark.end is not None)


def _trusted_absence(patch: Patch) -> None:
    patch.setattr(resolve, "settled_at", lambda _, since: since)
    patch.setattr("adapter.pipelines.outbound.unknown.settled_at", lambda _, since: since)


def _no_deadline(patch: Patch) -> None:
    patch.setattr(transmit, "DEADLINE_SECONDS", 1e9)


def _no_round_gate(patch: Patch) -> None:
    def at_once(communication: Any, known: Any, **facts: bool) -> Decision:
        decision = decide(communication, known, **facts)
        if decision.verdict is not Verdict.PUT_BACK:
            return decision
        return Decision(verdict=Verdict.OPEN, round=decision.round + 1)

    patch.setattr(look, "decide", at_once)


def _no_compare_and_set(patch: Patch) -> None:
    async def over_all(connection: Any, row: Any, *arguments: Any, **facts: Any) -> Any:
        found = (await connection.execute(sa.select(table).where(table.c.id == row.id))).one()
        present = replace(row, state=State(found.state), generation=found.generation)
        return await move(connection, present, *arguments, **facts)

    patch.setattr("adapter.ledger.transmissions.move", over_all)


def _message_of_several(patch: Patch) -> None:
    async def without_it() -> bytes:
        ledger = sqlite3.connect(":memory:")
        ledger.deserialize(await empty_image())
        made = ledger.execute(
            "SELECT name, sql FROM sqlite_schema WHERE tbl_name = 'transmissions' AND sql <> ''"
        )
        (_, table_made), *indexes = made.fetchall()
        bare = table_made.replace("CONSTRAINT uq_transmissions_message UNIQUE (message)", "CHECK (1)")
        assert bare != table_made
        ledger.execute("DROP TABLE transmissions")
        for statement in (bare, *(index for _, index in indexes)):
            ledger.execute(statement)
        ledger.commit()
        return ledger.serialize()

    patch.setattr(theatre, "empty_image", without_it)


def _oldest_first(patch: Patch) -> None:
    patch.setattr(resolve, "resolve", lambda doubts, messages, **_: resolve_all(doubts, messages))


def _ready_is_unclaimed(patch: Patch) -> None:
    async def as_it_is(context: Any, sighting: Any, mark: Any, rows: Any) -> Any:
        return rows[0] if rows else await row_of(context, sighting, mark, rows)

    row_of = look._row_of
    patch.setattr(look, "_row_of", as_it_is)


def _any_destination(patch: Patch) -> None:
    patch.setattr(evidence, "same", lambda _, __: True)


def _any_list(patch: Patch) -> None:
    async def is_whole(_: Any, listing: Any, *__: Any, **___: Any) -> bool:
        return bool(listing.whole)

    patch.setattr(resolve, "is_evidence", is_whole)


def _ledger_knows_all(patch: Patch) -> None:
    async def none(*_: Any) -> list[Any]:
        return []

    patch.setattr("adapter.pipelines.outbound.evidence._others", none)


def _seen_is_done(patch: Patch) -> None:
    async def once(self: Inbox, delivery: Delivery) -> str:
        if delivery.delivery_id in seen:
            return delivery.delivery_id
        seen.add(delivery.delivery_id)
        return await keep(self, delivery)

    seen: set[str] = set()
    keep = Inbox.keep
    patch.setattr(Inbox, "keep", once)


def _untold_ends(patch: Patch) -> None:
    async def told(*_: Any) -> bool:
        return False

    patch.setattr(look, "_has_untold_end", told)


MUTATIONS: Final = {
    "mark-in-the-claim": Mutation(without=_claim_without_mark, stories=("ledger-lost-in-a-send",), seed=29),
    "overwrite-rule": Mutation(
        without=_no_overwrite_rule, stories=("stale-copy-and-a-young-ledger",), seed=39
    ),
    "if-match-on-the-claim": Mutation(without=_blind_claim, stories=("edit-before-the-claim",), seed=82),
    "if-match-on-write-back": Mutation(without=_blind_write_back, stories=("edit-in-a-send",), seed=79),
    "distrust-of-absence": Mutation(without=_trusted_absence, stories=("lagging-list",), seed=83),
    "send-deadline": Mutation(without=_no_deadline, stories=("pause-before-the-first-byte",), seed=2157),
    "round-gate": Mutation(without=_no_round_gate, stories=("impatient-author",), seed=105),
    "compare-and-set": Mutation(without=_no_compare_and_set, stories=("completed-at-once",), seed=51),
    "ends-told-first": Mutation(without=_untold_ends, stories=(), seed=9393),
    "unique-message": Mutation(without=_message_of_several, stories=("one-message-for-two",)),
    "youngest-first": Mutation(without=_oldest_first, stories=("answers-out-of-turn",)),
    "ready-is-no-proof": Mutation(
        without=_ready_is_unclaimed,
        stories=("claim-unrecorded-and-overwritten", "claim-unrecorded-and-withdrawn"),
        seed=34,
    ),
    "destination-in-the-match": Mutation(
        without=_any_destination, stories=("same-words-to-two",), seed=10662
    ),
    "known-ids-of-a-listing": Mutation(
        without=_any_list, stories=("list-without-what-is-known",), seed=49846
    ),
    "what-communications-show": Mutation(without=_ledger_knows_all, stories=("list-without-what-is-shown",)),
    "reopened-delivery": Mutation(
        without=_seen_is_done, stories=("spoiled-until-the-link-is-dead",), seed=16843
    ),
}
