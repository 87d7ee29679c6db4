"""Guards of the protocol, each taken out once: the story named beside it goes wrong, and is well with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from adapter.domain.mark import marks_on, newest
from adapter.domain.writeback import written
from adapter.fhir.client import FhirClient
from adapter.pipelines.outbound import claim, look, resolve
from tests.simulation.history import play
from tests.simulation.named import NAMED

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
        return await replace(self, resource, version=version)

    replace = FhirClient.replace
    patch.setattr(FhirClient, "replace", over_all)


def _blind_claim(patch: Patch) -> None:
    _blind(patch, when=lambda mark: mark.message is None and mark.end is None)


def _blind_write_back(patch: Patch) -> None:
    _blind(patch, when=lambda mark: mark.message is not None or mark.end is not None)


def _trusted_absence(patch: Patch) -> None:
    patch.setattr(resolve, "settled_at", lambda _, since: since)
    patch.setattr("adapter.pipelines.outbound.unknown.settled_at", lambda _, since: since)


MUTATIONS: Final = [
    (_claim_without_mark, "ledger-lost-in-a-send"),
    (_no_overwrite_rule, "stale-copy-and-a-young-ledger"),
    (_blind_claim, "edit-before-the-claim"),
    (_blind_write_back, "edit-in-a-send"),
    (_trusted_absence, "lagging-list"),
]


@pytest.mark.parametrize(("without", "story"), MUTATIONS, ids=[story for _, story in MUTATIONS])
def test_without_the_guard_the_story_ends_wrong(
    without: Callable[[Patch], None], story: str, monkeypatch: Patch
) -> None:
    assert play(NAMED[story]).judgement.wrong == []

    without(monkeypatch)

    assert play(NAMED[story]).judgement.wrong
