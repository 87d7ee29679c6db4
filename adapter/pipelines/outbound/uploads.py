"""What was uploaded for a wish that is not claimed yet: when it is looked at again, nothing is uploaded twice."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Final

from adapter.domain.attachment import MOST_ATTACHMENTS, Content

_MOST: Final = 1000


@dataclass(frozen=True, kw_only=True)
class _Upload:
    patient: str
    content: Content = field(repr=False)  # with the digest for its bytes
    document: str


@dataclass(kw_only=True)
class Uploads:
    """Metriport's document ids by Communication, for this process, until its round is claimed or ends.

    A wish may wait for long: its claim is refused, or the lane stands still. It is then prepared again and again.
    """

    most: int = _MOST
    _kept: OrderedDict[str, list[_Upload]] = field(default_factory=OrderedDict)

    def find(self, communication: str, content: Content, *, patient: str) -> str | None:
        """The document that these very bytes became for this patient, with the same words about them."""
        digested = _digested(content)
        return next(
            (
                upload.document
                for upload in self._kept.get(communication, ())
                if (upload.patient, upload.content) == (patient, digested)
            ),
            None,
        )

    def keep(self, communication: str, content: Content, *, patient: str, document: str) -> None:
        """Remembers what was uploaded; of too many Communications the one that is longest there is forgotten."""
        upload = _Upload(patient=patient, content=_digested(content), document=document)
        kept = self._kept.setdefault(communication, [])
        kept.append(upload)
        del kept[:-MOST_ATTACHMENTS]
        while len(self._kept) > self.most:
            self._kept.popitem(last=False)

    def forget(self, communication: str) -> None:
        """Its round was claimed or ended: what a later one attaches is uploaded for that one."""
        self._kept.pop(communication, None)


def _digested(content: Content) -> Content:
    return replace(content, data=hashlib.sha256(content.data).digest())
