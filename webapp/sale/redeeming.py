"""The use of a code at a till, once, and its revocation by an operator. The verbs know no HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, delete, insert, select, update
from sqlalchemy.orm import aliased

from webapp.line.results import revoked_reason
from webapp.log import record
from webapp.models import REASON_LENGTH, Coupon, CouponIssue, LineEvent, Revocation, UndoneUse, User, utcnow
from webapp.sale import publishing
from webapp.sale.codes import meant_by
from webapp.sale.held import OFFER, Coded, state_of_issue
from webapp.sale.locking import CouponLock, locked_coupon
from webapp.stores.sql import db
from webapp.values.texts import one_line

MOST_CODES = 100
JUST_NOW = timedelta(minutes=1)
"""How long the form that used a code is told "used just now" again: after a second click, or a reload."""
UNDONE_WITHIN = timedelta(minutes=10)
Operator = aliased(User)
Undoer = aliased(User)


class Unchanged(Exception):
    """The code was not changed, and why: `code` is one of unknown, used, unused, late, no_reason."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, kw_only=True)
class Code(Coded):
    """A code as operators see it: state is usable, used, expired or revoked.

    `holder` is an e-mail address, `by` that of the operator who used it or took it back; None for a deleted account
    and for the command line. `click` is the token of the form that used it.
    """

    state: str
    coupon_id: int
    min_available_amount: int
    valid_until: datetime | None
    holder: str | None
    blocked_at: datetime | None
    issued_at: datetime
    at: datetime | None = None
    by: str | None = None
    click: str | None = None
    reason: str | None = None

    def used_just_now(self, click: str | None) -> bool:
        """Whether it was this click that used it, and a moment ago."""
        return self.click is not None and self.click == click and _is_within(JUST_NOW, self.at)

    @property
    def can_be_undone(self) -> bool:
        return self.state == "used" and _is_within(UNDONE_WITHIN, self.at)


def look_up(typed: str) -> Code | None:
    """Return the facts of a code that was typed, pasted or scanned in any way that `codes.meant_by` knows.

    What stands there letter by letter comes before what may be meant. None when it is none of ours, or when several
    are.
    """
    for codes in meant_by(typed):
        with db.engine.connect() as connection:
            issued = connection.execute(_issued().where(CouponIssue.code.in_(codes))).all()
            revoked = connection.execute(_revoked().where(Revocation.code.in_(codes))).all()
        if found := [*issued, *revoked]:
            return _code(found[0]) if len(found) == 1 else None
    return None


def codes_of(email: str) -> list[Code]:
    """Return the codes of an account, the newest first, MOST_CODES at most."""
    held = _issued().where(User.email == email).order_by(CouponIssue.id.desc())
    with db.engine.connect() as connection:
        return [_code(issue) for issue in connection.execute(held.limit(MOST_CODES))]


def use(
    typed: str, by: int | None, *, click: str | None = None, although_blocked: bool = False
) -> tuple[Code | None, bool]:
    """Use a code, and return it as it is then, and whether it was this call that used it.

    A repeat, and a second till at the same instant, change nothing: the code says when and by whom it was used, and
    by which click. A code whose holder is blocked stays usable until somebody decides to use it all the same.
    """
    found = look_up(typed)
    if found is None or found.state != "usable" or (found.blocked_at and not although_blocked):
        return found, False
    unused = update(CouponIssue).where(CouponIssue.code == found.code, CouponIssue.used_at.is_(None))
    this_use = {"used_at": utcnow(), "used_by": by, "used_click": click}
    with db.engine.begin() as connection:
        used = connection.execute(unused.values(**this_use)).rowcount
    return look_up(found.code), bool(used)


def undo_use(typed: str, by: int | None, reason: str, *, which: str | None = None) -> Code:
    """Undo a use within UNDONE_WITHIN, leave a row in `undone_uses`, and return the code, which can be used again.

    `which` is the time of the use that the operator saw, in ISO format; by default the last use is undone. A
    repeat changes nothing. Raises Unchanged, and then nothing was changed.
    """
    found, reason = _found(typed), told_reason(reason)
    with db.engine.connect() as connection:
        issue = connection.execute(select(CouponIssue).where(CouponIssue.code == found.code)).one_or_none()
    if issue is None or issue.used_at is None or which not in (None, issue.used_at.isoformat()):
        if not any(which in (None, undone.used_at.isoformat()) for undone in undone_uses(found.code)):
            raise Unchanged("unused")
    elif not _undone(issue, by, reason):
        raise Unchanged("late")
    return look_up(found.code) or found


def _undone(issue: Row[Any], by: int | None, reason: str) -> bool:
    """Make a used code usable, unless that use is too old; return whether it is undone, by this call or another."""
    now = utcnow()
    this_use = update(CouponIssue).where(CouponIssue.id == issue.id, CouponIssue.used_at == issue.used_at)
    recent = this_use.where(CouponIssue.used_at > now - UNDONE_WITHIN)
    with db.engine.begin() as connection:
        if connection.execute(recent.values(used_at=None, used_by=None, used_click=None)).rowcount:
            kept = {name: getattr(issue, name) for name in ("coupon_id", "code", "used_at", "used_by")}
            undone = {"undone_at": now, "undone_by": by, "reason": reason}
            connection.execute(insert(UndoneUse).values(**kept, **undone))
            facts = {"coupon": issue.coupon_id, "user": issue.user_id, "reason": reason}
            before = {"number": issue.ticket_number, "used_at": issue.used_at, "used_by": issue.used_by}
            record(connection, "undo use", by=by, **facts, before=before)
    return _is_within(UNDONE_WITHIN, issue.used_at)


