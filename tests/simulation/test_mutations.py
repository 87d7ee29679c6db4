"""Guards of the protocol, each taken out once: the story named beside it goes wrong, and is well with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
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
from tests.simulation.history import play
from tests.simulation.named import NAMED
from tests.virtual.sqlite import empty_image

Patch = pytest.MonkeyPatch


def _claim_without_mark(patch: Patch) -> None:
    def bare(*arguments: Any) -> dict[str, Any]:
        return {name: value for name, value in written(*arguments).items() if name != "extension"}

    patch.setattr(claim, "written", bare)


def _no_overwrite_rule(patch: Patch) -> None:
    async def on_the_resource(_: Any, communication: Any, __: Any) -> Any:
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
    def at_once(communication: Any, known: Any) -> Decision:
        decision = decide(communication, known)
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
    async def as_it_is(context: Any, sighting: Any, mark: Any, row: Any) -> Any:
        return row if row is not None else await row_of(context, sighting, mark, row)

    row_of = look._row_of
    patch.setattr(look, "_row_of", as_it_is)


def _any_destination(patch: Patch) -> None:
    patch.setattr(evidence, "same", lambda _, __: True)


def _any_list(patch: Patch) -> None:
    patch.setattr(resolve, "_is_evidence", lambda listing, _: listing.whole)


def _seen_is_done(patch: Patch) -> None:
    async def once(self: Inbox, delivery: Delivery) -> None:
        if delivery.delivery_id not in seen:
            seen.add(delivery.delivery_id)
            await keep(self, delivery)

    seen: set[str] = set()
    keep = Inbox.keep
    patch.setattr(Inbox, "keep", once)


MUTATIONS: Final = [
    (_claim_without_mark, "ledger-lost-in-a-send"),
    (_no_overwrite_rule, "stale-copy-and-a-young-ledger"),
    (_blind_claim, "edit-before-the-claim"),
    (_blind_write_back, "edit-in-a-send"),
    (_trusted_absence, "lagging-list"),
    (_no_deadline, "pause-before-the-first-byte"),
    (_no_round_gate, "impatient-author"),
    (_no_compare_and_set, "completed-at-once"),
    (_message_of_several, "one-message-for-two"),
    (_oldest_first, "answers-out-of-turn"),
    (_ready_is_unclaimed, "claim-unrecorded-and-overwritten"),
    (_ready_is_unclaimed, "claim-unrecorded-and-withdrawn"),
    (_any_destination, "same-words-to-two"),
    (_any_list, "list-without-what-is-known"),
    (_seen_is_done, "given-up-and-told-again"),
]


@pytest.mark.parametrize(("without", "story"), MUTATIONS, ids=[story for _, story in MUTATIONS])
def test_without_the_guard_the_story_ends_wrong(
    without: Callable[[Patch], None], story: str, monkeypatch: Patch
) -> None:
    assert play(NAMED[story]).judgement.wrong == []

    without(monkeypatch)

    assert play(NAMED[story]).judgement.wrong
