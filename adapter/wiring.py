"""Puts the parts together. Clocks, randomness and settings enter here and nowhere below."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import parse_qsl

import httpx
import structlog
from prometheus_client import generate_latest
from starlette.types import ASGIApp

from adapter.config import Settings, parse_marker
from adapter.domain.episode import Episodes, nobody_hears
from adapter.domain.pacing import Pace
from adapter.domain.ranking import Rank
from adapter.domain.received import Notice, Received
from adapter.domain.resource import Resource
from adapter.errors import AdapterError, ConfigError
from adapter.fhir.client import FhirClient
from adapter.fhir.doorbell import ring
from adapter.fhir.probe import Probe, Probed, probe
from adapter.fhir.subscription import Outcome, ensure, renew, wanted
from adapter.ledger.clock import SharedClock
from adapter.ledger.insights import Insights, open_insights
from adapter.ledger.store import Store, open_ledger
from adapter.loops import forever
from adapter.mapping.engine import Mappings
from adapter.metriport import lifted, received, webhook, wire
from adapter.metriport.client import MetriportClient
from adapter.metriport.content import WebContent
from adapter.metriport.spool import spool
from adapter.pipelines.inbound import context as inbound
from adapter.pipelines.outbound.context import Context, Policy
from adapter.pipelines.outbound.look import Sighting
from adapter.pipelines.outbound.unknown import SETTLE
from adapter.pipelines.share import Share
from adapter.ports.clock import Clock
from adapter.ports.ledger import Delivery
from adapter.ports.mail import Mail, Spooled
from adapter.ports.metriport import Web
from adapter.telemetry import Metrics
from adapter.web.app import Health, create_app
from adapter.worker import Rhythm, Worker

_log = structlog.get_logger(__name__)

_DOORBELL_SECONDS = 300.0
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
    clock: SharedClock
    metrics: Metrics

    @property
    def app(self) -> ASGIApp:
        """The ASGI application."""
        return create_app(self)

    async def probe(self) -> Probed:
        """Tries what the FHIR server can do; one that gives all ids itself is written to accordingly from now on.

        Raises:
            Temporary: it does not answer.
        """
        probed = await probe(self.fhir, self.context.policy.marker, by=self.context.life)
        self.fhir.assigns_ids = probed.ok(Probe.UPDATE_AS_CREATE) is False
        return probed

    async def webhook(self, raw: bytes, *, signature: str | None) -> bytes:
        """Verifies and keeps a delivery; gives the body of the 200 once it is committed."""
        keys = [key.get_secret_value() for key in self.settings.metriport.webhook_keys]
        webhook.verify(raw, signature, keys)
        event, now = webhook.read(raw), self.context.clock.now()
        webhook.refuse_the_future(event, now=now)
        pong = event.pong if isinstance(event, webhook.Ping) else None
        if pong is None:
            await self.ledger.keep(
                Delivery(delivery_id=event.delivery_id, kind=event.kind, received_at=now, body=raw)
            )
            self.worker.post()
        self.metrics.deliveries.labels(kind=event.counted_as).inc()
        return pong or b"{}"

    def doorbell(self, path: str, headers: dict[str, str]) -> None:
        """Rings, after the secret was checked."""
        rung = ring(path, headers, secret=self.settings.watch.doorbell_secret.get_secret_value())
        if rung.communication is None:
            self.worker.ring(None)
            return
        # Not known yet, so it is looked at first: a look costs one read.
        rank = Rank(priority=-1, since=self.context.clock.now())
        self.worker.ring(Sighting(id=rung.communication, rank=rank))

    async def keep_doorbell(self) -> None:
        """Sees to the Subscription for ever: creates it, and repairs it when somebody changed or stopped it."""
        if self.settings.watch.doorbell == "off":
            return
        await forever(
            "doorbell",
            self._see_to_doorbell,
            seconds=_DOORBELL_SECONDS,
            now=self.context.clock.now,
            bell=self.worker.silence,
        )

    async def _see_to_doorbell(self) -> None:
        bell, wanted = self.worker.bell, wanted_subscription(self.settings)
        ensured = await (renew if bell.is_silent else ensure)(self.fhir, wanted)
        if ensured.outcome is not Outcome.KEPT or not bell.listens:
            bell.was_seen_to(now=self.context.clock.boot())
        if ensured.outcome is not Outcome.KEPT:
            self.metrics.doorbell_repairs.inc()
            _log.info("doorbell.seen-to", outcome=ensured.outcome.value, subscription=ensured.id)

    async def health(self) -> list[Health]:
        """The ledger must answer; a stopped lane is said, and does not take the webhook out of service."""
        try:
            await self.insights.summary(now=self.context.clock.now())
        except AdapterError as error:
            ledger = Health(name="ledger", ok=False, detail=type(error).__name__)
        else:
            ledger = Health(name="ledger", ok=True, detail="answers")
        stopped = self.worker.lane.stopped
        lane = Health(name="lane", ok=True, detail=f"stopped: {stopped}" if stopped else "open")
        # What comes in is kept meanwhile: a neighbour's trouble takes nothing out of service.
        episodes = self.worker.episodes.each()
        calls = [Health(name=f"{one.name}.calls", ok=True, detail=one.sentence) for one in episodes]
        return [ledger, lane, *calls]

    async def metrics_text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        summary = await self.insights.summary(now=self.context.clock.now())
        for state, count in summary.counts.items():
            self.metrics.transmissions.labels(state=state.value).set(count)
        self.metrics.waiting.set(summary.deliveries)
        self.metrics.unknown_seconds.set(summary.unknown_seconds)
        self.metrics.lane_stopped.set(1 if self.worker.lane.stopped else 0)
        self.metrics.set_aside.set(len(self.worker.lane.aside))
        self.metrics.queue_length.set(len(self.worker.queue))
        self.metrics.failing.set(self.worker.queue.failing)
        self.metrics.show(self.worker.episodes)
        return generate_latest(self.metrics.registry)


def wanted_subscription(settings: Settings) -> Resource:
    """The Subscription that rings at this adapter.

    Raises:
        ConfigError: the address or the secret cannot be used.
    """
    policy = policy_of(settings)
    return wanted(
        policy.marker,
        public_url=settings.public_url,
        secret=settings.watch.doorbell_secret.get_secret_value(),
        payload=settings.watch.doorbell_payload,
        extra=policy.extra_search,
    )


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
        after_unknown=settings.metriport.after_unknown,
        reference_line=settings.metriport.reference_line,
        list_lag=timedelta(seconds=settings.metriport.list_lag_seconds),
        unconfirmed_after=timedelta(hours=settings.metriport.unconfirmed_after_hours),
    )


def inbound_of(context: Context, settings: Settings, *, mail: Mail, web: Web) -> inbound.Context:
    """What the inbound steps work with, beside the outbound ones."""
    return inbound.Context(
        fhir=context.fhir,
        web=web,
        mail=mail,
        spool=partial(spool, folder=settings.inbound.spool_directory),
        mappings=context.mappings,
        ledger=context.ledger,
        share=context.share,
        clock=context.clock,
        policy=inbound.Inbound(
            marker=context.policy.marker,
            external_id_system=settings.patients.external_id_system,
            most_bytes=settings.inbound.most_bytes,
            elsewhere=settings.inbound.sent_elsewhere,
            settle=SETTLE + context.policy.list_lag,
        ),
        read=inbound.Readers(notice=_notice, content=_received, listed=_listed, delivery=webhook.made_anew),
    )


def _notice(raw: bytes) -> Notice | None:
    return (
        Notice(links=event.links, patient=event.patient, external_id=event.external_id, named=event.named)
        if isinstance(event := webhook.read(raw), webhook.ReceivedEvent)
        else None
    )


def _received(content: Spooled, *, named: str | None) -> Received | None:
    return received.read(lifted.read(content.read_at), named=named)


def _listed(row: bytes) -> Received | None:
    return received.read(wire.read_json(row))


@asynccontextmanager
async def neighbours(
    settings: Settings, clock: Clock, transports: Transports, *, episodes: Episodes | None = None
) -> AsyncIterator[tuple[FhirClient, MetriportClient, WebContent]]:
    """The clients of both neighbours and of the web, closed at the end; `episodes` hear of the calls.

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
            hear=episodes.fhir.hear if episodes else nobody_hears,
        )
        metriport = await stack.enter_async_context(
            MetriportClient(
                base_url=settings.metriport.base_url,
                api_key=key,
                now=clock.now,
                over=transports.metriport,
                hear=episodes.metriport.hear if episodes else nobody_hears,
            )
        )
        # Which origins an author may name is in the policy; a link of a received message gets no farther by it.
        web = await stack.enter_async_context(
            WebContent(
                now=clock.now,
                over=transports.web,
                hosts=frozenset(),
                trusted_origins=settings.attachments.allowed_origins,
            )
        )
        yield fhir, metriport, web


