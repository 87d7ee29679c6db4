"""HL7's official R4 examples on real HAPI: what others wrote, with everything that their authors thought of in it.

Each Communication ends with the code that the tables here expect from the design, without asking the adapter's rules.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from adapter.config import Settings
from adapter.domain.canonical import PATIENT_ID
from adapter.domain.reasons import Reason
from adapter.pipelines.outbound.prepare import Plan, plan
from adapter.simulators import metriport
from adapter.simulators.shell import utc_now
from adapter.wiring import SystemClock, Transports, context_of
from tests.e2e import hl7
from tests.e2e.at_work import AtWork, at_work, settings_for
from tests.e2e.ehr import PLACE, Ehr, End
from tests.e2e.machine import wait_until
from tests.neighbours.simulator import free_port, serving

Json = dict[str, Any]

_STATUS: Final = {"refused": "not-done", "held": "on-hold"}

# Trouble that a message must never make, and what it would look like if one were tried again for ever.
_TROUBLE: Final = frozenset(
    {
        "communication.failed",
        "communication.not-claimed",
        "communication.waits",
        "communication.write-refused",
        "loop.failed",
        "loop.trouble",
        "lane.stopped",
        "send.failed",
        "send.interrupted",
        "send.not-recorded",
    }
)

# Loaded, these would change how the server works, or are megabytes that the adapter never reads.
_NOT_STORED: Final = frozenset(
    {
        "CapabilityStatement",
        "CodeSystem",
        "CompartmentDefinition",
        "ConceptMap",
        "ImplementationGuide",
        "NamingSystem",
        "OperationDefinition",
        "SearchParameter",
        "StructureDefinition",
        "Subscription",
        "ValueSet",
    }
)
# Four types make up five sixths of the examples: each hundredth is sent, all are planned.
_FAMILIES: Final = frozenset({"CodeSystem", "SearchParameter", "StructureDefinition", "ValueSet"})
_SAMPLE: Final = 100
_MOST_CHARACTERS: Final = 1_000_000

# What becomes of the three Communications, one variant after the other.
_AS_THEY_ARE: Final = "refused-no-subject-line"  # none has a topic
_WITH_A_TOPIC: Final = "held-patient-unknown"  # no example Patient knows Metriport
_LINKED: Final = "held-destination-unknown"  # no example recipient has a Direct address
_ADDRESSED: Final = {
    "example": "refused-attachment-unreadable",  # its contentReference is a display and nothing more
    "fm-attachment": "refused-attachment-origin",  # its second attachment is a url on another host
    "fm-solicited": "refused-attachment-origin",
}

# Type and id: the subject of the message, and how it ends. `None` is sent and completed.
_DOCUMENTS: Final[dict[str, tuple[str, str | None]]] = {
    "Binary/example": ("xcda", "held-document-preliminary"),  # DocumentReference/example guards it
    "Binary/f006": ("f001", None),
    "DiagnosticReport/102": ("pat2", "refused-attachment-unreadable"),  # nothing to attach in it
    "DiagnosticReport/example-pgx": ("example", "refused-attachment-other-patient"),
    "DiagnosticReport/f201": ("f201", "refused-attachment-unreadable"),
    "DiagnosticReport/gingival-mass": (
        "example",
        "refused-attachment-other-patient",
    ),  # whose, is a name only
    "DiagnosticReport/pap": ("example", "refused-attachment-other-patient"),
    "DiagnosticReport/ultrasound": ("example", "refused-attachment-unreadable"),
    "DocumentReference/example": ("xcda", "held-document-preliminary"),
    "Media/1.2.840.11361907579238403408700.3.1.04.19970327150033": ("example", "refused-attachment-origin"),
    "Media/example": ("xcda", None),
    "Media/sound": ("xcda", None),
    "Media/xray": ("example", "refused-attachment-origin"),
}
_NO_DOCUMENT: Final = "refused-attachment-unreadable"  # all other types: there is nothing to send in them

# Each of these is tried as the attachment of a message about another patient, too.
_OWNED: Final = (
    "Binary/example",
    "DiagnosticReport/102",
    "DiagnosticReport/f201",
    "DiagnosticReport/ultrasound",
    "DocumentReference/example",
    "Media/example",
    "Media/sound",
    "Media/xray",
)


@dataclass(frozen=True, kw_only=True)
class _Case:
    """One message and how it ends."""

    communication: Json
    code: str | None = None

    @property
    def id(self) -> str:
        return str(self.communication["id"])

    @property
    def end(self) -> End:
        status = _STATUS[self.code.partition("-")[0]] if self.code else "completed"
        return End(status=status, code=self.code)


@dataclass(frozen=True, kw_only=True)
class _Clinic:
    ehr: Ehr
    metriport: metriport.World
    at_work: AtWork


@pytest.mark.parametrize("profile", ["hapi_lax", "hapi_defaults"])
def test_every_message_made_of_an_official_example_ends_as_the_design_says(
    profile: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = hl7.examples()
    is_lax = profile == "hapi_lax"
    base_url: str = request.getfixturevalue(profile)
    with _clinic(base_url, tmp_path) as clinic:
        there = _stage(clinic.ehr, examples)
        first = _as_they_are(clinic.ehr)
        first = _fitting(clinic.ehr, first)
        ends = clinic.ehr.wait_for_ends(len(first), seconds=120)
        assert ends == {case.id: case.end for case in first}

        somebody = _link_patients(clinic, there)
        cases = [
            *_again(first),
            *_communications(clinic.ehr, there),
            *_references(clinic.ehr, examples if is_lax else _only(there, examples), somebody),
            *_attachments(clinic.ehr, somebody),
        ]
        fitting = _fitting(clinic.ehr, cases)
        expected = {case.id: case.end for case in [*first, *fitting]}
        ends = clinic.ehr.wait_for_ends(len(expected), seconds=600)
        _say(capsys, profile, examples, there, expected)

        assert _differing(ends, expected) == {}
        assert clinic.at_work.events() & _TROUBLE == set()
        wait_until(clinic.at_work.is_idle, seconds=30)
        sent = sum(case.code is None for case in fitting)
        assert len(clinic.metriport.messages) == sent
    if is_lax:
        assert len(fitting) == len(cases)
    else:
        assert len(fitting) > 100  # its references must lead somewhere


def test_no_definition_among_the_official_examples_can_be_attached(hapi_lax: str, tmp_path: Path) -> None:
    """Breadth: what would be sent for the thousands that are not stored one by one. `plan` only reads."""
    with Ehr(hapi_lax, channel=f"hl7-{secrets.token_hex(2)}") as ehr:
        patient = f"{ehr.channel}-patient"
        link = {"system": PATIENT_ID, "value": _link_of(patient)}
        ehr.save({"resourceType": "Patient", "id": patient, "identifier": [link]})
        references = [hl7.reference_of(one) for one in hl7.examples() if one["resourceType"] in _FAMILIES]
        messages = [
            _message(ehr, f"plan-{index}", {"contentReference": {"reference": reference}}, patient=patient)
            for index, reference in enumerate(references)
        ]
        settings = settings_for(
            hapi_lax,
            "http://127.0.0.1:9",  # nobody is asked anything there
            ledger=tmp_path / "ledger.sqlite3",
            marker=ehr.marker,
            webhook_key="none",
            port=0,
        )

        planned = asyncio.run(_planned(settings, messages))

    assert len(planned) > 4000
    assert {one.code if isinstance(one, Reason) else None for one in planned} == {_NO_DOCUMENT}


async def _planned(settings: Settings, messages: list[Json]) -> list[Plan | Reason]:
    async with context_of(
        settings, ledger_url=settings.ledger.url, clock=SystemClock(), transports=Transports()
    ) as (context, *_):
        planned: list[Plan | Reason] = []
        for start in range(0, len(messages), 8):
            planned += await asyncio.gather(
                *(plan(context, message) for message in messages[start : start + 8])
            )
        return planned


@contextmanager
def _clinic(base_url: str, folder: Path) -> Iterator[_Clinic]:
    port, own = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    world = metriport.World(public_url=url, limits=False, auto_complete_seconds=0.2)
    with serving(world, port), Ehr(base_url, channel=f"hl7-{secrets.token_hex(2)}") as ehr:
        world.add_patients(
            {**metriport.SANDBOX_PATIENTS[0].record(), "id": _link_of(patient["id"])}
            for patient in hl7.of_type("Patient")
        )
        settings = settings_for(
            base_url,
            url,
            ledger=folder / "ledger.sqlite3",
            marker=ehr.marker,
            webhook_key=world.set_webhook(f"http://127.0.0.1:{own}/webhooks/metriport", utc_now()),
            port=own,
            sweep_seconds=6.0,  # each lists a thousand messages
        )
        with at_work(settings, sends_per_minute=1200) as working:
            yield _Clinic(ehr=ehr, metriport=world, at_work=working)


def _stage(ehr: Ehr, examples: Iterable[Json]) -> set[str]:
    """Loads what the server takes; gives the references. What refers to others goes again after them."""
    waiting = {
        hl7.reference_of(resource): resource
        for resource in examples
        if resource["resourceType"] not in {*_NOT_STORED, "Communication"}
        and len(str(resource)) < _MOST_CHARACTERS
    }
    there: set[str] = set()
    refused = [*waiting]
    while refused:
        attempted = refused
        refused = ehr.save_all(waiting[reference] for reference in attempted)
        there |= {*attempted} - {*refused}
        if len(refused) == len(attempted):
            break
    return there


def _only(there: set[str], examples: Iterable[Json]) -> list[Json]:
    return [resource for resource in examples if hl7.reference_of(resource) in there]


def _link_patients(clinic: _Clinic, there: set[str]) -> str:
    """Links every Patient that is there; gives one of them."""
    linked = [patient for patient in hl7.of_type("Patient") if hl7.reference_of(patient) in there]
    for patient in linked:
        link = {"system": PATIENT_ID, "value": _link_of(patient["id"])}
        clinic.ehr.save({**patient, "identifier": [*patient.get("identifier", []), link]})
    return str(linked[0]["id"])


def _link_of(patient: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"hl7/{patient}"))


def _asks(ehr: Ehr, example: Mapping[str, Any], id: str, **elements: Any) -> Json:
    """The example as its author would write it to have it sent; a topic unless `elements` say otherwise."""
    asking = {
        **example,
        "id": id,
        "status": "preparation",
        "medium": [*example.get("medium", []), ehr.medium()],
        **elements,
    }
    return {name: value for name, value in asking.items() if value is not None}


def _as_they_are(ehr: Ehr) -> list[_Case]:
    return [
        case
        for example in hl7.of_type("Communication")
        for case in (
            _Case(
                communication=_asks(ehr, example, f"{ehr.channel}-bare-{example['id']}"), code=_AS_THEY_ARE
            ),
            _Case(
                communication=_asks(
                    ehr, example, f"{ehr.channel}-topic-{example['id']}", topic={"text": "From HL7"}
                ),
                code=_WITH_A_TOPIC,
            ),
        )
    ]


def _again(first: Iterable[_Case]) -> Iterator[_Case]:
    """The messages that were held, asked for once more now that Patient/example is linked; there is no Patient/1."""
    for case in first:
        if case.code == _WITH_A_TOPIC:
            known = case.communication["subject"] == {"reference": "Patient/example"}
            yield _Case(communication=case.communication, code=_LINKED if known else _WITH_A_TOPIC)


def _communications(ehr: Ehr, there: set[str]) -> Iterator[_Case]:
    """Each Communication about each Patient: by reference and by identifier, addressed, and with what can go."""
    for example in hl7.of_type("Communication"):
        for patient in hl7.of_type("Patient"):
            if hl7.reference_of(patient) not in there:
                continue
            name = f"{example['id']}-{patient['id']}"
            by_reference = {"reference": hl7.reference_of(patient)}
            by_link = {"identifier": {"system": PATIENT_ID, "value": _link_of(patient["id"])}}
            topic = {"text": f"From HL7: {name}"}
            addressed = [{"display": PLACE}]
            code = _ADDRESSED[example["id"]]
            yield _Case(
                communication=_asks(
                    ehr, example, f"{ehr.channel}-linked-{name}", topic=topic, subject=by_reference
                ),
                code=_LINKED,
            )
            yield _Case(
                communication=_asks(
                    ehr,
                    example,
                    f"{ehr.channel}-beside-{name}",
                    topic=topic,
                    subject=by_reference,
                    recipient=[*example["recipient"], *addressed],
                ),
                code=_LINKED,  # those who have no address are not left out
            )
            for way, subject in (("reference", by_reference), ("link", by_link)):
                yield _Case(
                    communication=_asks(
                        ehr,
                        example,
                        f"{ehr.channel}-{way}-{name}",
                        topic=topic,
                        subject=subject,
                        recipient=addressed,
                    ),
                    code=code,
                )
            yield _Case(
                communication=_asks(
                    ehr,
                    example,
                    f"{ehr.channel}-sent-{name}",
                    topic=topic,
                    subject=by_reference,
                    recipient=addressed,
                    payload=example["payload"][:1],
                )
            )


def _message(ehr: Ehr, id: str, payload: Json, *, patient: str) -> Json:
    return ehr.wish(patient, payload, id=id, subject=f"Enclosed: {id}")


def _references(ehr: Ehr, examples: Iterable[Json], somebody: str) -> Iterator[_Case]:
    """One message per example resource of every type, and each document for a patient whose it is not."""
    for index, resource in enumerate(examples):
        if resource["resourceType"] in _FAMILIES and index % _SAMPLE:
            continue
        reference = hl7.reference_of(resource)
        patient, code = _DOCUMENTS.get(reference, (somebody, _NO_DOCUMENT))
        payload = {"contentReference": {"reference": reference}}
        yield _Case(
            communication=_message(ehr, f"{ehr.channel}-refers-{index}", payload, patient=patient), code=code
        )
        if reference in _OWNED:
            yield _Case(
                communication=_message(ehr, f"{ehr.channel}-others-{index}", payload, patient="glossy"),
                code="refused-attachment-other-patient",
            )


def _attachments(ehr: Ehr, somebody: str) -> Iterator[_Case]:
    """One message per Attachment anywhere in the examples."""
    for index, attachment in enumerate(hl7.attachments()):
        payload = {"contentAttachment": attachment.element}
        yield _Case(
            communication=_message(ehr, f"{ehr.channel}-attaches-{index}", payload, patient=somebody),
            code=_code_for(attachment.element),
        )


def _code_for(attachment: Mapping[str, Any]) -> str | None:
    if "data" in attachment or attachment["url"] == "Binary/f006":
        return None
    is_absent_binary = attachment["url"].startswith("Binary/")
    return "refused-attachment-unreadable" if is_absent_binary else "refused-attachment-origin"


def _fitting(ehr: Ehr, cases: list[_Case]) -> list[_Case]:
    """Saves the messages; gives the cases of those that the server takes."""
    refused = {*ehr.save_all((case.communication for case in cases), at_once=200)}
    return [case for case in cases if f"Communication/{case.id}" not in refused]


def _differing(
    ends: Mapping[str, End], expected: Mapping[str, End]
) -> dict[str, tuple[End | None, End | None]]:
    return {
        id: (ends.get(id), expected.get(id)) for id in {*ends, *expected} if ends.get(id) != expected.get(id)
    }


def _say(
    capsys: pytest.CaptureFixture[str],
    profile: str,
    examples: list[Json],
    there: set[str],
    expected: Mapping[str, End],
) -> None:
    counts = Counter(end.code or end.status for end in expected.values())
    with capsys.disabled():
        print(f"\n{profile}: {len(examples)} examples, {len(there)} loaded, {len(expected)} messages")  # noqa: T201
        for code, count in counts.most_common():
            print(f"  {count:5} {code}")  # noqa: T201
