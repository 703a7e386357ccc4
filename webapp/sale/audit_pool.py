"""The audit of a pool: what is left is what stands behind the cursor, and what was given stands before it."""

from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from webapp.models import Coupon, CouponIssue, CouponRow, PoolCode, Upload
from webapp.models.uploads import COUNTED
from webapp.sale.audit_checks import SHOWN, Check, none
from webapp.sale.drawing import CODES
from webapp.sale.pools import missing_codes


def pool_checks(connection: Connection, coupon_id: int) -> Iterator[Check]:
    """Judge the pool of a coupon; one whose codes we draw has nothing to judge.

    The last issue is read before the cursor, so that an admission that commits in between is found guilty of nothing.
    """
    last = select(func.max(CouponIssue.id)).where(CouponIssue.coupon_id == coupon_id)
    until = connection.scalar(last) or 0
    coupon = connection.execute(select(Coupon).where(Coupon.id == coupon_id)).one()
    if coupon.pool_left is None:
        return
    yield _left_check(connection, coupon)
    yield from _given_checks(connection, coupon, until)


def _left_check(connection: Connection, coupon: CouponRow) -> Check:
    mine = (Upload.coupon_id == coupon.id, Upload.kind == CODES, Upload.state == COUNTED)
    there = select(func.count()).select_from(PoolCode).join(Upload, Upload.id == PoolCode.upload_id)
    behind = connection.scalar(there.where(*mine, _is_behind_the_cursor(coupon))) or 0
    words = f"{coupon.pool_left} codes left by the coupon, {behind} in its files"
    if missing := missing_codes(coupon):
        words += f"; {missing} coupons of the quota have no code"
    return Check("pool left", coupon.pool_left == behind, words)


def _given_checks(connection: Connection, coupon: CouponRow, until: int) -> Iterator[Check]:
    issues = (CouponIssue.coupon_id == coupon.id, CouponIssue.id <= until)
    mine = and_(Upload.id == PoolCode.upload_id, Upload.coupon_id == coupon.id, Upload.state == COUNTED)
    pool = select(PoolCode.code).join(Upload, mine)
    given = pool.where(~_is_behind_the_cursor(coupon)).where(PoolCode.code == CouponIssue.code)
    strange = select(CouponIssue.user_id).where(*issues, ~given.exists()).limit(SHOWN)
    yield none("pool codes", connection.scalars(strange), "users whose code was not given by the pool")
    waiting = pool.join(CouponIssue, CouponIssue.code == PoolCode.code).where(_is_behind_the_cursor(coupon))
    lines = waiting.with_only_columns(PoolCode.line).where(CouponIssue.id <= until).limit(SHOWN)
    yield none("pool order", connection.scalars(lines), "lines of codes that somebody has before their turn")


def _is_behind_the_cursor(coupon: CouponRow) -> ColumnElement[bool]:
    later = PoolCode.upload_id > coupon.pool_upload_id
    return or_(later, and_(PoolCode.upload_id == coupon.pool_upload_id, PoolCode.line > coupon.pool_line))
