"""The audit of the waves of a campaign: one for each person over all of them, and nothing lost or made in between."""

from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from webapp.line.line import Line
from webapp.models import Coupon, CouponIssue, CouponRow
from webapp.sale.audit_audience import drift
from webapp.sale.audit_checks import ELSEWHERE, SHOWN, Check, none
from webapp.sale.elsewhere import bits_elsewhere, is_told, waves_near
from webapp.stores.script_redis import line_redis


def wave_checks(connection: Connection, coupon: CouponRow) -> Iterator[Check]:
    """Judge all waves of the campaign of a coupon; a coupon without waves has nothing to judge.

    Raises SQLAlchemyError, redis.RedisError.
    """
    if coupon.campaign_id is None:
        return
    waves = select(Coupon.id).where(Coupon.campaign_id == coupon.campaign_id)
    if coupon.one_per_campaign:
        yield from _one_each(connection, coupon, list(connection.scalars(waves)))
        yield _elsewhere_check(connection, coupon)
    sums = select(func.sum(Coupon.rolled_in), func.sum(func.coalesce(Coupon.rolled_out, 0)))
    came, went = connection.execute(sums.where(Coupon.campaign_id == coupon.campaign_id)).one()
    yield Check("waves roll over", came == went, f"{went} left a wave, {came} came to another")


def _one_each(connection: Connection, coupon: CouponRow, waves: list[int]) -> Iterator[Check]:
    """Count by the waves, not by the column of the constraint: a row without it would be hidden from both."""
    of_waves = CouponIssue.coupon_id.in_(waves)
    twice = select(CouponIssue.user_id).where(of_waves).group_by(CouponIssue.user_id)
    doubles = connection.scalars(twice.having(func.count() > 1).order_by(CouponIssue.user_id).limit(SHOWN))
    yield none("P2 one over all waves", doubles, f"users who hold more than one of {len(waves)} waves")
    astray = func.coalesce(CouponIssue.campaign_id, 0) != coupon.campaign_id
    outside = connection.scalars(select(CouponIssue.user_id).where(of_waves, astray).limit(SHOWN))
    yield none("waves constraint", outside, "users whose row the constraint over all waves does not see")


def _elsewhere_check(connection: Connection, coupon: CouponRow) -> Check:
    """Compare the bits that refuse at the click with SQL; one that is missing may be on its way, and refuses nobody."""
    line = Line(line_redis(), coupon.id)
    gate = line.gate()
    if gate is None or not gate.opened or not waves_near(coupon.id):
        return Check(ELSEWHERE, True, "nobody can claim it now, so nobody is refused")
    found = list(drift(line.elsewhere_bits(), bits_elsewhere(connection, coupon)))
    told = is_told(connection, coupon, gate.epoch)
    wrong = [user_id for user_id, refused in found if told or refused]
    return none(ELSEWHERE, wrong, "users whose bit in Redis is not what SQL says of the other waves")
