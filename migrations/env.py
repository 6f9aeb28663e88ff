"""Alembic's entry: runs on a connection given by `db.database`, or on `alembic -x url=…`."""

import asyncio

from alembic import context
from sqlalchemy import Connection

from db.models import Base


def migrate(connection: Connection) -> None:
    """Run the migrations on `connection`."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        # SQLite's full-text table with those it keeps beside itself, Postgres's index in its place.
        include_name=lambda name, _type, _parents: not (name or "").startswith("search_fts"),
        # SQLite can alter a table only by copying it.
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_migrate(url: str) -> None:
    """Run the migrations on a database of our own."""
    from db.database import open_database

    database = open_database(url)
    await database.run(migrate)
    await database.close()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    asyncio.run(connect_and_migrate(context.get_x_argument(as_dictionary=True)["url"]))
