"""How Alembic runs: on the connection of `adapter.ledger.migrate`, in its transaction."""

from __future__ import annotations

from alembic import context

from adapter.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can take back DDL as well, since the ledger's connections begin their transactions themselves.
    transactional_ddl=True,
)
context.run_migrations()
