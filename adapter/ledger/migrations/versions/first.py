"""The first tables."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op

revision: Final = "first"
down_revision: Final = None


def upgrade() -> None:
    """Makes all tables."""
    op.create_table(
        "transmissions",
        _id(),
        _text("communication"),
        _number("round"),
        _text("state"),
        _number("generation"),
        _number("rank_priority"),
        _time("rank_since", nullable=False),
        _time("opened_at", nullable=False),
        _number("attempt"),
        _text("token"),
        _text("patient", nullable=True),
        _text("destination", nullable=True),
        sa.Column("attachments", sa.JSON, nullable=False),
        _text("digest", nullable=True),
        _text("message", nullable=True),
        _text("reason_code", nullable=True),
        _text("reason_sentence", nullable=True),
        _text("note", nullable=True),
        _text("version", nullable=True),
        _time("claimed_at"),
        _time("intent_at"),
        _time("sent_at"),
        _time("ended_at"),
        _time("due_at"),
        _time("write_at"),
        _number("checks"),
        sa.PrimaryKeyConstraint("id", name="pk_transmissions"),
        sa.UniqueConstraint("message", name="uq_transmissions_message"),
        sa.UniqueConstraint("communication", "round", name="uq_transmissions_communication_round"),
    )
    for column in ("state", "due_at", "write_at"):
        op.create_index(f"ix_transmissions_{column}", "transmissions", [column])
    op.create_table(
        "slots",
        _id(),
        _text("account"),
        sa.Column("transmission", _big(), nullable=False),
        _time("started_at", nullable=False),
        _time("ended_at"),
        sa.PrimaryKeyConstraint("id", name="pk_slots"),
        sa.ForeignKeyConstraint(["transmission"], ["transmissions.id"], name="fk_slots_transmission"),
    )
    op.create_index("ix_slots_account_id", "slots", ["account", "id"])
    op.create_table(
        "lane",
        _text("account"),
        _text("holder", nullable=True),
        _time("until"),
        sa.PrimaryKeyConstraint("account", name="pk_lane"),
    )
    op.create_table(
        "deliveries",
        _id(),
        _text("delivery_id"),
        _text("kind"),
        _time("received_at", nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
        _text("note", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint("delivery_id", name="uq_deliveries_delivery_id"),
    )
    op.create_index("ix_deliveries_done_received_at", "deliveries", ["done", "received_at"])
    op.create_table(
        "statuses",
        _id(),
        _text("message"),
        _text("state"),
        _time("at"),
        _text("detail", nullable=True),
        _time("kept_at", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_statuses"),
        sa.UniqueConstraint("message", "state", name="uq_statuses_message_state"),
    )
    op.create_table(
        "timeline",
        _id(),
        _text("communication"),
        _number("round"),
        _time("at", nullable=False),
        _text("what"),
        _text("note", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_timeline"),
    )
    op.create_index("ix_timeline_communication", "timeline", ["communication"])


def _big() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _id() -> sa.Column[Any]:
    return sa.Column("id", _big(), nullable=False)


def _text(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _number(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, nullable=False)


def _time(name: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)
