"""Logs and metrics. Neither holds patient content, keys or presigned URLs; events carry ids, codes and times."""

from __future__ import annotations

import logging
import sys
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from adapter.domain.episode import Episode, Episodes

_log = structlog.get_logger(__name__)

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

# Libraries that print whole URLs, headers or SQL parameters at their lower levels.
_TALKATIVE: Final = (
    "httpx",
    "httpcore",
    "sqlalchemy",
    "aiosqlite",
    "uvicorn",
    "alembic",
    "fhirpy",
    "asyncio",
)


def configure(*, level: str, style: str) -> None:
    """Sends all log lines to standard error, one JSON object or one readable line each."""
    least = _LEVELS[level]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(least)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(least, logging.WARNING))


class Metrics:
    """What `/metrics` shows, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.transmissions = Gauge(
            "adapter_transmissions",
            "Transmissions in the ledger by state.",
            ["state"],
            registry=self.registry,
        )
        self.waiting = Gauge(
            "adapter_deliveries_waiting", "Webhook deliveries that want work.", registry=self.registry
        )
        self.lane_stopped = Gauge(
            "adapter_lane_stopped",
            "1 while the account is refused and nothing is sent.",
            registry=self.registry,
        )
        self.set_aside = Gauge(
            "adapter_sends_set_aside",
            "Claims that wait beside the lane, each for a trouble of its own.",
            registry=self.registry,
        )
        self.unknown_seconds = Gauge(
            "adapter_unknown_outcome_seconds", "Age of the oldest unknown outcome.", registry=self.registry
        )
        self.queue_length = Gauge(
            "adapter_queue_length", "Communications waiting to be prepared.", registry=self.registry
        )
        self.failing = Gauge(
            "adapter_communications_failing",
            "Communications that are tried again later; their timeline says why.",
            registry=self.registry,
        )
        self.deliveries = Counter(
            "adapter_deliveries",
            "Webhook calls that were taken, by Metriport's type; others under `other`.",
            ["kind"],
            registry=self.registry,
        )
        self.trouble_seconds = Gauge(
            "adapter_neighbour_trouble_seconds",
            "How long the neighbour cannot be worked with; 0 while it can.",
            ["neighbour"],
            registry=self.registry,
        )
        self.episodes = Counter(
            "adapter_neighbour_episodes",
            "Times that a neighbour could not be worked with for a while.",
            ["neighbour"],
            registry=self.registry,
        )
        self.doorbell_repairs = Counter(
            "adapter_doorbell_repairs",
            "Times that the doorbell's Subscription was not there, changed, or silent, and was written anew.",
            registry=self.registry,
        )

    def say(self, episode: Episode) -> None:
        """Counts an episode and has it in the log: one line when it begins, one when it ends."""
        if episode.is_open:
            self.episodes.labels(neighbour=episode.name).inc()
            _log.warning("neighbour.trouble", neighbour=episode.name, why=episode.why)
            return
        _log.info(
            "neighbour.well",
            neighbour=episode.name,
            seconds=round(episode.seconds),
            failures=episode.failures,
        )

    def show(self, episodes: Episodes) -> None:
        """Brings the figures of the neighbours up to date."""
        for episode in episodes.each():
            seconds = episode.seconds if episode.is_open else 0.0
            self.trouble_seconds.labels(neighbour=episode.name).set(seconds)
