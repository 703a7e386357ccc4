"""The tables that a test may empty."""

from sqlalchemy import Table

from webapp.models import LogEntry, LogHead
from webapp.stores.sql import db

APPEND_ONLY = {LogEntry.__tablename__, LogHead.__tablename__}
"""The database refuses to delete from them, also to tests: what is written there stays while the tests run."""


def emptied_tables() -> list[Table]:
    """Return every other table; those that refer to others come first."""
    return [table for table in reversed(db.metadata.sorted_tables) if table.name not in APPEND_ONLY]
