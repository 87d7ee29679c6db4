"""Asks a FHIR server what its CapabilityStatement may leave out, by trying it on resources of the adapter's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from adapter.domain.canonical import OWN_ID, own_id
from adapter.domain.inbox import patched, saved, transaction
from adapter.domain.marker import Marker
from adapter.domain.resource import Resource, identifiers, version_of
from adapter.domain.rounds import PREPARATION
from adapter.errors import AdapterError, Conflict, Rejected
from adapter.fhir.client import FhirClient
from adapter.fhir.own import bears, criteria

_NAMES: Final = ("probe/1", "probe/2")
_NO_CODE: Final = "no-such-code"
_NO_PARAMETER: Final = "no-such-parameter-of-the-adapter"


class Probe(StrEnum):
    """What is asked."""

    UPDATE_AS_CREATE = "update-as-create"
    IF_MATCH = "if-match"
    HISTORY = "history"
    PAGING = "paging"
    IDENTIFIER_SEARCH = "identifier-search"
    TRANSACTION = "transaction"
    MARKER_SEARCH = "marker-search"
    STRICT_SEARCH = "strict-search"
    SORT = "sort"
    CLEAN_UP = "clean-up"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One answer; `ok` is `None` when it could not be learned. The sentence says what follows from it."""

    probe: Probe
    ok: bool | None
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Probed:
    """All answers, in the order in which they were found."""

    findings: tuple[Finding, ...]

    def ok(self, probe: Probe) -> bool | None:
        """What was found out about it; `None` when nothing was."""
        return next((finding.ok for finding in self.findings if finding.probe is probe), None)

    @property
    def unsafe(self) -> str | None:
        """Why a message could go twice, or get lost; then the adapter does not start."""
        said = {finding.probe: finding.sentence for finding in self.findings}
        if not self.ok(Probe.IF_MATCH):
            # Where nothing could be created to try it on, the first finding says why.
            return said.get(Probe.IF_MATCH) or self.findings[0].sentence
        if self.ok(Probe.UPDATE_AS_CREATE) is False and self.ok(Probe.IDENTIFIER_SEARCH) is False:
            return said[Probe.IDENTIFIER_SEARCH]
        return None


async def probe(
    fhir: FhirClient, marker: Marker, *, extra: Sequence[tuple[str, str]] = (), by: str = ""
) -> Probed:
    """Tries everything. Two Basic resources are made for it and deleted again; no Communication is written.

    `by` says who tries: replicas that start at the same moment would take each other's changes for the server's fault.

    Raises:
        Temporary: the server cannot be asked now.
    """
    searches = (await _marker_search(fhir, marker, extra), await _strict_search(fhir), await _sort(fhir))
    made, update_as_create = await _make(fhir, by=by)
    try:
        updates = await _updates(fhir, made)
    finally:
        clean_up = await _clean_up(fhir, made)
    return Probed(findings=(update_as_create, *updates, *searches, clean_up))


async def _make(fhir: FhirClient, *, by: str) -> tuple[list[Resource], Finding]:
    wanted = [_own(f"{name}/{by}") for name in _NAMES]
    try:
        made = [await fhir.put(resource) for resource in wanted]
    except Rejected as refused:
        return await _make_unnamed(fhir, wanted, status=refused.status)
    return made, Finding(
        probe=Probe.UPDATE_AS_CREATE, ok=True, sentence="The adapter chooses the ids of what it creates."
    )


async def _make_unnamed(
    fhir: FhirClient, wanted: list[Resource], *, status: int
) -> tuple[list[Resource], Finding]:
    unnamed = [{name: value for name, value in resource.items() if name != "id"} for resource in wanted]
    try:
        made = [await fhir.create(resource) for resource in unnamed]
    except Rejected:
        return [], Finding(
            probe=Probe.UPDATE_AS_CREATE,
            ok=None,
            sentence=f"No Basic resource may be created (HTTP {status}), so updates cannot be tried. "
            "Allow the adapter's account to create, update and delete Basic.",
        )
    return made, Finding(
        probe=Probe.UPDATE_AS_CREATE,
        ok=False,
        sentence=f"Client ids are refused (HTTP {status}): what comes in is looked for by identifier, and is there "
        "exactly once only if a search shows at once what was written; attachments pass through memory as a whole. "
        "Better allow client ids (HAPI: hapi.fhir.client_id_strategy=ALPHANUMERIC).",
    )


