"""What the outbound steps work with: the ports, the site's policy, and who this process is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from adapter.domain.marker import Marker
from adapter.domain.pacing import Pace
from adapter.pipelines.outbound.uploads import Uploads
from adapter.pipelines.share import Share
from adapter.ports.clock import Clock
from adapter.ports.fhir import FhirServer
from adapter.ports.ledger import Ledger
from adapter.ports.mappings import Mappings
from adapter.ports.metriport import Documents, Messages, Web


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a site decides. The defaults are those of the settings."""

    marker: Marker = field(default_factory=Marker)
    extra_search: tuple[tuple[str, str], ...] = ()
    default_subject: str | None = None
    plain_email: bool = False
    long_body: Literal["refuse", "attach"] = "refuse"
    allowed_origins: frozenset[str] = frozenset()
    pace: Pace = field(default_factory=Pace)
    after_unknown: Literal["resend", "hold"] = "resend"
    reference_line: bool = False
    list_lag: timedelta = timedelta(seconds=120)
    unconfirmed_after: timedelta = timedelta(hours=72)
    given_up_after: timedelta = timedelta(days=30)


@dataclass(frozen=True, kw_only=True)
class Context:
    """Everything an outbound step may touch. `life` names this process's life, `nonce` gives a new random word."""

    fhir: FhirServer
    messages: Messages
    documents: Documents
    web: Web
    mappings: Mappings
    ledger: Ledger
    clock: Clock
    policy: Policy
    life: str
    share: Share
    nonce: Callable[[], str]
    uploads: Uploads = field(default_factory=Uploads)
