"""Puts the parts together. Clocks, randomness and settings enter here and nowhere below."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import httpx
from prometheus_client import generate_latest
from starlette.types import ASGIApp

from adapter.config import Settings, parse_marker
from adapter.domain.pacing import Pace
from adapter.domain.ranking import PRIORITIES, Rank
from adapter.errors import AdapterError, ConfigError
from adapter.fhir.client import FhirClient
from adapter.fhir.doorbell import ring
from adapter.ledger.insights import Insights, open_insights
from adapter.ledger.store import Store, open_ledger
from adapter.mapping.engine import Mappings
from adapter.metriport import webhook
from adapter.metriport.client import MetriportClient
from adapter.metriport.content import WebContent
from adapter.pipelines.outbound.context import Context, Policy
from adapter.pipelines.outbound.look import Sighting
from adapter.ports.clock import Clock
from adapter.ports.ledger import Delivery
from adapter.telemetry import Metrics
from adapter.web.app import Health, create_app
from adapter.worker import Rhythm, Worker

_FHIR_TIMEOUT = httpx.Timeout(20.0, connect=5.0)


class SystemClock:
    """This machine's clocks."""

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""
        return datetime.now(UTC)

    def boot(self) -> float:
        """Seconds since boot, sleep included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        """Waits at least that long."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, kw_only=True)
class Transports:
    """Where the calls go; `None` is the network. In-process neighbours give their own."""

    fhir: httpx.AsyncBaseTransport | None = None
    metriport: httpx.AsyncBaseTransport | None = None
    web: httpx.AsyncBaseTransport | None = None


@dataclass(kw_only=True)
class Adapter:
    """One process: its settings, its parts, its worker, and what it serves."""

    settings: Settings
    context: Context
    ledger: Store
    insights: Insights
    fhir: FhirClient
    metriport: MetriportClient
    worker: Worker
    metrics: Metrics = field(default_factory=Metrics)

    @property
    def app(self) -> ASGIApp:
        """The ASGI application."""
        return create_app(self)

    async def webhook(self, raw: bytes, *, signature: str | None) -> bytes:
        """Verifies and keeps a delivery; gives the body of the 200 once it is committed."""
        keys = [key.get_secret_value() for key in self.settings.metriport.webhook_keys]
        webhook.verify(raw, signature, keys)
        event = webhook.read(raw)
        if isinstance(event, webhook.Ping):
            return event.pong
        await self.ledger.keep(
            Delivery(
                delivery_id=event.delivery_id,
                kind=event.kind,
                received_at=self.context.clock.now(),
                body=raw,
            )
        )
        self.worker.post()
        return b"{}"

    def doorbell(self, path: str, headers: dict[str, str]) -> None:
        """Rings, after the secret was checked."""
        rung = ring(path, headers, secret=self.settings.watch.doorbell_secret.get_secret_value())
        if rung.communication is None:
            self.worker.ring(None)
            return
        rank = Rank(priority=len(PRIORITIES) - 1, since=self.context.clock.now())
        self.worker.ring(Sighting(id=rung.communication, rank=rank))

    async def health(self) -> list[Health]:
        """The ledger must answer; a stopped lane is said, and does not take the webhook out of service."""
        try:
            await self.insights.summary(now=self.context.clock.now())
        except AdapterError as error:
            ledger = Health(name="ledger", ok=False, detail=type(error).__name__)
        else:
            ledger = Health(name="ledger", ok=True, detail="answers")
        stopped = self.worker.lane.stopped
        return [ledger, Health(name="lane", ok=True, detail=f"stopped: {stopped}" if stopped else "open")]

    async def metrics_text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        summary = await self.insights.summary(now=self.context.clock.now())
        for state, count in summary.counts.items():
            self.metrics.transmissions.labels(state=state.value).set(count)
        self.metrics.waiting.set(summary.deliveries)
        self.metrics.unknown_seconds.set(summary.unknown_seconds)
        self.metrics.lane_stopped.set(1 if self.worker.lane.stopped else 0)
        self.metrics.queue_length.set(len(self.worker.queue))
        return generate_latest(self.metrics.registry)


def policy_of(settings: Settings) -> Policy:
    """What the site decided, in the pipelines' words."""
    return Policy(
        marker=parse_marker(settings.watch.marker),
        extra_search=tuple(parse_qsl(settings.watch.extra, keep_blank_values=True)),
        default_subject=settings.mappings.default_subject,
        plain_email=settings.recipients.plain_email,
        long_body=settings.mappings.long_body,
        allowed_origins=frozenset(origin.rstrip("/") for origin in settings.attachments.allowed_origins),
        pace=Pace(sends_per_minute=settings.metriport.sends_per_minute),
        list_lag=timedelta(seconds=settings.metriport.list_lag_seconds),
        unconfirmed_after=timedelta(hours=settings.metriport.unconfirmed_after_hours),
    )


@asynccontextmanager
async def neighbours(
    settings: Settings, clock: Clock, transports: Transports
) -> AsyncIterator[tuple[FhirClient, MetriportClient, WebContent]]:
    """The clients of both neighbours and of the web, closed at the end.

    Raises:
        ConfigError: a base URL or a key cannot be used.
    """
    key = settings.metriport.api_key.get_secret_value()
    if not key:
        raise ConfigError("metriport.api_key is not set. Set ADAPTER_METRIPORT__API_KEY, or …API_KEY_FILE.")
    authorization = settings.fhir.authorization
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            httpx.AsyncClient(transport=transports.fhir, timeout=_FHIR_TIMEOUT, trust_env=False)
        )
        fhir = FhirClient(
            http,
            settings.fhir.base_url,
            authorization=authorization.get_secret_value() if authorization else None,
            now=clock.now,
        )
        metriport = await stack.enter_async_context(
            MetriportClient(
                base_url=settings.metriport.base_url, api_key=key, now=clock.now, over=transports.metriport
            )
        )
        web = await stack.enter_async_context(WebContent(now=clock.now, over=transports.web))
        yield fhir, metriport, web


@asynccontextmanager
async def adapter(
    settings: Settings,
    *,
    clock: Clock | None = None,
    transports: Transports | None = None,
    rhythm: Rhythm | None = None,
) -> AsyncIterator[Adapter]:
    """The adapter with everything open; the caller runs `worker.run()` and serves `app`.

    Raises:
        ConfigError: a setting is wrong, or another process has the ledger.
        Temporary: the ledger cannot be reached.
    """
    ticking = clock or SystemClock()
    async with AsyncExitStack() as stack:
        fhir, metriport, web = await stack.enter_async_context(
            neighbours(settings, ticking, transports or Transports())
        )
        ledger = await stack.enter_async_context(open_ledger(settings.ledger.url, now=ticking.now()))
        insights = await stack.enter_async_context(open_insights(settings.ledger.url))
        context = Context(
            fhir=fhir,
            messages=metriport,
            documents=metriport,
            web=web,
            mappings=Mappings(directory=settings.mappings.directory),
            ledger=ledger,
            clock=ticking,
            policy=policy_of(settings),
            life=uuid.uuid4().hex[:12],
            nonce=lambda: secrets.token_hex(6),
        )
        worker = Worker(
            context=context,
            read_delivery=webhook.final_status,
            rhythm=rhythm or Rhythm(sweep=settings.watch.sweep_seconds, patrol=settings.watch.patrol_seconds),
        )
        yield Adapter(
            settings=settings,
            context=context,
            ledger=ledger,
            insights=insights,
            fhir=fhir,
            metriport=metriport,
            worker=worker,
        )