def _own(name: str, *, text: str = "may be deleted") -> Resource:
    return {
        "resourceType": "Basic",
        "id": own_id("probe", name),
        "identifier": [{"system": OWN_ID, "value": own_id("probe", name)}],
        "code": {"text": f"Probe of the messaging adapter ({text})"},
    }


async def _updates(fhir: FhirClient, made: list[Resource]) -> list[Finding]:
    if not made:
        return []
    return [
        await _if_match(fhir, made[0]),
        await _history(fhir, made[0]),
        await _paging(fhir, made),
        await _identifier_search(fhir, made),
        await _transaction(fhir, made),
    ]


async def _if_match(fhir: FhirClient, own: Resource) -> Finding:
    stale = version_of(own)
    second, third = ({**_own("", text=text), "id": own["id"]} for text in ("second", "third"))
    try:
        changed = await fhir.put(second)
    except (Conflict, Rejected) as refused:
        return _if_match_found(ok=None, why=f"does not take an update without If-Match. {refused}")
    if stale is None or version_of(changed) in {None, stale}:
        return _if_match_found(ok=False, why="gives no new version to what changed")
    try:
        await fhir.replace(third, version=stale)
    except Conflict:
        return Finding(
            probe=Probe.IF_MATCH, ok=True, sentence="An update of a stale version is refused, as it must be."
        )
    except Rejected as refused:
        return _if_match_found(ok=None, why=f"does not take If-Match. {refused}")
    return _if_match_found(ok=False, why="took an update of a version that was no longer current")


def _if_match_found(*, ok: bool | None, why: str) -> Finding:
    return Finding(
        probe=Probe.IF_MATCH,
        ok=ok,
        sentence=f"The server {why.rstrip('.')}. Without versioned updates (If-Match) a message could be sent twice, "
        "so run does not start. Switch them on, or use a server that has them.",
    )


async def _history(fhir: FhirClient, own: Resource) -> Finding:
    history = await fhir.history("Basic", own["id"])
    kept = history is not None and history.whole and len(history.versions) > 1
    return Finding(
        probe=Probe.HISTORY,
        ok=kept,
        sentence="Former versions are kept and can be read."
        if kept
        else "Former versions cannot be read: an author's overwriting of the adapter's fields is then noticed by the "
        "ledger alone, and resolved slowly when that is new. Keep versions if the server can.",
    )


async def _paging(fhir: FhirClient, made: list[Resource]) -> Finding:
    ids = sorted(resource["id"] for resource in made)
    try:
        found = sorted(
            [
                resource["id"]
                async for resource in fhir.search("Basic", [("_id", ",".join(ids)), ("_count", "1")])
            ]
        )
    except Rejected as refused:
        return Finding(probe=Probe.PAGING, ok=False, sentence=str(refused))
    if found == ids:
        return Finding(
            probe=Probe.PAGING,
            ok=True,
            sentence="A search shows at once what was written, and its pages can be followed.",
        )
    return Finding(
        probe=Probe.PAGING,
        ok=False,
        sentence=f"Of {len(ids)} resources just written, a search by page shows {len(found)}. If the server indexes "
        "later, messages start later; if it does not page, some are never found.",
    )


async def _identifier_search(fhir: FhirClient, made: Sequence[Resource]) -> Finding:
    """A server that gives all ids itself, and finds others by an identifier, takes no message for new."""
    [own] = identifiers(made[-1], OWN_ID)
    try:
        found = [resource async for resource in fhir.search("Basic", criteria(own))]
    except Rejected as refused:
        return _identifier_found(ok=False, what=f"is refused (HTTP {refused.status})")
    if not all(bears(resource, own) for resource in found):
        return _identifier_found(ok=False, what="finds what does not have it")
    if not found:
        return _identifier_found(ok=None, what="does not find at once what was just written")
    return Finding(
        probe=Probe.IDENTIFIER_SEARCH,
        ok=True,
        sentence="A search by identifier finds what has it, and nothing else.",
    )


