"""Blocking: an account that may not sign in, and whose waiting tickets are rejected when their turn comes."""

from webapp.accounts.owners import RoleRefused, locked_owners
from webapp.accounts.sessions import end_sessions
from webapp.log import Entry, record
from webapp.models import USER, User, utcnow
from webapp.stores.sql import db


def block(user_id: int, *, by: int | None) -> None:
    """End the sessions of an account, and take it out of every line when its turn comes. A repeat changes nothing.

    `by` is the operator, None for a command. Raises LookupError when there is no such account, and RoleRefused for the
    last owner, and for an operator where the account has a role: an owner takes that away first.
    """
    if _account(user_id, by).blocked_at is not None:
        db.session.rollback()  # a repeat must not move the time of the block
    else:
        end_sessions(user_id, entry=Entry(verb="block", by=by, user=user_id), blocked_at=utcnow())


def unblock(user_id: int, *, by: int | None) -> None:
    """Let a blocked account sign in again. A ticket that was rejected meanwhile stays rejected.

    Raises LookupError, and RoleRefused for an operator where the account has a role, as `block` does.
    """
    found = _account(user_id, by)
    if found.blocked_at is not None:
        found.blocked_at = None
        db.session.flush()
        record(db.session.connection(), "unblock", by=by, user=user_id)
    db.session.commit()


def _account(user_id: int, by: int | None) -> User:
    locked_owners()  # so that nobody gets a role meanwhile
    found = db.session.get(User, user_id, populate_existing=True)
    if found is not None and (by is None or found.role == USER):
        return found
    db.session.rollback()
    raise LookupError(user_id) if found is None else RoleRefused("has_role")
