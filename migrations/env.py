"""Runs the migrations on the app's own engine, so that they have the same session settings as the app."""

from pathlib import Path

from alembic import context
from flask import current_app

database = current_app.extensions["migrate"].db


def run() -> None:
    # The first `make run` migrates before anything else has made the directory.
    if database.engine.dialect.name == "sqlite":
        Path(database.engine.url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with database.engine.connect() as connection:
        context.configure(connection=connection, target_metadata=database.metadata, compare_type=True)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    raise SystemExit("these migrations need a database to run on")
run()