def _identifier_found(*, ok: bool | None, what: str) -> Finding:
    return Finding(
        probe=Probe.IDENTIFIER_SEARCH,
        ok=ok,
        sentence=f"A search by identifier {what}. Nothing rests on it but on a server that gives all ids itself: "
        "there each message would be lost, or there twice. Switch the search parameter identifier on.",
    )


async def _transaction(fhir: FhirClient, made: Sequence[Resource]) -> Finding:
    whole = saved({**_own("", text="in a transaction"), "id": made[0]["id"]})
    part = patched(f"Basic/{made[1]['id']}", "/code", _own("", text="patched in a transaction")["code"])
    if await _is_taken(fhir, [whole, part]):
        return Finding(
            probe=Probe.TRANSACTION,
            ok=True,
            sentence="What belongs together is written at once, or not at all.",
        )
    return Finding(
        probe=Probe.TRANSACTION,
        ok=False,
        sentence="A JSON Patch within a transaction is refused: a message that a person has matched to its patient "
        "stays without one, and its Task stays open. Allow PATCH to the adapter's account."
        if await _is_taken(fhir, [whole])
        else "Transactions are refused, so nothing that comes in can be written. Switch them on, and allow them to "
        "the adapter's account.",
    )


async def _is_taken(fhir: FhirClient, entries: Sequence[Mapping[str, Any]]) -> bool:
    try:
        await fhir.transaction(transaction(entries))
    except (Conflict, Rejected):
        return False
    return True


async def _marker_search(fhir: FhirClient, marker: Marker, extra: Sequence[tuple[str, str]]) -> Finding:
    nobodys = Marker(element=marker.element, system=marker.system, code=_NO_CODE)
    name = marker.element.value
    try:
        await _finds(fhir, [*marker.search(PREPARATION), *extra])
        ignored = await _finds(fhir, [(name, nobodys.token)])
    except Rejected as refused:
        return Finding(
            probe=Probe.MARKER_SEARCH,
            ok=False,
            sentence=f"The search for marked Communications is refused (HTTP {refused.status}). Switch the search "
            f"parameters status and {name} on, or correct watch.marker and watch.extra.",
        )
    if ignored:
        return Finding(
            probe=Probe.MARKER_SEARCH,
            ok=False,
            sentence=f"A search by a {name} that nobody has finds Communications: the server ignores the parameter. "
            "Switch it on, or let watch.marker name another element.",
        )
    return Finding(
        probe=Probe.MARKER_SEARCH, ok=True, sentence=f"Marked Communications can be searched by {name}."
    )


async def _strict_search(fhir: FhirClient) -> Finding:
    try:
        await _finds(fhir, [(_NO_PARAMETER, "1")])
    except Rejected:
        return Finding(
            probe=Probe.STRICT_SEARCH,
            ok=True,
            sentence="An unknown search parameter is refused, not ignored.",
        )
    return Finding(
        probe=Probe.STRICT_SEARCH,
        ok=False,
        sentence="The server ignores search parameters that it does not know: a misspelt watch.extra would narrow "
        "nothing. Check its spelling; the marker itself is checked on each resource.",
    )


async def _sort(fhir: FhirClient) -> Finding:
    try:
        await _finds(fhir, [("_sort", "_lastUpdated")])
    except Rejected as refused:
        return Finding(
            probe=Probe.SORT,
            ok=False,
            sentence=f"_sort is refused (HTTP {refused.status}): with more waiting than fits a page, the oldest "
            "message is not always first.",
        )
    return Finding(probe=Probe.SORT, ok=True, sentence="Searches can be sorted.")


async def _finds(fhir: FhirClient, parameters: Sequence[tuple[str, str]]) -> bool:
    async with aclosing(fhir.search("Communication", [*parameters, ("_count", "1")])) as found:
        async for _ in found:
            return True
    return False


async def _clean_up(fhir: FhirClient, made: list[Resource]) -> Finding:
    left = [resource["id"] for resource in made if not await _deleted(fhir, resource["id"])]
    named = ", ".join(f"Basic/{id}" for id in left)
    return Finding(
        probe=Probe.CLEAN_UP,
        ok=not left,
        sentence=f"The probe could not delete {named}; it does no harm there."
        if left
        else "Nothing was left behind.",
    )


async def _deleted(fhir: FhirClient, id: str) -> bool:
    try:
        await fhir.delete("Basic", id)
    except AdapterError:
        return False
    return True
