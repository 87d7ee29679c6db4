"""An account at the pretend Metriport, asked through HTTP requests on a clock that the test moves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapter.simulators.http import Call, Request, Response
from adapter.simulators.metriport import DEFAULT_API_KEY, SANDBOX_PATIENTS, World
from adapter.simulators.metriport.directory import FACILITIES

BASE = "http://metriport.test"
START = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
JANE, CHRIS = SANDBOX_PATIENTS[0].id, SANDBOX_PATIENTS[1].id
FACILITY = str(FACILITIES[0]["id"])
NOBODY = "0190e9b0-0000-7000-8000-0000000000ee"
OID = "2.16.840.1.113883.3.99999.1"
ADDRESS = "referrals@harbor-heart.example"
HOOK = "http://adapter.test/webhooks/metriport"

DIALECTS = pytest.mark.parametrize("dialect", ["sdk", "docs"])


@dataclass(frozen=True)
class Answer:
    """What came back."""

    response: Response

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def body(self) -> bytes:
        return self.response.body

    @property
    def json(self) -> Any:
        return json.loads(self.response.body)

    @property
    def headers(self) -> Mapping[str, str]:
        return self.response.headers


@dataclass
class Account:
    """`ask` sends one request now; `passes` lets time pass; `hooks` are the webhook calls that are due."""

    world: World
    now: datetime = START
    key: str | None = DEFAULT_API_KEY
    calls: list[Call] = field(default_factory=list)

    def ask(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        stated, _, query = url.partition("?")
        credentials = {} if self.key is None else {"x-api-key": self.key}
        path = stated if stated.startswith("/") else f"/medical/v1/{stated}"
        data = json.dumps(body).encode() if body is not None else b""
        request = Request(
            method=method,
            path=path,
            query=query,
            headers={**credentials, **(headers or {})},
            body=data if raw is None else raw,
        )
        return Answer(self.world.handle(request, self.now))

    def open(
        self, method: str, url: str, *, raw: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Asks a presigned link, without the API key."""
        key, self.key = self.key, None
        try:
            return self.ask(method, url.removeprefix(BASE), raw=raw, headers=headers)
        finally:
            self.key = key

    def passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def hooks(self) -> list[dict[str, Any]]:
        self.calls = list(self.world.calls_due(self.now))
        return [json.loads(call.body) for call in self.calls]

    def listens(self) -> str:
        """Configures the webhook and takes the ping; gives the key."""
        key = str(self.ask("POST", "/settings", {"webhookUrl": HOOK}).json["webhookKey"])
        self.hooks()
        return key

    def send(self, patient: str = JANE, **body: Any) -> Answer:
        facts = {"destination": ADDRESS, "subject": "Referral", "body": "Please see."}
        return self.ask("POST", f"message?patientId={patient}", {**facts, **body})

    def sent(self, patient: str = JANE, **body: Any) -> str:
        """Sends, and gives the message's id in either dialect."""
        answer = self.send(patient, **body)
        assert answer.status == 200, answer.body
        return str(answer.json.get("communication", answer.json)["id"])

    def uploaded(self, patient: str = JANE, data: bytes = b"%PDF-1.4", **announced: Any) -> str:
        """Announces and uploads a document; gives its id."""
        made = self.ask("POST", f"document/upload?patientId={patient}", announcement(**announced)).json
        headers = {"content-type": "application/pdf", "content-length": str(len(data))}
        assert self.open("PUT", made["uploadUrl"], raw=data, headers=headers).status == 200
        return str(made["documentReferenceId"])


def account(**options: Any) -> Account:
    facts: dict[str, Any] = {"public_url": BASE, "auto_complete_seconds": None, "limits": False}
    return Account(World(**{**facts, **options}))


def announcement(**changes: Any) -> dict[str, Any]:
    facts = {
        "type": {"text": "Visit summary"},
        "description": "Summary of a visit",
        "context": {"period": {"start": "2026-06-30"}},
    }
    return {**facts, **changes}


def person(**changes: Any) -> dict[str, Any]:
    facts = {
        "firstName": "Robin",
        "lastName": "Maple",
        "dob": "1980-02-29",
        "genderAtBirth": "O",
        "address": {"addressLine1": "1 Pine Street", "city": "Portland", "state": "ME", "zip": "04101"},
    }
    return {**facts, **changes}


def refused(answer: Answer, status: int = 400) -> str:
    """Holds the refusal to the contract's shape; gives its detail."""
    names = {400: ("BAD_REQUEST", "BadRequestError"), 404: ("NOT_FOUND", "NotFoundError"),
             412: ("PRECONDITION_FAILED", "VersionMismatchError"),
             429: ("TOO_MANY_REQUESTS", "TooManyRequestsError")}  # fmt: skip
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json) == {"status", "name", "title", "detail"}
    assert (answer.json["status"], answer.json["name"], answer.json["title"]) == (status, *names[status])
    return str(answer.json["detail"])