def undone_uses(code: str) -> list[Row[Any]]:
    """Return the uses of a code that were undone, the last first: by and undone by whom, when and why."""
    columns = (UndoneUse.used_at, UndoneUse.undone_at, UndoneUse.reason)
    undone = (
        select(*columns, Operator.email.label("used_by"), Undoer.email.label("undone_by"))
        .outerjoin(Operator, UndoneUse.used_by == Operator.id)
        .outerjoin(Undoer, UndoneUse.undone_by == Undoer.id)
        .where(UndoneUse.code == code)
        .order_by(UndoneUse.id.desc())
    )
    with db.engine.connect() as connection:
        return list(connection.execute(undone))


def revoke(typed: str, by: int | None, reason: str) -> Code:
    """Revoke an issued code, and return it; the coupon goes to the first in standby.

    Raises Unchanged, and then nothing was changed; redis.RedisError, and then `look_up` says whether it is committed:
    if so, the sweeper tells Redis within seconds. A repeat only tells Redis again.
    """
    reason, found = told_reason(reason), _found(typed)
    if found.state != "revoked":
        _move_to_revocations(found.coupon_id, found.code, by, reason)
    with db.engine.connect() as connection:
        revocation = connection.execute(select(Revocation).where(Revocation.code == found.code)).one()
    publishing.publish_revocation(revocation)
    publishing.publish(revocation.coupon_id)
    return look_up(found.code) or found


def _found(typed: str) -> Code:
    found = look_up(typed)
    if found is None:
        raise Unchanged("unknown")
    return found


def told_reason(reason: str) -> str:
    """Return the reason as it is kept. Raises Unchanged when there is none."""
    reason = one_line(reason)[:REASON_LENGTH]
    if not reason:
        raise Unchanged("no_reason")
    return reason


def _is_within(span: timedelta, moment: datetime | None) -> bool:
    return moment is not None and utcnow() - moment < span


def _move_to_revocations(coupon_id: int, code: str, by: int | None, reason: str) -> None:
    """Move the row to `revocations` under the coupon's lock, unless it has gone by then. Raises Unchanged."""
    with locked_coupon(coupon_id) as lock:
        if move_issue(lock, code, by, reason):
            lock.commit()


def move_issue(
    lock: CouponLock, code: str, by: int | None, reason: str, both: Mapping[str, Any] | None = None
) -> bool:
    """Move an issue of the locked coupon to `revocations`, with its row of the log, and return whether it was there.

    `both` names the proposal that it comes of, and who asked. The caller commits. Raises Unchanged when the code was
    used, and then nothing of it is changed; redis.RedisError.
    """
    issue = lock.connection.execute(select(CouponIssue).where(CouponIssue.code == code)).one_or_none()
    if issue is None:
        return False
    unused = delete(CouponIssue).where(CouponIssue.id == issue.id, CouponIssue.used_at.is_(None))
    if not lock.connection.execute(unused).rowcount:
        raise Unchanged("used")
    publishing.settle_issue(lock, issue)
    _record_revocation(lock, issue, by, reason)
    fewer = {"issued_quantity": Coupon.issued_quantity - 1}
    lock.connection.execute(update(Coupon).where(Coupon.id == issue.coupon_id).values(fewer))
    facts = {"coupon": issue.coupon_id, "user": issue.user_id, "before": {"number": issue.ticket_number}}
    record(lock.connection, "revoke", by=by, reason=reason, **facts, after=both)
    return True


def _record_revocation(lock: CouponLock, issue: Row[Any], by: int | None, reason: str) -> None:
    """Write the row that replaces the issue, and the event that explains why its number has none."""
    now = utcnow()
    place = {name: getattr(issue, name) for name in ("coupon_id", "user_id", "ticket_number", "epoch")}
    kept = {"issue_id": issue.id, "code": issue.code, "issued_at": issue.issued_at}
    revoked = {"revoked_at": now, "revoked_by": by, "reason": reason}
    event = {"kind": "rejected", "reason": revoked_reason(reason), "at": now}
    lock.connection.execute(insert(Revocation).values(**place, **kept, **revoked))
    lock.connection.execute(insert(LineEvent).values(**place, **event))


_OFFER = (
    *OFFER,
    User.email.label("holder"),
    User.blocked_at,
    Operator.email.label("by"),
)


def _issued() -> Select[*tuple[Any, ...]]:
    return (
        select(
            CouponIssue.code,
            CouponIssue.issued_at,
            CouponIssue.used_at.label("at"),
            CouponIssue.used_click.label("click"),
            *_OFFER,
        )
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


def _code(row: Row[Any]) -> Code:
    facts = dict(row._mapping)
    revoked_at, used_at = (facts["at"], None) if "reason" in facts else (None, facts["at"])
    state = state_of_issue(used_at=used_at, valid_until=facts["valid_until"], revoked_at=revoked_at)
    return Code(state=state, **facts)
