"""The ledger's tables. Losing them loses no message (protocol §1)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

_UNSTORABLE: Final = "\x00"
_REPLACEMENT: Final = "\ufffd"


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime, read back in UTC.

    Chosen over numbers because people look into the table, and over `DateTime` alone because SQLite has no time
    zones: there it is UTC text of a fixed width, which sorts like the times do; PostgreSQL has `timestamptz`. Both
    keep microseconds.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Refuses a time without zone: nobody knows which moment it is.

        Raises:
            ValueError: the time is naive.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Words(TypeDecorator[str]):
    """Text of any origin. PostgreSQL takes no NUL and neither database lone surrogates, both of which JSON can bring."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        if value is None:
            return None
        return value.replace(_UNSTORABLE, _REPLACEMENT).encode("utf-8", "replace").decode("utf-8")


class Strings(TypeDecorator[tuple[str, ...]]):
    """A few strings in order, as a JSON array."""

    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, value: Sequence[str] | None, _dialect: Dialect) -> list[str]:
        return list(value or ())

    def process_result_value(self, value: list[str] | None, _dialect: Dialect) -> tuple[str, ...]:
        return tuple(value or ())


def _id() -> sa.Column[int]:
    # SQLite counts up only where the column is spelt INTEGER.
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)


def _words(name: str, **more: Any) -> sa.Column[str]:
    return sa.Column(name, Words, nullable=False, **more)


def _time(name: str, *, nullable: bool = True, index: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, UtcTime, nullable=nullable, index=index)


metadata: Final = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

transmissions: Final = sa.Table(
    "transmissions",
    metadata,
    _id(),
    _words("communication"),
    sa.Column("round", sa.Integer, nullable=False),
    _words("state", index=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("rank_priority", sa.Integer, nullable=False),
    _time("rank_since", nullable=False),
    _time("opened_at", nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    _words("token"),
    sa.Column("patient", Words),
    sa.Column("destination", Words),
    sa.Column("attachments", Strings, nullable=False),
    sa.Column("digest", Words),
    # One message of Metriport's belongs to one round: who comes second has to list again (protocol §6).
    sa.Column("message", Words, unique=True),
    sa.Column("reason_code", Words),
    sa.Column("reason_sentence", Words),
    sa.Column("note", Words),
    sa.Column("version", Words),
    _time("claimed_at"),
    _time("intent_at"),
    _time("sent_at"),
    _time("ended_at"),
    _time("due_at", index=True),
    _time("write_at", index=True),
    sa.Column("checks", sa.Integer, nullable=False),
    sa.UniqueConstraint("communication", "round"),
)

slots: Final = sa.Table(
    "slots",
    metadata,
    _id(),
    _words("account"),
    sa.Column("transmission", sa.ForeignKey("transmissions.id"), nullable=False),
    _time("started_at", nullable=False),
    _time("ended_at"),
    sa.Index(None, "account", "id"),
)

leases: Final = sa.Table(
    "leases",
    metadata,
    sa.Column("account", Words, primary_key=True),
    sa.Column("name", Words, primary_key=True),
    _words("holder"),
    _time("until", nullable=False),
)

deliveries: Final = sa.Table(
    "deliveries",
    metadata,
    _id(),
    _words("delivery_id", unique=True),
    _words("kind"),
    _time("received_at", nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Column("note", Words),
    sa.Column("message", Words, index=True),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    _time("due_at"),
    sa.Column("call", Words, index=True),
    sa.Index(None, "done", "received_at"),
)

arrivals: Final = sa.Table(
    "arrivals",
    metadata,
    _id(),
    _words("message", unique=True),
    _words("communication", unique=True),
    _words("state"),
    _time("at", nullable=False),
    sa.Column("patient", Words),
)

statuses: Final = sa.Table(
    "statuses",
    metadata,
    _id(),
    _words("message"),
    _words("state"),
    _time("at"),
    sa.Column("detail", Words),
    _time("kept_at", nullable=False),
    sa.UniqueConstraint("message", "state"),
)

timeline: Final = sa.Table(
    "timeline",
    metadata,
    _id(),
    _words("communication", index=True),
    sa.Column("round", sa.Integer, nullable=False),
    _time("at", nullable=False),
    _words("what"),
    sa.Column("note", Words),
)
