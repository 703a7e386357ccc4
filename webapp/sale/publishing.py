"""Publishing: Redis is told what SQL has committed."""

from datetime import timedelta
from typing import Any

import redis
from flask import current_app
from sqlalchemy import Row, or_, select, update

from webapp.line.line import Line
from webapp.line.results import issued_result, rejected_result, revoked_reason
from webapp.line.types import Gate, Settled
from webapp.models import DRAFT, PAUSED, Coupon, CouponRow, Revocation, utcnow
from webapp.sale.bells import ring_if_waiting
from webapp.sale.elsewhere import write_elsewhere
from webapp.sale.epochs import ensure_open
from webapp.sale.locking import CouponLock, locked_coupon
from webapp.sale.members import AT_ONCE, write_members
from webapp.sale.outcomes import Refused
from webapp.sale.records import highest_number, known_results, policy_of
from webapp.sale.setting_aside import set_aside
from webapp.stores.malformed import is_malformed
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.stores.swallowed import swallow

PUBLISHED_AGAIN = timedelta(minutes=10)
FORGOTTEN_EPOCHS = 100
"""More epochs than both stores can have forgotten since the last backup of SQL."""
REVOCATIONS_TOLD = "revocations_told"
"""Under this name an app keeps the highest id of a revocation that it told Redis of."""


def publish(coupon_id: int) -> None:
    """Copy the coupon's policy from SQL to its gate, and who may have it: call it after the commit of every change.

    A wave hears who has one of another wave, too.

    Raises redis.RedisError, SQLAlchemyError, Refused; the change stands then, and the sweeper publishes it soon.
    """
    coupon = publish_policy(coupon_id)
    write_members(coupon_id, most=AT_ONCE)
    if coupon.one_per_campaign and coupon.status != DRAFT:
        write_elsewhere(coupon, most=AT_ONCE)


def publish_policy(coupon_id: int) -> CouponRow:
    """Copy the policy alone, and return the row. Raises as `publish` does."""
    with db.engine.connect() as connection:
        coupon = connection.execute(select(Coupon).where(Coupon.id == coupon_id)).one()
    if publish_coupon(coupon):
        ring_if_waiting(coupon_id)
    return coupon


def publish_coupon(coupon: CouponRow) -> bool:
    """Write a row of `coupons` to its gate, open a missing one, and return whether its line is admitted.

    Safe at any moment: an older row cannot overwrite a newer one. Raises Refused(not_found) when the row is gone,
    SQLAlchemyError, redis.RedisError.
    """
    if coupon.status == DRAFT:
        return False
    set_aside(coupon.id)
    line, policy = Line(line_redis(), coupon.id), policy_of(coupon)
    if not line.publish(policy):
        ensure_open(coupon.id)
        line.publish(policy)  # an epoch that somebody else has begun may be of an older row
    return bool(coupon.status != PAUSED)


def settle_issue(lock: CouponLock, issue: Row[Any]) -> None:
    """Settle one committed issue: a ticket whose row goes away would else be issued once more.

    A repeat changes nothing. Raises redis.RedisError.
    """
    coupon = lock.coupon
    settled = Settled(str(issue.user_id), issue.ticket_number, issued_result(issue.ticket_number, issue.code))
    # The gate is left to the publishing after the commit.
    Line(line_redis(), coupon.id).settle(None, [settled])


def publish_revocation(revocation: Row[Any]) -> None:
    """Copy a row of `revocations` to Redis: the former holder reads that the coupon was revoked, and why.

    A repeat changes nothing. Raises redis.RedisError.
    """
    number = revocation.ticket_number
    Line(line_redis(), revocation.coupon_id).revoke(
        revocation.user_id,
        issued_result(number, revocation.code),
        rejected_result(number, revoked_reason(revocation.reason)),
    )


def publish_late_revocations() -> None:
    """Publish those revocations once more that Redis may not have heard of, because it was away.

    These are all at the first call of a process, then those that are new since the last call that succeeded; and the
    latest ones always, because transactions end in another order than they take their ids.
    """
    told = current_app.extensions.get(REVOCATIONS_TOLD, 0)
    late = or_(Revocation.id > told, Revocation.revoked_at > utcnow() - PUBLISHED_AGAIN)
    with db.engine.connect() as connection:
        revocations = connection.execute(select(Revocation).where(late).order_by(Revocation.id)).all()
    for revocation in revocations:
        try:
            publish_revocation(revocation)
        except redis.RedisError as error:
            if line_redis().is_apart(error):
                swallow(
                    "revocations not told",
                    error,
                    "the next sweep tells them, and those behind it",
                    again=True,
                )
                return
            if not is_malformed(error):
                raise
            swallow(
                "revocation not told", error, "the sweep sets aside what is malformed, the next one tells"
            )
        current_app.extensions[REVOCATIONS_TOLD] = max(told, revocation.id)


def reconcile(coupon_id: int) -> None:
    """Rebuild the gate and the results in Redis from SQL, and take away every result that SQL contradicts.

    Safe at any moment, also during a sale; a repeat changes nothing. A gate or a result that is ahead of SQL (SQL came
    back with older data), and a counter that is behind it, end the epoch. Where none is open, the next one is above
    all that both stores can have forgotten. A place in line that Redis lost is no fact
    of SQL: its owner's receipt brings it back. Raises Refused(not_found), SQLAlchemyError, redis.RedisError.
    """
    line = Line(line_redis(), coupon_id)
    set_aside(coupon_id)
    with locked_coupon(coupon_id) as lock:
        if lock.coupon is None or lock.coupon.status == DRAFT:
            raise Refused("not_found")
        if not line.is_open():
            _skip_epochs(lock)
        elif not _make_copy(line, lock):
            line.end_epoch()
        lock.commit()
    line.doubt_elsewhere()  # its version is no proof: SQL may have come back with an older one
    publish(coupon_id)
    line.to_standby()


def _skip_epochs(lock: CouponLock) -> None:
    """Leave out epochs: if SQL was put back, and Redis has forgotten them, only receipts know of those since then."""
    skipped = {"epoch": Coupon.epoch + FORGOTTEN_EPOCHS, "epoch_mark": None}
    lock.connection.execute(update(Coupon).where(Coupon.id == lock.coupon.id).values(skipped))


def _make_copy(line: Line, lock: CouponLock) -> bool:
    """Take away results that SQL contradicts, and return whether the open gate is a copy of SQL then."""
    gate = line.gate()
    if gate is None or not _fits(gate, lock):
        return False
    return not line.replace_results(lock.coupon.revision, known_results(lock.connection, lock.coupon.id))


def _fits(gate: Gate, lock: CouponLock) -> bool:
    """Whether the gate can be a copy of the row, and its counter gave every number that SQL decided."""
    coupon = lock.coupon
    decided = highest_number(lock.connection, coupon.id)
    # The lock has raised the revision, and that is not committed: no gate has it.
    return gate.epoch == coupon.epoch and gate.policy.revision < coupon.revision and gate.last >= decided
