"""Why a message did not go, or not yet: the closed list of reason codes, one row a code.

Each becomes `Communication.statusReason`: the code as coding under `REASON_SYSTEM`, the sentence as its text.
Code, README and the CodeSystem are made from this table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from adapter.domain.canonical import REASON_SYSTEM

Code = str


class TaskCode(StrEnum):
    """What a person is asked to do (`Task.code`)."""

    MATCH_PATIENT = "match-patient"
    CHOOSE_DESTINATION = "choose-destination"
    FIX_DATA = "fix-data"
    CONFIRM_OUTCOME = "confirm-outcome"
    SENT_BUT_WITHDRAWN = "sent-but-withdrawn"


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One code as it stands on a Communication: the code and the sentence for this case.

    A sentence may quote what Metriport says of the patient, so it stays out of the repr.
    """

    code: Code
    sentence: str = field(repr=False)

    def concept(self) -> dict[str, Any]:
        """The CodeableConcept for `statusReason`."""
        return {"coding": [{"system": REASON_SYSTEM, "code": self.code}], "text": self.sentence}


@dataclass(frozen=True, kw_only=True)
class _Row:
    sentence: str
    task: TaskCode | None = None


_FIX: Final = TaskCode.FIX_DATA

_TABLE: Final[dict[Code, _Row]] = {
    "refused-no-subject": _Row(
        sentence="The Communication has no subject. Set subject to the Patient whom the message is about."
    ),
    "refused-group-subject": _Row(
        sentence="The subject is a Group; a message is about one Patient. Write one Communication per Patient."
    ),
    "refused-no-subject-line": _Row(
        sentence="There is no subject line. Set topic.text (topic.coding.display and reasonCode.text serve as well)."
    ),
    "refused-subject-too-long": _Row(
        sentence="The subject line has {length} UTF-16 units, {limit} are allowed. Shorten topic.text."
    ),
    "refused-no-content": _Row(
        sentence="There is neither text nor attachment. Add payload.contentString, contentAttachment or contentReference."
    ),
    "refused-body-too-long": _Row(
        sentence="The text has {length} UTF-16 units, {limit} are allowed. Shorten it or send it as an attachment."
    ),
    "refused-too-many-attachments": _Row(
        sentence="There are {count} attachments, {limit} are allowed. Spread them over several Communications."
    ),
    "refused-attachment-too-large": _Row(
        sentence="{where}: the attachment is larger than {limit} bytes, the most that Metriport takes. Send a smaller file."
    ),
    "refused-attachment-unreadable": _Row(
        sentence="{where}: the attachment cannot be read: {why}. Mend it or take it out."
    ),
    "refused-attachment-origin": _Row(
        sentence="{where}: the url is not on this FHIR server and its origin is not allowed. "
        "Use data, a Binary, or add the origin to attachments.allowed_origins."
    ),
    "refused-attachment-other-patient": _Row(
        sentence="{where}: the document belongs to another patient than the message. Nothing was sent. "
        "Take it out, or write a Communication about its patient."
    ),
    "refused-attachment-not-current": _Row(
        sentence="{where}: the document is {status}. Only a current document is sent. Refer to the current one."
    ),
    "refused-destination-invalid": _Row(
        sentence="{where}: the stated destination is neither an OID nor a Direct address of 1 to 255 characters. "
        "Correct it on the recipient."
    ),
    "refused-recipient-type": _Row(
        sentence="{where}: a {type} cannot receive a message. Use Organization, Practitioner, PractitionerRole "
        "or HealthcareService."
    ),
    "refused-no-recipient": _Row(
        sentence="The Communication has no recipient. Add one that states a destination."
    ),
    "refused-several-destinations": _Row(
        sentence="The recipients have {count} different destinations. Write one Communication per destination."
    ),
    "refused-too-many-npi": _Row(
        sentence="The recipients have {count} NPIs, {limit} are allowed. "
        "Spread them over several Communications."
    ),
    "refused-inbound": _Row(
        sentence="This shows a message that was received, or sent by others. To answer it, write a new Communication."
    ),
    "refused-modifier-extension": _Row(
        sentence="{where} carries a modifierExtension or implicitRules that the adapter does not know, "
        "so its meaning is not certain. Remove it."
    ),
    "refused-by-metriport": _Row(
        sentence='Metriport refuses the message: "{detail}". Mend that, then set preparation again.'
    ),
    "held-patient-unknown": _Row(
        sentence="{where} is not known to Metriport: {why}. Link it (identifier {system}), then set preparation again.",
        task=_FIX,
    ),
    "held-patient-ambiguous": _Row(
        sentence="Several patients fit the subject ({count}). Choose one, then set preparation again.",
        task=TaskCode.MATCH_PATIENT,
    ),
    "held-patient-incomplete": _Row(
        sentence="The Patient lacks what Metriport asks for: {missing}. Complete it, then set preparation again.",
        task=_FIX,
    ),
    "held-patient-gone": _Row(
        sentence='Metriport no longer knows the patient: "{detail}". Check the link, then set preparation again.',
        task=_FIX,
    ),
    "held-patient-opted-out": _Row(
        sentence='Metriport may not share for this patient: "{detail}". '
        "Settle that at Metriport, then set preparation again.",
        task=_FIX,
    ),
    "held-destination-unknown": _Row(
        sentence="No destination was found for the recipient ({why}). "
        "State one on the recipient, then set preparation again.",
        task=TaskCode.CHOOSE_DESTINATION,
    ),
    "held-destination-ambiguous": _Row(
        sentence="Several destinations fit the recipient ({count}). "
        "State one on the recipient, then set preparation again.",
        task=TaskCode.CHOOSE_DESTINATION,
    ),
    "held-document-preliminary": _Row(
        sentence="{where}: the document is {status}. Finish it, then set preparation again.", task=_FIX
    ),
    "held-restricted": _Row(
        sentence="{where} is labelled {label}; restricted content is not sent. "
        "Take it out or have its label changed, then set preparation again.",
        task=_FIX,
    ),
    "held-outcome-ambiguous": _Row(
        sentence="It could not be learned whether the message was sent: {why}. "
        "Compare with Metriport, then decide.",
        task=TaskCode.CONFIRM_OUTCOME,
    ),
    "delivery-failed": _Row(
        sentence='Metriport could not deliver the message: "{detail}". Set preparation to send it once more.'
    ),
    "delivery-unconfirmed": _Row(
        sentence="Metriport accepted the message, and after {hours} hours no acknowledgement has come. "
        "Ask the recipient whether it arrived; if not, set preparation with the instruction to resend.",
        task=TaskCode.CONFIRM_OUTCOME,
    ),
    "outcome-unknown": _Row(
        sentence="The message may or may not have been sent ({why}). "
        "The adapter asks Metriport; do not send it a second time."
    ),
    "waiting-for-metriport": _Row(
        sentence="Metriport could not take the message yet: {why}. It will be sent."
    ),
}

CODES: Final = frozenset(_TABLE)


def reason(code: Code, **facts: object) -> Reason:
    """The reason with its sentence for these facts.

    Raises:
        KeyError: the code is not in the closed list, or a fact that its sentence needs is missing.
    """
    return Reason(code=code, sentence=_TABLE[code].sentence.format(**facts))


def task_for(code: Code) -> TaskCode | None:
    """What a person is asked to do about it; `None` when nobody has to act on a Task."""
    return _TABLE[code].task


def sentence_of(code: Code) -> str:
    """The sentence as documented, with its places in braces."""
    return _TABLE[code].sentence
