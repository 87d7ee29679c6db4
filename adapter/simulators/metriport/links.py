"""Presigned links: the path and the end of their life, signed; no other credentials."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime


def signed(base: str, path: str, ends: datetime) -> str:
    """A link that counts until then."""
    stamp = f"{ends.timestamp():.3f}"
    return f"{base}{path}?expires={stamp}&signature={_signature(path, stamp)}"


def is_valid(path: str, query: dict[str, str], now: datetime) -> bool:
    """Whether a link is ours and has not ended."""
    stamp = query.get("expires", "")
    stated = query.get("signature", "").encode("utf-8", "surrogatepass")
    # The stamp is a number once the signature fits, and only then.
    return hmac.compare_digest(_signature(path, stamp).encode(), stated) and float(stamp) > now.timestamp()


def _signature(path: str, stamp: str) -> str:
    signed_text = f"{path}\n{stamp}".encode("utf-8", "surrogatepass")
    return hmac.new(b"presigned", signed_text, hashlib.sha256).hexdigest()
