"""What becomes of a code: it is used at a till, once, or an operator takes it back. The verbs know no HTTP."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, insert, select, update
from sqlalchemy.orm import aliased

from webapp import issuing
from webapp.codes import normalised
from webapp.extensions import db
from webapp.held import state_of
from webapp.issuing import locked_coupon
from webapp.models import REASON_LENGTH, Coupon, CouponIssue, LineEvent, Revocation, User, utcnow
from webapp.texts import one_line

MOST_CODES = 100
Operator = aliased(User)


class CannotRevoke(Exception):
    """The code stays what it is, and why: `code` is one of unknown, used, no_reason."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Code:
    """A code as operators see it: state is usable, used, expired or revoked.

    `holder` is an e-mail address, `by` that of the operator who used it or took it back; None for a deleted account
    and for the command line.
    """

    code: str
    state: str
    coupon_id: int
    title: str
    discount_amount: int
    min_available_amount: int
    valid_until: datetime | None
    holder: str | None
    issued_at: datetime
    at: datetime | None = None
    by: str | None = None
    reason: str | None = None


def look_up(typed: str) -> Code | None:
    """Return what is known of a code, typed in any way that people type codes; None when it is none of ours.

    A scanner that works as a keyboard types the whole address of the QR code.
    """
    code = normalised(typed.rpartition("code=")[2])
    with db.engine.connect() as connection:
        issue = connection.execute(_issued().where(CouponIssue.code == code)).one_or_none()
        if issue is not None:
            return _code(issue)
        revoked = connection.execute(_revoked().where(Revocation.code == code)).one_or_none()
    return None if revoked is None else _code(revoked)


def codes_of(email: str) -> list[Code]:
    """Return the codes of an account, the newest first, MOST_CODES at most."""
    held = _issued().where(User.email == email.strip().lower()).order_by(CouponIssue.id.desc())
    with db.engine.connect() as connection:
        return [_code(issue) for issue in connection.execute(held.limit(MOST_CODES))]


def use(typed: str, operator_id: int | None) -> tuple[Code | None, bool]:
    """Use a code, and return it as it is then, and whether it was this call that used it.

    A repeat, and a second till at the same instant, change nothing: the code says when and by whom it was used.
    """
    found = look_up(typed)
    if found is None or found.state != "usable":
        return found, False
    unused = update(CouponIssue).where(CouponIssue.code == found.code, CouponIssue.used_at.is_(None))
    with db.engine.begin() as connection:
        used = connection.execute(unused.values(used_at=utcnow(), used_by=operator_id)).rowcount
    return look_up(found.code), bool(used)


def revoke(typed: str, operator_id: int | None, reason: str) -> None:
    """Take an issued code back; the coupon goes to the first in standby.

    Raises CannotRevoke, and then nothing was changed; redis.RedisError, and then `look_up` says whether it is
    committed: if so, the sweeper tells Redis within seconds. A repeat only tells Redis again.
    """
    code, reason = normalised(typed), one_line(reason)[:REASON_LENGTH]
    if not reason:
        raise CannotRevoke("no_reason")
    with db.engine.connect() as connection:
        coupon_id = connection.scalar(select(CouponIssue.coupon_id).where(CouponIssue.code == code))
    if coupon_id is not None:
        _take_back(coupon_id, code, operator_id, reason)
    with db.engine.connect() as connection:
        revocation = connection.execute(select(Revocation).where(Revocation.code == code)).one_or_none()
    if revocation is None:
        raise CannotRevoke("unknown")
    issuing.tell_revoked(revocation)
    issuing.publish(revocation.coupon_id)


def _take_back(coupon_id: int, code: str, operator_id: int | None, reason: str) -> None:
    """Move the row to `revocations` under the coupon's lock, unless it has gone by then."""
    with locked_coupon(coupon_id) as (connection, coupon):
        issue = connection.execute(select(CouponIssue).where(CouponIssue.code == code)).one_or_none()
        if issue is None:
            return
        unused = delete(CouponIssue).where(CouponIssue.id == issue.id, CouponIssue.used_at.is_(None))
        if not connection.execute(unused).rowcount:
            raise CannotRevoke("used")
        issuing.settle_issue(coupon, issue)
        now = utcnow()
        place = {
            "coupon_id": coupon_id,
            "user_id": issue.user_id,
            "ticket_number": issue.ticket_number,
            "epoch": issue.epoch,
        }
        connection.execute(
            insert(Revocation).values(
                **place,
                issue_id=issue.id,
                code=code,
                issued_at=issue.issued_at,
                revoked_at=now,
                revoked_by=operator_id,
                reason=reason,
            )
        )
        told = issuing.revoked_reason(reason)
        connection.execute(insert(LineEvent).values(**place, kind="rejected", reason=told, at=now))
        fewer = (
            update(Coupon).where(Coupon.id == coupon_id).values(issued_quantity=Coupon.issued_quantity - 1)
        )
        connection.execute(fewer)
        connection.commit()


_OFFER = (
    Coupon.id.label("coupon_id"),
    Coupon.title,
    Coupon.discount_amount,
    Coupon.min_available_amount,
    Coupon.valid_until,
    User.email.label("holder"),
    Operator.email.label("by"),
)


def _issued() -> Select[*tuple[Any, ...]]:
    return (
        select(CouponIssue.code, CouponIssue.issued_at, CouponIssue.used_at.label("at"), *_OFFER)
        .join_from(CouponIssue, Coupon, CouponIssue.coupon_id == Coupon.id)
        .outerjoin(User, CouponIssue.user_id == User.id)
        .outerjoin(Operator, CouponIssue.used_by == Operator.id)
    )


def _revoked() -> Select[*tuple[Any, ...]]:
    return (
        select(
            Revocation.code,
            Revocation.issued_at,
            Revocation.revoked_at.label("at"),
            Revocation.reason,
            *_OFFER,
        )
        .join_from(Revocation, Coupon, Revocation.coupon_id == Coupon.id)
        .outerjoin(User, Revocation.user_id == User.id)
        .outerjoin(Operator, Revocation.revoked_by == Operator.id)
    )


def _code(row: Any) -> Code:
    facts = dict(row._mapping)
    revoked_at, used_at = (facts["at"], None) if "reason" in facts else (None, facts["at"])
    state = state_of(used_at=used_at, valid_until=facts["valid_until"], revoked_at=revoked_at)
    return Code(state=state, **facts)
