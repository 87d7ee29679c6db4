"""Builders for the client's tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx

from adapter.domain.attachment import Content
from adapter.domain.message import Send
from adapter.metriport.client import MetriportClient

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
KEY = "key-of-the-account"
PATIENT = "0190b1c2-0000-7000-8000-00000000000a"
BASE = "https://api.metriport.test"


def client(base_url: str = BASE, **changes: Any) -> MetriportClient:
    facts: dict[str, Any] = {"base_url": base_url, "api_key": KEY, "now": lambda: NOW}
    return MetriportClient(**facts | changes)


def answering(answer: Callable[[httpx.Request], httpx.Response], **changes: Any) -> MetriportClient:
    return client(over=httpx.MockTransport(answer), **changes)


def a_send(**body: Any) -> Send:
    facts = {"destination": "ward@direct.example", "subject": "Referral", "body": "Please see."}
    return Send(patient=PATIENT, body=facts | body)


def content(data: bytes = b"%PDF-1.7 pretend", **changes: Any) -> Content:
    facts = {"where": "payload[0].contentAttachment", "content_type": "application/pdf", "data": data}
    return Content(**facts | changes)


def always() -> bool:
    return True
