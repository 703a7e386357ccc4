"""Who has a coupon of another wave: the copy of it in the line of a wave, as one bit for each user.

It refuses at the click, and it is a hint. SQL decides at admission, and the unique index stands behind that: a bit that
is missing gives a number that is rejected at its turn. A bit that is too much is gone within a sweep or two.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, select

from webapp.line.line import Line
from webapp.models import DRAFT, Coupon, CouponIssue, CouponRow, utcnow
from webapp.sale.audience import bits_of
from webapp.sale.records import in_steps
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

NEAR = timedelta(minutes=10)
"""So long before its start a wave hears who has one of another wave: of 60 waves only one or two are written."""


def waves_near(*ids: int) -> Sequence[Row[Any]]:
    """Return the rows of the published waves that people can claim now or soon, where a campaign gives one each.

    With `ids` only those among them.
    """
    now = utcnow()
    near = [Coupon.issue_start_at < now + NEAR, Coupon.issue_end_at > now - NEAR, Coupon.status != DRAFT]
    among = [Coupon.id.in_(ids)] if ids else []
    with db.engine.connect() as connection:
        return connection.execute(select(Coupon).where(Coupon.one_per_campaign, *near, *among)).all()


def write_elsewhere(wave: CouponRow, *, most: int | None = None) -> None:
    """Write to the line of a wave who has one of another wave, unless it knows. The sweeper writes more than `most`.

    A repeat changes nothing. Raises SQLAlchemyError, redis.RedisError.
    """
    line = Line(line_redis(), wave.id)
    gate = line.gate()
    if gate is None or not gate.opened:
        return
    with db.engine.connect() as connection:
        # Before the holders: who comes in between raises a revision, and is written by the next sweep.
        version, holders = _version_of(connection, wave)
        if line.elsewhere_is_of(gate.epoch, version) or (most is not None and holders > most):
            return
        bits = bits_elsewhere(connection, wave)
    line.write_elsewhere(epoch=gate.epoch, version=version, bits=bits)


def is_told(connection: Connection, wave: CouponRow, epoch: int) -> bool:
    """Return whether the line has heard of all that happened in the other waves. Raises redis.RedisError."""
    return Line(line_redis(), wave.id).elsewhere_is_of(epoch, _version_of(connection, wave)[0])


def bits_elsewhere(connection: Connection, wave: CouponRow) -> bytes:
    """Return a bit for each user id that has a coupon of another wave, by SQL."""
    held = select(CouponIssue.user_id).where(
        CouponIssue.campaign_id == wave.campaign_id, CouponIssue.coupon_id != wave.id
    )
    return bits_of(in_steps(connection, held, CouponIssue.user_id))


def _version_of(connection: Connection, wave: CouponRow) -> tuple[str, int]:
    """Return a version that every commit in another wave raises, and how many coupons the other waves have issued."""
    others = (Coupon.campaign_id == wave.campaign_id, Coupon.id != wave.id)
    sums = select(func.sum(Coupon.revision), func.sum(Coupon.issued_quantity)).where(*others)
    revisions, issued = connection.execute(sums).one()
    return str(int(revisions or 0)), int(issued or 0)
