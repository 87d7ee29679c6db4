"""From a Communication to the exact call: patient, destination, attachments, text; then the uploads.

`plan` only reads, so a preview shows what would be sent. `complete` uploads, once per Communication and round.
What Metriport would refuse is refused here, before the claim.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from adapter.domain.attachment import MOST_ATTACHMENTS, Content
from adapter.domain.marker import is_shown
from adapter.domain.message import MOST_BODY_UNITS, MOST_SUBJECT_UNITS, Send, reference_of
from adapter.domain.reasons import Reason, reason
from adapter.domain.resource import Resource
from adapter.domain.text import normalise, utf16_length
from adapter.domain.writeback import instant_text
from adapter.errors import MappingError, Rejected
from adapter.pipelines.outbound.contents import Attached, find_contents, not_taken
from adapter.pipelines.outbound.context import Context
from adapter.pipelines.outbound.patient import Subject, find_subject
from adapter.pipelines.outbound.recipient import Address, find_address

_MESSAGE = "outbound/message"


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Subject line and text; `reference` ends the text, or is empty."""

    subject_line: str = field(repr=False)
    body: str = field(repr=False)
    reference: str

    @property
    def whole(self) -> str:
        """The text with its reference."""
        return "\n\n".join(part for part in (self.body, self.reference) if part)

    @property
    def sent(self) -> str:
        """What goes as text: all of it; of one that is too long, which goes as a file, the reference."""
        return self.whole if utf16_length(self.whole) <= MOST_BODY_UNITS else self.reference


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that the call needs but the ids of the documents still to be uploaded."""

    communication: Resource = field(repr=False)
    subject: Subject
    address: Address
    subject_line: str = field(repr=False)
    body: str | None = field(repr=False)
    contents: tuple[Attached, ...] = ()


async def plan(context: Context, communication: Resource, *, round: int = 1) -> Plan | Reason:
    """The plan of that round, or the reason why there is none.

    Raises:
        Temporary: a neighbour could not answer; nothing is decided.
        MappingError: a template is wrong; nothing is decided.
    """
    problem = _unfit(communication)
    if problem:
        return problem
    texts = texts_of(context, communication, reference=reference_for(context, communication, round=round))
    if isinstance(texts, Reason):
        return texts
    subject = await find_subject(context, communication)
    if isinstance(subject, Reason):
        return subject
    address = await find_address(context, communication)
    if isinstance(address, Reason):
        return address
    contents = await find_contents(context, communication, subject)
    if isinstance(contents, Reason):
        return contents
    return _fitted(communication, subject=subject, address=address, texts=texts, contents=contents)


def _unfit(communication: Resource) -> Reason | None:
    if is_shown(communication):
        return reason("refused-inbound")
    if communication.get("modifierExtension") or communication.get("implicitRules"):
        return reason("refused-modifier-extension", where="The Communication")
    return None


def reference_for(context: Context, communication: Resource, *, round: int) -> str:
    """What ends the text of that round, where the site wants it."""
    if not context.policy.reference_line:
        return ""
    return reference_of(context.fhir.base_url, str(communication.get("id")), round=round)


def texts_of(context: Context, communication: Resource, *, reference: str) -> Texts | Reason:
    """Subject line and text as Metriport keeps them, or why they cannot go.

    Raises:
        MappingError: the template is wrong.
    """
    made = context.mappings.render(
        "outbound/text", communication=communication, default_subject=context.policy.default_subject
    )
    # A subject is one line; where it was broken, a blank stands.
    line = " ".join(normalise(str(made.get("subject", ""))).splitlines())
    body = normalise(str(made.get("body", "")))
    if not line:
        return reason("refused-no-subject-line")
    if (length := utf16_length(line)) > MOST_SUBJECT_UNITS:
        return reason("refused-subject-too-long", length=length, limit=MOST_SUBJECT_UNITS)
    texts = Texts(subject_line=line, body=body, reference=reference)
    if (length := utf16_length(texts.whole)) > MOST_BODY_UNITS and context.policy.long_body == "refuse":
        return reason("refused-body-too-long", length=length, limit=MOST_BODY_UNITS)
    return texts


def _fitted(
    communication: Resource,
    *,
    subject: Subject,
    address: Address,
    texts: Texts,
    contents: list[Attached],
) -> Plan | Reason:
    if not texts.body and not contents:
        return reason("refused-no-content")
    if texts.sent != texts.whole:
        contents = [_as_attachment(texts.body), *contents]
    if len(contents) > MOST_ATTACHMENTS:
        return reason("refused-too-many-attachments", count=len(contents), limit=MOST_ATTACHMENTS)
    return Plan(
        communication=communication,
        subject=subject,
        address=address,
        subject_line=texts.subject_line,
        body=texts.sent or None,
        contents=tuple(contents),
    )


def _as_attachment(body: str) -> Content:
    return Content(
        where="payload",
        content_type="text/plain; charset=utf-8",
        data=body.encode("utf-8", "replace"),
        title="message.txt",
        type_text="Message text",
    )


async def complete(context: Context, planned: Plan) -> Send | Reason:
    """Uploads what is to be attached and makes the call.

    Raises:
        Temporary: Metriport could not take a document now.
        MappingError: a template is wrong.
    """
    document_ids: list[str] = []
    for content in planned.contents:
        if not isinstance(content, Content):
            document_ids.append(content.document_id)
            continue
        try:
            document_ids.append(await _upload(context, planned, content))
        except Rejected as refusal:
            return not_taken(content.where, refusal)
    return render(context, planned, document_ids)


def render(context: Context, planned: Plan, document_ids: list[str]) -> Send:
    """The call for these documents.

    Raises:
        MappingError: the template is wrong, or changed where the message goes or what is attached.
    """
    body = context.mappings.render(
        _MESSAGE,
        communication=planned.communication,
        destination=planned.address.destination,
        subject=planned.subject_line,
        body=planned.body,
        attachments=document_ids,
        npis=list(planned.address.npis),
    )
    # Both stand in the mark: what is claimed must be what is sent.
    for element, planned_value in (
        ("destination", planned.address.destination),
        ("attachments", document_ids),
    ):
        if (body.get(element) or []) != planned_value:
            raise MappingError("the value was changed; pass it on as it is", template=_MESSAGE, path=element)
    return Send(patient=planned.subject.metriport_id, body=body)


async def _upload(context: Context, planned: Plan, content: Content) -> str:
    communication, patient = str(planned.communication.get("id")), planned.subject.metriport_id
    earlier = context.uploads.find(communication, content, patient=patient)
    if earlier is not None:
        return earlier
    description = context.mappings.render(
        "outbound/document",
        communication=planned.communication,
        attachment=content,
        now=instant_text(context.clock.now()),
    )
    document = await context.documents.upload(content, patient=patient, description=description)
    context.uploads.keep(communication, content, patient=patient, document=document)
    return document
