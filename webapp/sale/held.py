"""The state of a coupon that somebody holds: one rule for every page that shows it, and for the till."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, select

from webapp.line.results import revoked_reason
from webapp.models import Coupon, CouponIssue, Revocation, utcnow
from webapp.sale.benefit import WORTH, Worth
from webapp.sale.codes import grouped
from webapp.sale.outcomes import Refused, Ticket, is_revoked
from webapp.stores.sql import db

OFFER = (
    Coupon.id.label("coupon_id"),
    Coupon.pool_left.is_not(None).label("of_pool"),
    *WORTH,
    Coupon.min_available_amount,
    Coupon.valid_until,
)
"""The columns of the offer that a page shows beside a code."""


def state_of_issue(
    *, used_at: datetime | None, valid_until: datetime | None, revoked_at: datetime | None
) -> str:
    """Return usable, used, expired or revoked. A coupon that was used in time does not expire."""
    if revoked_at is not None:
        return "revoked"
    if used_at is not None:
        return "used"
    return "expired" if valid_until is not None and valid_until <= utcnow() else "usable"


@dataclass(frozen=True, kw_only=True)
class Coded(Worth):
    """A coupon with its code, which is one `of_pool` where the coupon has codes of a shop's own."""

    code: str
    of_pool: bool = False

    @property
    def shown_code(self) -> str:
        """Return the code as people see it: in groups, or just as the shop has uploaded it."""
        return self.code if self.of_pool else grouped(self.code)


@dataclass(frozen=True, kw_only=True)
class Held(Coded):
    """A coupon that somebody holds or held. The id is that of the issue, also after it was revoked.

    `at` is when it was used or revoked, or until when it can or could be used.
    """

    id: int | None
    coupon_id: int
    min_available_amount: int
    issued_at: datetime
    valid_until: datetime | None
    used_at: datetime | None = None
    revoked_at: datetime | None = None
    reason: str | None = None

    @property
    def state(self) -> str:
        return state_of_issue(used_at=self.used_at, valid_until=self.valid_until, revoked_at=self.revoked_at)

    @property
    def at(self) -> datetime | None:
        return self.revoked_at or self.used_at or self.valid_until

    @property
    def mark(self) -> str:
        """Return a text that changes whenever a page has to say something else of the coupon."""
        return f"{self.id} {self.state} {self.at and self.at.isoformat()}"


def all_of(user_id: int) -> list[Held]:
    """Return every coupon that the account holds or held, the newest first."""
    return sorted(
        _read(_issued(user_id)) + _read(_revoked(user_id)),
        key=lambda held: (held.issued_at, held.coupon_id),
        reverse=True,
    )


def by_issue(user_id: int, issue_id: int) -> Held | None:
    """Return the account's coupon of that issue, or None when it never had it."""
    return _first(user_id, CouponIssue.id == issue_id, Revocation.issue_id == issue_id)


def by_coupon(user_id: int, coupon_id: int) -> Held | None:
    """Return that coupon as the account holds or held it, or None when it never had it."""
    return _first(user_id, CouponIssue.coupon_id == coupon_id, Revocation.coupon_id == coupon_id)


def confirmed(user_id: int, coupon_id: int, ticket: Ticket) -> tuple[Ticket, Held | None]:
    """Return the ticket as SQL confirms it, and the coupon that its owner holds or held by it.

    Redis may not have heard yet that a coupon was revoked. Raises Refused(busy) for an issue unknown to SQL.
    """
    if ticket.state != "issued" and not is_revoked(ticket):
        return ticket, None
    held = by_coupon(user_id, coupon_id)
    if held is None:
        if ticket.state == "issued":
            raise Refused("busy")
        return ticket, None
    if held.state == "revoked":
        return replace(ticket, state="rejected", code=None, reason=revoked_reason(held.reason or "")), held
    return replace(ticket, state="issued", code=held.code, reason=None), held


def among(user_id: int, coupon_ids: list[int]) -> dict[int, Held]:
    """Return those of these coupons that the account holds, by their ids."""
    found = _read(_issued(user_id).where(CouponIssue.coupon_id.in_(coupon_ids)))
    return {held.coupon_id: held for held in found}


def last_issued(coupon_id: int) -> int | None:
    """Return the highest number that holds the coupon."""
    highest = select(func.max(CouponIssue.ticket_number)).where(CouponIssue.coupon_id == coupon_id)
    with db.engine.connect() as connection:
        return connection.scalar(highest)


def _first(user_id: int, issue: ColumnElement[bool], revocation: ColumnElement[bool]) -> Held | None:
    # Revoked coupons are looked for last: they are rare.
    found = _read(_issued(user_id).where(issue)) or _read(
        _revoked(user_id).where(revocation).order_by(Revocation.id.desc()).limit(1)
    )
    return found[0] if found else None


def _read(query: Select[*tuple[Any, ...]]) -> list[Held]:
    """Return the coupons that the query finds. No SQL connection is kept: the page still asks Redis."""
    with db.engine.connect() as connection:
        return [_held(row) for row in connection.execute(query)]


def _held(row: Row[Any]) -> Held:
    return Held(**row._mapping)


def _issued(user_id: int) -> Select[*tuple[Any, ...]]:
    return (
        select(CouponIssue.id, CouponIssue.code, CouponIssue.issued_at, CouponIssue.used_at, *OFFER)
        .join_from(CouponIssue, Coupon, CouponIssue.coupon_id == Coupon.id)
        .where(CouponIssue.user_id == user_id)
    )


def _revoked(user_id: int) -> Select[*tuple[Any, ...]]:
    return (
        select(
            Revocation.issue_id.label("id"),
            Revocation.code,
            Revocation.issued_at,
            Revocation.revoked_at,
            Revocation.reason,
            *OFFER,
        )
        .join_from(Revocation, Coupon, Revocation.coupon_id == Coupon.id)
        .where(Revocation.user_id == user_id)
    )
