"""The claim: one version-checked write that sets `in-progress` and the mark, before anything is sent (protocol §2)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import structlog

from adapter.domain.mark import Token, marks_on
from adapter.domain.message import Send
from adapter.domain.reasons import reason
from adapter.domain.resource import Resource
from adapter.domain.transmission import State, Transmission
from adapter.domain.writeback import written
from adapter.errors import Conflict, Temporary
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.insist import change
from adapter.pipelines.outbound.look import Wish
from adapter.pipelines.outbound.unknown import unknown

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A claim of this process: the row, the call, the Communication as it was left, and when that was (boot clock)."""

    row: Transmission
    send: Send
    communication: Resource = field(repr=False)
    at: float


async def claim(context: Context, wish: Wish, send: Send) -> Claimed | None:
    """Claims the version that was read; `None` when somebody changed it meanwhile: look again.

    An unknown outcome that was shown not to be one is claimed anew, for one more attempt at the same plan.

    Raises:
        Temporary: the FHIR server could not take it, and the claim is not on it.
        Rejected: the FHIR server refuses the write.
    """
    now = context.clock.now()
    token = _token(context, wish)
    attempt = wish.row.attempt + (wish.row.state is State.UNKNOWN)
    planned = replace(
        wish.row,
        state=State.CLAIMED,
        token=token,
        attempt=attempt,
        patient=send.patient,
        destination=send.destination,
        attachments=send.attachments,
        digest=send.digest,
        reason=None,
    )
    fresh = await _write(context, wish, planned)
    if fresh is None:
        return None
    row = await change(
        context,
        wish.row,
        State.CLAIMED,
        event="claimed",
        token=token,
        attempt=attempt,
        patient=send.patient,
        destination=send.destination,
        attachments=send.attachments,
        digest=send.digest,
        reason=None,
        note=wish.row.note,
        version=wish.row.version or wish.version,
        claimed_at=wish.row.claimed_at or now,
        intent_at=None,
        due_at=None,
        write_at=None,
    )
    if row is None:
        # The ledger lost the row between opening and claiming. The mark is on the resource: the patrol finds it.
        _log.warning("claim.row-lost", communication=wish.row.communication, round=wish.row.round)
        return None
    return Claimed(row=row, send=send, communication=fresh, at=context.clock.boot())


async def suspect(context: Context, wish: Wish, send: Send) -> None:
    """Nothing of this wish was sent by us that we know of, and it may have gone all the same: that is found out first.

    The plan has no digest: with what text it went, if it went, nobody knows. What somebody changed since it was read
    is looked at again.

    Raises:
        Temporary, Rejected: as `claim`.
    """
    context.uploads.forget(wish.row.communication)
    why = "an earlier version of it may have been sent, and the server keeps none"
    planned = replace(
        wish.row,
        state=State.UNKNOWN,
        token=_token(context, wish),
        patient=send.patient,
        destination=send.destination,
        attachments=send.attachments,
        reason=reason("outcome-unknown", why=why),
    )
    fresh = await _write(context, wish, planned)
    if fresh is not None:
        await unknown(context, wish.row, why, mark=planned.mark, patient=send.patient, communication=fresh)


def _token(context: Context, wish: Wish) -> str:
    return str(Token.mint(life=context.life, nonce=context.nonce(), resource_id=wish.row.communication))


async def _write(context: Context, wish: Wish, planned: Transmission) -> Resource | None:
    try:
        return await context.fhir.replace(written(wish.communication, planned), version=wish.version)
    except Conflict:
        return None
    except Temporary as trouble:
        if not trouble.applied:
            raise
        # The answer got lost. The claim is ours only if our token is in what is there now.
        present = await context.fhir.read("Communication", planned.communication)
        if present and any(mark.token == planned.token for mark in marks_on(present)):
            return present
        raise
