"""Received messages, and deliveries that are worked on more than once."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "received"
down_revision: Final = "first"


def upgrade() -> None:
    """Adds what working on received messages needs."""
    op.add_column("deliveries", sa.Column("message", sa.Text))
    op.add_column("deliveries", sa.Column("tries", sa.Integer, nullable=False, server_default="0"))
    op.add_column("deliveries", sa.Column("due_at", sa.DateTime(timezone=True)))
    op.create_index("ix_deliveries_message", "deliveries", ["message"])
    op.create_table(
        "arrivals",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("communication", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("patient", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_arrivals"),
        sa.UniqueConstraint("message", name="uq_arrivals_message"),
        sa.UniqueConstraint("communication", name="uq_arrivals_communication"),
    )
