"""The decisions about proposals: another operator confirms or declines one, and who made it withdraws it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, exists, select

from webapp.accounts.invitations import open_proposed, withdraw_proposed
from webapp.accounts.roles import CHANGE, RIGHTS, TEAM, give_role
from webapp.log import record
from webapp.models import Coupon, CouponRow, Invitation, Upload, User
from webapp.models.proposals import CONFIRMED, DECLINED, WITHDRAWN
from webapp.models.uploads import CHECKED
from webapp.proposals.reading import arguments_of, open_proposals, proposal_by_id
from webapp.proposals.rule import (
    ProposalRefused,
    decide,
    raise_if_decided,
    raise_unless_other,
    raise_without_right,
    taken,
)
from webapp.sale import bulk_revoking, pools, two_people
from webapp.sale.coupons import change_coupon
from webapp.stores.sql import db


@dataclass(frozen=True)
class ByTwo:
    """How a verb is decided by two: the right that both need, its doing, and the state of its subject now."""

    right: str
    do: Callable[[Row[Any], int], object]
    seen_now: Callable[[Row[Any]], str | None]


def confirm_proposal(proposal_id: int, *, by: int) -> None:
    """Do what a proposal asks for, with the same verb as without the rule. `by` is another operator.

    The proposal is confirmed in the transaction that does it, so of two who confirm at once one does; a list is revoked
    afterwards, and `finish_proposal` does what is left of it. Raises ProposalRefused, InvalidField, RoleRefused or
    NotCounted, and then nothing was changed; after the commit what the verb raises there.
    """
    row = _known(proposal_id)
    with db.engine.connect() as connection:
        raise_if_decided(row)
        raise_unless_other(connection, row, by, roles_of(row))
    if BY_TWO[row.verb].seen_now(row) != row.seen:
        raise ProposalRefused("changed")
    BY_TWO[row.verb].do(row, by)


def finish_proposal(proposal_id: int, *, by: int) -> None:
    """Do what is left of a confirmed list whose revoking broke off. A repeat changes nothing. Raises as it does."""
    row = _known(proposal_id)
    with db.engine.connect() as connection:
        raise_without_right(connection, by, roles_of(row))
    if row.decision != CONFIRMED:
        raise ProposalRefused(row.decision or "changed")
    if row.done_at is None:
        bulk_revoking.finish_list(row, by=by)


def decline_proposal(proposal_id: int, *, by: int) -> None:
    """Have a proposal of somebody else never be confirmed. Raises ProposalRefused, and then nothing was changed."""
    with db.engine.begin() as connection:
        row = taken(connection, proposal_id)
        raise_if_decided(row)
        if by == row.made_by:
            raise ProposalRefused("own")
        raise_without_right(connection, by, roles_of(row))
        _end(connection, row, DECLINED, "decline", by)


def withdraw_proposal(proposal_id: int, *, by: int | None) -> None:
    """Have one's own proposal never be confirmed; a command withdraws those that commands made.

    Raises ProposalRefused, and then nothing was changed.
    """
    with db.engine.begin() as connection:
        row = taken(connection, proposal_id)
        raise_if_decided(row)
        if by != row.made_by:
            raise ProposalRefused("not_own")
        _end(connection, row, WITHDRAWN, "withdraw", by)


def roles_of(row: Row[Any]) -> frozenset[str]:
    """Return the roles that may make and confirm such a proposal."""
    return RIGHTS[BY_TWO[row.verb].right]


def waiting_for(user_id: int, role: str) -> int:
    """Return how many open proposals somebody with that role may confirm. Raises SQLAlchemyError."""
    return sum(row.made_by != user_id and role in roles_of(row) for row in open_proposals())


def still_stands(row: Row[Any]) -> bool:
    """Whether the subject is as the proposal has seen it."""
    return bool(BY_TWO[row.verb].seen_now(row) == row.seen)


def _known(proposal_id: int) -> Row[Any]:
    row = proposal_by_id(proposal_id)
    if row is None:
        raise ProposalRefused("unknown")
    return row


def _end(connection: Connection, row: Row[Any], decision: str, verb: str, by: int | None) -> None:
    if row.verb == "invite":
        withdraw_proposed(connection, arguments_of(row)["invitation"], by)
    decide(connection, row, decision, by=by)
    told = {"proposal": row.id, "asked_by": row.made_by}
    record(connection, verb, by=by, coupon=row.coupon_id, user=row.user_id, after=told)


def _change(row: Row[Any], by: int) -> None:
    def look(coupon: CouponRow) -> None:
        if two_people.seen_of(coupon) != row.seen:
            raise ProposalRefused("changed")

    change_coupon(row.coupon_id, by=by, confirms=row.id, look=look, **arguments_of(row))


def _count(row: Row[Any], by: int) -> None:
    pools.count_codes(arguments_of(row)["upload"], by=by, confirms=row.id)


def _grant(row: Row[Any], by: int) -> None:
    give_role(row.user_id, arguments_of(row)["role"], by=by, seen=row.seen, confirms=row.id)


def _invite(row: Row[Any], by: int) -> None:
    open_proposed(arguments_of(row)["invitation"], by=by, confirms=row.id)


def _coupon_now(row: Row[Any]) -> str | None:
    coupon = _found(select(Coupon.__table__).where(Coupon.id == row.coupon_id))
    return coupon and two_people.seen_of(coupon)


def _pool_now(row: Row[Any]) -> str | None:
    still = (Upload.id == arguments_of(row)["upload"], Upload.state == CHECKED)
    coupon = _found(select(Coupon.__table__).where(Coupon.id == row.coupon_id, exists().where(*still)))
    return coupon and pools.seen_with_files(coupon, pools.files_of(row.coupon_id))


def _list_now(row: Row[Any]) -> str:
    with db.engine.connect() as connection:
        return bulk_revoking.seen_of(bulk_revoking.standing(arguments_of(row)["issues"], connection))


def _role_now(row: Row[Any]) -> str | None:
    user = _found(select(User.role).where(User.id == row.user_id, User.blocked_at.is_(None)))
    return user and str(user.role)


def _invitation_now(row: Row[Any]) -> str | None:
    still = (Invitation.proposed.is_(True), Invitation.withdrawn_at.is_(None))
    made = _found(select(Invitation.id).where(Invitation.id == arguments_of(row)["invitation"], *still))
    return made and str(made.id)


def _found(query: Select[Any]) -> Row[Any] | None:
    with db.engine.connect() as connection:
        return connection.execute(query).one_or_none()


_OF_COUPON = ByTwo(CHANGE, _change, _coupon_now)
BY_TWO = {
    **dict.fromkeys(("change quota", "change coupon", "close"), _OF_COUPON),
    "count codes": ByTwo(CHANGE, _count, _pool_now),
    "revoke": ByTwo(CHANGE, lambda row, by: bulk_revoking.confirm_list(row, by=by), _list_now),
    "grant role": ByTwo(TEAM, _grant, _role_now),
    "invite": ByTwo(TEAM, _invite, _invitation_now),
}
"""Every verb of `webapp.proposals.rule.WAITING`."""
