"""The addresses of accounts by their ids, and the other way round."""

from collections.abc import Iterable

from sqlalchemy import select

from webapp.models import User
from webapp.stores.sql import db

LONGEST_ID = 18
"""The most digits of an id that every database takes."""


def names_of(ids: Iterable[int | None]) -> dict[int, str]:
    """Return the addresses of accounts, by id; a deleted account has none. Raises SQLAlchemyError."""
    wanted = {user_id for user_id in ids if user_id is not None}
    with db.engine.connect() as connection:
        found = connection.execute(select(User.id, User.email).where(User.id.in_(wanted)))
        return {row.id: row.email for row in found}


def account_of(typed: str) -> int | None:
    """Return the id of the account with that address, or the number that was typed: a deleted account has no more.

    None when there is no such account. Raises SQLAlchemyError.
    """
    if typed.isascii() and typed.isdigit() and len(typed) <= LONGEST_ID:
        return int(typed)
    with db.engine.connect() as connection:
        return connection.scalar(select(User.id).where(User.email == typed))
