"""How Alembic runs: on the connection of `adapter.ledger.migrate`, in its transaction."""

from __future__ import annotations

from alembic import context

from adapter.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
