"""Roles: what each may do, and how an account comes to one."""

from typing import Any

from sqlalchemy import select

from webapp.accounts.granting import second_owner
from webapp.accounts.owners import RoleRefused, require_owner
from webapp.accounts.sessions import end_sessions
from webapp.log import Entry
from webapp.models import OPERATOR, OWNER, ROLES, TILL, USER, VIEWER, User
from webapp.proposals.rule import Deed, ProposalRefused
from webapp.stores.sql import db

LOOK, CHANGE, REDEEM, TEAM, QUEUE = "look", "change", "redeem", "team", "queue"
RIGHTS: dict[str, frozenset[str]] = {
    LOOK: frozenset({OWNER, OPERATOR, VIEWER}),
    CHANGE: frozenset({OWNER, OPERATOR}),
    REDEEM: frozenset({OWNER, OPERATOR, TILL}),
    TEAM: frozenset({OWNER}),
    QUEUE: frozenset({OWNER}),
}
"""Which roles have a right: to see the console, to change what is in it, to see and use codes, to give roles, and to
look after the queue and the workers."""


def may(role: str, right: str) -> bool:
    """Say whether a role has a right of RIGHTS."""
    return role in RIGHTS[right]


def rights_of(role: str) -> set[str]:
    return {right for right in RIGHTS if may(role, right)}


def give_role(
    user_id: int, role: str, *, by: int | None, seen: str | None = None, confirms: int | None = None
) -> bool:
    """Give an account a role, USER for none, and end its sessions. Return whether that changed anything.

    `by` is the owner, None for a command; `seen` is the role that the owner saw, None if any will do; `confirms` is the
    id of the proposal that this confirms. Raises RoleRefused and changes nothing when `by` is no owner any more, the
    account is blocked or unknown or has another role than was seen, or when it is the last owner; Waits, and changes
    nothing, when another owner has to confirm it. A repeat changes nothing.
    """
    require_owner(by)
    user = db.session.get(User, user_id, populate_existing=True)
    if why := _why_not(user, role, seen):
        db.session.rollback()
        raise RoleRefused(why)
    if user is None or user.role == role:
        db.session.rollback()
        if confirms is not None:
            raise ProposalRefused("changed")
        return False
    both = _second_owner(user, role, by, confirms)
    after = {"role": role, **both}
    entry = Entry(verb="grant role", by=by, user=user_id, before={"role": user.role}, after=after)
    end_sessions(user_id, entry=entry, role=role)
    return True


def _second_owner(user: User, role: str, by: int | None, confirms: int | None) -> dict[str, Any]:
    """Have a role that adds a right wait for another owner. To take rights away protects, and waits for nobody."""
    if confirms is None and rights_of(role) <= rights_of(user.role):
        return {}
    facts: dict[str, Any] = {"user": user.id, "seen": user.role, "before": {"role": user.role}}
    deed = Deed(verb="grant role", roles=RIGHTS[TEAM], arguments={"role": role}, **facts)
    return second_owner(deed, by=by, confirms=confirms)


def team() -> list[User]:
    """Return the accounts with a role, owners first."""
    order = {role: number for number, role in enumerate(ROLES)}
    found = list(db.session.scalars(select(User).where(User.role.in_(ROLES)).order_by(User.id)))
    db.session.close()
    return sorted(found, key=lambda user: order[user.role])


def _why_not(user: User | None, role: str, seen: str | None) -> str | None:
    if user is None or user.rehearsal:
        return "unknown"
    if user.role == role:
        return None
    if seen not in (None, user.role):
        return "changed"
    return "blocked" if user.blocked_at and role != USER else None
