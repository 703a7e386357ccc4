"""The owners: there is always one who can sign in, whatever two of them do in the same second."""

from sqlalchemy import select, update

from webapp.models import OWNER, User
from webapp.stores.sql import db


class RoleRefused(Exception):
    """Nothing was changed, and why: `code` is one of last_owner, no_owner, has_role, blocked, unknown, changed."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def locked_owners() -> list[int]:
    """Hold the rows of all owners until the transaction of the session ends; return the ids of those not blocked.

    Whatever may make an account an owner, or an owner none, comes here first. So two such changes never cross.
    """
    # An UPDATE takes the lock on every database; SQLite has no FOR UPDATE.
    db.session.execute(update(User).where(User.role == OWNER).values(role=User.role))
    able = select(User.id).where(User.role == OWNER, User.blocked_at.is_(None))
    return list(db.session.scalars(able))


def keep_an_owner(losing: int) -> None:
    """Raise RoleRefused if this account is the last owner who can sign in, and roll the session back.

    Otherwise the owners are held until the transaction ends.
    """
    if locked_owners() == [losing]:
        db.session.rollback()
        raise RoleRefused("last_owner")


def require_owner(user_id: int | None) -> None:
    """Raise RoleRefused if this account is no owner any more, and roll the session back. None is a command."""
    if user_id not in (None, *locked_owners()):
        db.session.rollback()
        raise RoleRefused("no_owner")
