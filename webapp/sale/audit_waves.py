"""The audit of the waves of a campaign: one for each person over all of them, and nothing lost or made in between."""

from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from webapp.models import Coupon, CouponIssue, CouponRow
from webapp.sale.audit_checks import SHOWN, Check, none


def wave_checks(connection: Connection, coupon: CouponRow) -> Iterator[Check]:
    """Judge all waves of the campaign of a coupon; a coupon without waves has nothing to judge."""
    if coupon.campaign_id is None:
        return
    waves = select(Coupon.id).where(Coupon.campaign_id == coupon.campaign_id)
    if coupon.one_per_campaign:
        yield from _one_each(connection, coupon, list(connection.scalars(waves)))
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