def links_of(settings: Settings, *, clock: Clock, transports: Transports) -> WebContent:
    """Where the links of received messages may lead."""
    return WebContent(
        now=clock.now,
        over=transports.web,
        private=settings.inbound.allow_private_addresses,
        hosts=frozenset(settings.inbound.allowed_hosts) or None,
    )


@asynccontextmanager
async def context_of(
    settings: Settings,
    *,
    ledger_url: str,
    clock: Clock,
    transports: Transports,
    episodes: Episodes | None = None,
) -> AsyncIterator[tuple[Context, Store, FhirClient, MetriportClient]]:
    """What the pipelines work with, over the ledger at that URL; closed at the end. Raises as `adapter` does."""
    async with AsyncExitStack() as stack:
        fhir, metriport, web = await stack.enter_async_context(
            neighbours(settings, clock, transports, episodes=episodes)
        )
        hear = episodes.ledger.hear if episodes else nobody_hears
        ledger = await stack.enter_async_context(open_ledger(ledger_url, now=clock.now(), hear=hear))
        life = uuid.uuid4().hex[:12]
        context = Context(
            fhir=fhir,
            messages=metriport,
            documents=metriport,
            web=web,
            mappings=Mappings(directory=settings.mappings.directory),
            ledger=ledger,
            clock=clock,
            policy=policy_of(settings),
            life=life,
            share=Share(leases=ledger, clock=clock, life=life),
            nonce=lambda: secrets.token_hex(6),
        )
        yield context, ledger, fhir, metriport


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
    shared, transports = SharedClock(clock or SystemClock()), transports or Transports()
    metrics = Metrics()
    episodes = Episodes.watched(boot=shared.boot, say=metrics.say)
    async with (
        context_of(
            settings,
            ledger_url=settings.ledger.url,
            clock=shared,
            transports=transports,
            episodes=episodes,
        ) as (context, ledger, fhir, metriport),
        links_of(settings, clock=shared, transports=transports) as web,
        open_insights(settings.ledger.url) as insights,
    ):
        await shared.look(ledger)
        yield Adapter(
            settings=settings,
            clock=shared,
            context=context,
            ledger=ledger,
            insights=insights,
            fhir=fhir,
            metriport=metriport,
            metrics=metrics,
            worker=Worker(
                context=context,
                episodes=episodes,
                inbound=inbound_of(context, settings, mail=metriport, web=web),
                read_delivery=webhook.final_status,
                rhythm=rhythm
                or Rhythm(
                    sweep=settings.watch.sweep_seconds,
                    answers=settings.watch.sweep_seconds,
                    patrol=settings.watch.patrol_seconds,
                    reconcile=settings.inbound.reconcile_seconds,
                ),
            ),
        )
