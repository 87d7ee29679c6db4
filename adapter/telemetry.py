"""Logs and metrics. Neither holds patient content, keys or presigned URLs; events carry ids, codes and times."""

from __future__ import annotations

import logging
import sys
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

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
