"""The pretend Metriport as a plain object: `handle(request, now) -> response`, no sockets, no clock, no threads."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from adapter.simulators.http import Call, Request, Response
from adapter.simulators.metriport import control, events, inbound, messages
from adapter.simulators.metriport.answers import as_json, instant
from adapter.simulators.metriport.dialects import DIALECTS, FAILED_AS
from adapter.simulators.metriport.directory import DEFAULT_API_KEY, FACILITIES
from adapter.simulators.metriport.faults import Fault, strike
from adapter.simulators.metriport.ids import Ids
from adapter.simulators.metriport.limits import Limits
from adapter.simulators.metriport.records import Document, File, Message
from adapter.simulators.metriport.routes import Work, admit
from adapter.simulators.metriport.server import LINK_LIFE, Rules, Server
from adapter.simulators.metriport.webhooks import Webhooks


@dataclass(frozen=True, kw_only=True)
class Logged:
    """One request as it was answered; status 0 means the connection was dropped."""

    at: datetime
    method: str
    path: str
    query: str
    status: int


class World:
    """The account. `api_key` may name several keys, separated by commas: all of them count.

    `dialect` is `sdk`, `docs` or `docs-bare`; `failed_as` is what the documented shape calls a failed message;
    `auto_complete_seconds=None` ends nothing by itself; the same `seed` and times give the same ids.
    """

    def __init__(
        self,
        *,
        api_key: str = DEFAULT_API_KEY,
        public_url: str = "http://127.0.0.1:8082",
        dialect: str = "sdk",
        failed_as: str = "stopped",
        limits: bool = True,
        auto_complete_seconds: float | None = 2.0,
        seed: int = 0,
    ) -> None:
        if dialect not in DIALECTS or failed_as not in FAILED_AS:
            raise ValueError(f"there is no dialect {dialect!r} with {failed_as!r}")
        self._rules = Rules(
            api_keys=_keys(api_key),
            public_url=public_url.rstrip("/"),
            dialect=dialect,
            failed_as=failed_as,
            auto_complete_seconds=auto_complete_seconds,
        )
        self._limited = limits
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Everything as at the start."""
        ids = Ids(random.Random(self._seed))  # noqa: S311  # ids that a test can repeat
        self.requests: list[Logged] = []
        self._server = Server(
            rules=self._rules,
            ids=ids,
            limits=Limits(enforced=self._limited),
            webhooks=Webhooks(ids=ids, take_fault=self._webhook_fault),
        )

    def _webhook_fault(self, kind: str) -> str | None:
        fault = self._server.fault(kind)
        return fault.fault if fault else None

    # Neighbour

    def handle(self, request: Request, now: datetime) -> Response:
        """Answers one request."""
        self._advance(now)
        asked = replace(request, path="/" + request.path.lstrip("/"))
        response = self._control(asked) or self._answer(asked, now)
        if not asked.path.startswith("/_simulator/"):
            self.requests.append(
                Logged(
                    at=now, method=asked.method, path=asked.path, query=asked.query, status=response.status
                )
            )
        return response

    def _control(self, request: Request) -> Response | None:
        if (request.method, request.path) == ("GET", "/_simulator/requests"):
            shown = [{**vars(one), "at": instant(one.at)} for one in self.requests]
            return as_json({"requests": shown})
        if (request.method, request.path) == ("POST", "/_simulator/reset"):
            self.reset()
            return Response(status=204)
        return None

    def _answer(self, request: Request, now: datetime) -> Response:
        work = admit(self._server, request, now)
        if isinstance(work, Response):
            return work
        fault = next((one for one in self._server.faults if one.fits(request)), None)
        if fault is None:
            return work(now)

        def later(seconds: float) -> None:
            self._server.at(now + timedelta(seconds=seconds), lambda at: _do(work, at))

        return strike(fault, lambda: work(now), later)

    def calls_due(self, now: datetime) -> Sequence[Call]:
        """The webhooks to call now."""
        self._advance(now)
        due = self._server.webhooks.due
        ready = [call for at, call in due if at <= now]
        self._server.webhooks.due = [(at, call) for at, call in due if at > now]
        return ready

    def call_ended(self, call: Call, status: int | None, now: datetime) -> None:
        """Notes how a webhook call ended; it is not repeated."""
        del now
        self._server.webhooks.ended(call, status)

    def next_at(self) -> datetime | None:
        """When a message ends or a webhook is due."""
        times = [at for at, _ in self._server.agenda] + [at for at, _ in self._server.webhooks.due]
        return min(times, default=None)

    def _advance(self, now: datetime) -> None:
        while self._server.agenda and self._server.agenda[0][0] <= now:
            at, action = self._server.agenda.pop(0)
            action(at)

    # What tests make happen

    @property
    def messages(self) -> list[Message]:
        """All messages, oldest first."""
        return list(self._server.messages.values())

    @property
    def documents(self) -> dict[str, Document]:
        """All documents by id."""
        return self._server.documents

    @property
    def files(self) -> dict[str, File]:
        """What presigned links lead to, by their last part."""
        return self._server.files

    @property
    def webhooks(self) -> Webhooks:
        """The deliveries made, and those that are due."""
        return self._server.webhooks

    def complete(self, message_id: str, now: datetime) -> None:
        """The recipient acknowledges."""
        messages.end(self._server, control.find(self._server, message_id), now, status="completed")

    def fail(self, message_id: str, reason: str, now: datetime) -> None:
        """The message cannot be delivered."""
        messages.end(
            self._server, control.find(self._server, message_id), now, status="failed", reason=reason
        )

    def receive(self, now: datetime, **stated: Any) -> Message:
        """Somebody sends a message in; the fields are those of the control API."""
        return inbound.receive(self._server, stated, now)

    def announce(self, kind: str, now: datetime, **stated: Any) -> None:
        """Calls the webhook with an event of that type: about `patientId` with example content, or with `body`."""
        events.announce(self._server, {"type": kind, **stated}, now)

    def share(self, content: object, now: datetime, *, life: timedelta = LINK_LIFE) -> str:
        """A presigned link to that content, as JSON, that ends with `life`."""
        return self._server.share(File(data=json.dumps(content).encode()), now, life=life)

    def add_fault(self, method: str, path: str, fault: str, times: int = 1) -> None:
        """Orders a fault."""
        self._server.faults.append(Fault(method=method, path=path, fault=fault, times=times))

    def clear_faults(self) -> None:
        """Nothing goes wrong any more."""
        self._server.faults.clear()

    def add_patients(self, patients: Iterable[Mapping[str, Any]]) -> None:
        """Makes patients known, each with its `id`."""
        usual = {"facilityIds": [FACILITIES[0]["id"]], "eTag": "1"}
        self._server.patients.update({str(one["id"]): {**usual, **one} for one in patients})

    def set_keys(self, *api_keys: str) -> None:
        """From now on these API keys count."""
        self._rules = replace(self._rules, api_keys=_keys(",".join(api_keys)))
        self._server.rules = self._rules

    def opt_out(self, patient_id: str, detail: str) -> None:
        """From now on nothing may be sent for the patient; `detail` is what the account is told."""
        self._server.opted_out[patient_id] = detail

    def set_webhook(self, url: str | None, now: datetime) -> str:
        """Configures the webhook; gives its key."""
        self._server.webhooks.configure(url, now)
        return self._server.webhooks.key


def _do(work: Work, now: datetime) -> None:
    work(now)


def _keys(stated: str) -> frozenset[str]:
    return frozenset(key.strip() for key in stated.split(",") if key.strip())
