"""What an EHR does at a FHIR server: it saves resources, and looks what became of its messages. It knows FHIR only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import httpx

from adapter.domain.canonical import CHANNEL_SYSTEM, COMMUNICATION_ID

FHIR_JSON: Final = "application/fhir+json"
PLACE: Final = "intake@direct.lakeside.example"
REASONS: Final = "https://w3id.org/metriport-fhir-adapter/CodeSystem/delivery-reason"

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class End:
    """How a Communication stands: its status and the code of its reason."""

    status: str
    code: str | None = None


class Ehr:
    """Speaks to one FHIR server. Its messages carry a marker of its own, so that suites can share the server."""

    def __init__(self, base_url: str, *, channel: str) -> None:
        self.base_url = base_url
        self.channel = channel
        self._http = httpx.Client(
            timeout=60.0, trust_env=False, headers={"accept": FHIR_JSON, "cache-control": "no-cache"}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    @property
    def marker(self) -> str:
        """The marker as the adapter's setting wants it."""
        return f"medium={CHANNEL_SYSTEM}|{self.channel}"

    def medium(self) -> Json:
        """The marker as it stands on a Communication."""
        return {"coding": [{"system": CHANNEL_SYSTEM, "code": self.channel}]}

    def wish(self, patient: str, *payload: Json, subject: str, **elements: Any) -> Json:
        """A Communication that is to be sent, about the Patient of that id."""
        return {
            "resourceType": "Communication",
            "status": "preparation",
            "medium": [self.medium()],
            "subject": {"reference": f"Patient/{patient}"},
            "recipient": [{"display": PLACE}],
            "topic": {"text": subject},
            "payload": list(payload),
            **elements,
        }

    def save(self, resource: Mapping[str, Any]) -> None:
        """Saves one resource under its id, without `If-Match`."""
        answer = self._http.put(
            f"{self.base_url}/{resource['resourceType']}/{resource['id']}",
            json=resource,
            headers={"content-type": FHIR_JSON},
        )
        assert answer.is_success, answer.text

    def create(self, resource: Mapping[str, Any]) -> str:
        """Creates one resource under an id of the server's, and gives that."""
        answer = self._http.post(
            f"{self.base_url}/{resource['resourceType']}", json=resource, headers={"content-type": FHIR_JSON}
        )
        assert answer.is_success, answer.text
        return str(answer.headers["location"].split("/_history")[0].rpartition("/")[2])

    def save_all(self, resources: Iterable[Mapping[str, Any]], *, at_once: int = 100) -> list[str]:
        """Saves many, each by itself; gives the references of those that the server does not take."""
        refused: list[str] = []
        waiting = list(resources)
        for start in range(0, len(waiting), at_once):
            refused.extend(self._batch(waiting[start : start + at_once]))
        return refused

    def _batch(self, resources: list[Mapping[str, Any]]) -> Iterator[str]:
        references = [f"{resource['resourceType']}/{resource['id']}" for resource in resources]
        entries = [
            {"resource": resource, "request": {"method": "PUT", "url": reference}}
            for resource, reference in zip(resources, references, strict=True)
        ]
        answer = self._http.post(
            self.base_url,
            json={"resourceType": "Bundle", "type": "batch", "entry": entries},
            headers={"content-type": FHIR_JSON},
        )
        assert answer.is_success, answer.text
        for reference, entry in zip(references, answer.json()["entry"], strict=True):
            if not entry["response"]["status"].startswith("2"):
                yield reference

    def delete(self, reference: str) -> None:
        """Deletes a resource; one that is not there is fine."""
        assert self._http.delete(f"{self.base_url}/{reference}").status_code in {200, 204, 404, 410}

    def read(self, reference: str) -> Json:
        """The resource as it is now."""
        answer = self._http.get(f"{self.base_url}/{reference}")
        assert answer.is_success, answer.text
        resource: Json = answer.json()
        return resource

    def find(self, reference: str) -> Json | None:
        """The resource as it is now, if it is there."""
        answer = self._http.get(f"{self.base_url}/{reference}")
        return answer.json() if answer.is_success else None

    def search(self, type: str, **parameters: str) -> list[Json]:
        """The first page of what a search finds."""
        answer = self._http.get(f"{self.base_url}/{type}", params={**parameters, "_count": "200"})
        assert answer.is_success, answer.text
        return [entry["resource"] for entry in answer.json().get("entry", [])]

    def raw(self, reference: str) -> httpx.Response:
        """A Binary's own bytes, also where HAPI keeps large ones apart and shows the Binary without them."""
        shown = self._http.get(f"{self.base_url}/{reference}", headers={"accept": "*/*"})
        if shown.headers["content-type"].startswith("application/fhir+json") and '"_data"' in shown.text:
            return self._http.get(
                f"{self.base_url}/{reference}/$binary-access-read", params={"path": "Binary"}
            )
        return shown

    def wait_until_active(self, subscription: str, *, seconds: float = 30.0) -> None:
        """Waits until the server rings for the Subscription; it may not be there yet."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            answer = self._http.get(f"{self.base_url}/Subscription/{subscription}")
            if answer.is_success and answer.json()["status"] == "active":
                return
            time.sleep(0.2)
        raise TimeoutError(f"Subscription/{subscription} is not active after {seconds} s")

    def messages(self) -> Iterator[Json]:
        """All of its messages as they are now."""
        url: str | None = f"{self.base_url}/Communication"
        parameters: dict[str, str] | None = {"medium": f"{CHANNEL_SYSTEM}|{self.channel}", "_count": "200"}
        while url:
            answer = self._http.get(url, params=parameters)
            assert answer.is_success, answer.text
            page = answer.json()
            yield from (entry["resource"] for entry in page.get("entry", []))
            url = next((link["url"] for link in page.get("link", []) if link["relation"] == "next"), None)
            parameters = None

    def ends(self) -> dict[str, End]:
        """How each of its messages stands."""
        return {message["id"]: end_of(message) for message in self.messages()}

    def wait_for_ends(self, count: int, *, seconds: float) -> dict[str, End]:
        """How its messages ended, once none is under way, or as they stand when the time is over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.5)
            if self.how_many("preparation,in-progress") == 0 and self.how_many(None) >= count:
                break
        return self.ends()

    def wait_until(self, done: Callable[[dict[str, End]], bool], *, seconds: float) -> dict[str, End]:
        """How its messages stand once that is so, or when the time is over."""
        until = time.monotonic() + seconds
        while not done(ends := self.ends()) and time.monotonic() < until:
            time.sleep(0.5)
        return ends

    def how_many(self, statuses: str | None) -> int:
        """How many of its messages have one of these statuses; all, when none is given."""
        narrowed = {"status": statuses} if statuses else {}
        return self.count("Communication", medium=f"{CHANNEL_SYSTEM}|{self.channel}", **narrowed)

    def count(self, kind: str, **parameters: str) -> int:
        """How many resources of the kind match."""
        asked = {**parameters, "_summary": "count"}
        answer = self._http.get(f"{self.base_url}/{kind}", params=asked)
        assert answer.is_success, answer.text
        return int(answer.json()["total"])


def end_of(communication: Mapping[str, Any]) -> End:
    """How the Communication stands."""
    codings = communication.get("statusReason", {}).get("coding", [])
    code = next((coding["code"] for coding in codings if coding.get("system") == REASONS), None)
    return End(status=communication["status"], code=code)


def message_of(communication: Mapping[str, Any]) -> str | None:
    """The id that Metriport gave the message."""
    return next(
        (
            one["value"]
            for one in communication.get("identifier", [])
            if one.get("system") == COMMUNICATION_ID and one.get("use") != "old"
        ),
        None,
    )
