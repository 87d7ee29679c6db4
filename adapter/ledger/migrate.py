"""Brings the tables to the newest revision."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from adapter.errors import ConfigError
from adapter.ledger.database import Database

_SCRIPTS: Final = Path(__file__).parent / "migrations"
# Any number, as long as every replica takes the same.
_LOCK: Final = 0x4D50_4C45


async def migrate(database: Database) -> None:
    """Runs what is missing, all or nothing; replicas that start together wait for each other.

    Raises:
        ConfigError: a newer version of the adapter has written this ledger.
    """
    async with database.writing() as connection:
        await connection.run_sync(_upgrade)


async def check_revision(database: Database) -> None:
    """Whether the tables are this version's, without changing them.

    Raises:
        ConfigError: they are not.
    """
    async with database.reading() as connection:
        found = await connection.run_sync(_revision)
    wanted = ScriptDirectory.from_config(_config()).get_current_head()
    if found != wanted:
        raise ConfigError(
            f"the ledger is at revision {found}, this version of the adapter reads {wanted}; `run` of this version "
            "brings an older one up to date"
        )


def _revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


def _upgrade(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    config = _config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigError(
            f"the ledger was written by a newer version of the adapter ({error}). Install that version, or start with "
            "an empty ledger: it is rebuilt from the FHIR server."
        ) from None
