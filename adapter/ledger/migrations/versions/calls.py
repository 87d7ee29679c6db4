"""By which of Metriport's calls a delivery can be made anew."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "calls"
down_revision: Final = "received"


def upgrade() -> None:
    """Adds what is remembered of the call that a delivery was made anew from."""
    op.add_column("deliveries", sa.Column("call", sa.Text))
    op.create_index("ix_deliveries_call", "deliveries", ["call"])
