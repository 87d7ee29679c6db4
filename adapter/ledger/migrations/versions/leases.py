"""Several adapters share more than the lane."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "leases"
down_revision: Final = "calls"


def upgrade() -> None:
    """Makes leases by name; the one of the lane stays with who has it."""
    until = sa.DateTime(timezone=True)
    op.create_table(
        "leases",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("until", until, nullable=False),
        sa.PrimaryKeyConstraint("account", "name", name="pk_leases"),
    )
    op.execute(
        "INSERT INTO leases (account, name, holder, until) "
        "SELECT account, 'lane', holder, until FROM lane WHERE holder IS NOT NULL"
    )
    op.drop_table("lane")
