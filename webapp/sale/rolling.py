"""Rolling over: what is left of a wave that has ended goes to the next one, all of it and once."""

from datetime import datetime

from sqlalchemy import Connection, select, update

from webapp.line.line import Line
from webapp.log import record
from webapp.models import DRAFT, LIVE, PAUSED, Coupon, CouponRow, utcnow
from webapp.sale.locking import locked_coupon
from webapp.sale.publishing import publish_policy
from webapp.sale.records import policy_of
from webapp.stores.script_redis import line_redis


def may_roll_over(coupon: CouponRow, now: datetime) -> bool:
    """Whether it is a wave that has ended, and of which nobody has decided yet how many go on to the next."""
    waits = coupon.rolls_over and coupon.rolled_out is None and coupon.total_quantity is not None
    return waits and coupon.status != DRAFT and bool(coupon.issue_end_at <= now)


def roll_over(coupon_id: int) -> int | None:
    """Move what is left of a wave that has ended to the next one that has not; return how many, None for not now.

    It waits until everybody who came in time was served, by the line's clock. Both quotas change in one transaction
    under both rows' locks, and `rolled_out` is set with them: whoever dies has done all of it or nothing, and a repeat
    changes nothing. Without a wave to come the leftover stays. Raises SQLAlchemyError; redis.RedisError, after the
    commit too: the sweeper tells the lines then.
    """
    with locked_coupon(coupon_id) as lock:
        wave = lock.coupon
        if wave is None or not may_roll_over(wave, utcnow()) or not _is_served(wave):
            return None
        left = int(wave.total_quantity - wave.issued_quantity)
        following = _give_to_next(lock.connection, wave, left)
        if following is None:
            return None
        gone = {"total_quantity": wave.issued_quantity, "rolled_out": left}
        lock.connection.execute(update(Coupon).where(Coupon.id == coupon_id).values(**gone))
        facts = {"before": {"total_quantity": wave.total_quantity}, "after": gone | {"to": following}}
        record(lock.connection, "roll over", by=None, coupon=coupon_id, **facts)
        lock.commit()
    publish_policy(coupon_id)
    publish_policy(following)
    return left


def _is_served(wave: CouponRow) -> bool:
    """Whether the line's clock has passed the end, and nobody waits, stands by or may still bring a receipt in time."""
    line = Line(line_redis(), wave.id)
    gate = line.gate()
    if gate is None or not gate.opened:
        return False
    ended = round(wave.issue_end_at.timestamp() * 1000) == gate.policy.closes_at_ms <= gate.now_ms
    served = gate.waiting == 0 and (policy_of(wave).sold_out or gate.in_standby == 0)
    return ended and served and not line.await_receipts(0)


def _give_to_next(connection: Connection, wave: CouponRow, left: int) -> int | None:
    """Raise the quota of the next wave that people can still get, and return its id; None when there is none."""
    open_to_come = (
        Coupon.campaign_id == wave.campaign_id,
        Coupon.issue_start_at > wave.issue_start_at,
        Coupon.issue_end_at > utcnow(),
        Coupon.status.in_((LIVE, PAUSED)),
        Coupon.total_quantity.is_not(None),
        Coupon.rolled_out.is_(None),
    )
    following = connection.scalar(
        select(Coupon.id).where(*open_to_come).order_by(Coupon.issue_start_at).limit(1)
    )
    more = {
        "total_quantity": Coupon.total_quantity + left,
        "rolled_in": Coupon.rolled_in + left,
        "revision": Coupon.revision + 1,
    }
    # Asked once more with the row's lock: an operator may have closed it in between.
    raised = connection.execute(update(Coupon).where(Coupon.id == following, *open_to_come).values(**more))
    return following if raised.rowcount else None
