"""The members of a line: the copy in Redis of who may have a coupon, as one bit for each user.

SQL decides at admission. The copy refuses everybody else at the click, and counts only where its mark names the epoch
and the audience of the gate. So a copy that Redis lost, or one from before a change, refuses everybody until it is
written anew: at once by whoever changes a list, and within seconds by the sweeper.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import redis
from flask import current_app
from sqlalchemy import Connection, Row, func, select
from sqlalchemy.exc import SQLAlchemyError

from webapp.line.line import Line
from webapp.line.types import Gate
from webapp.models import DRAFT, EVERYBODY, LIST, Coupon, CouponRow, Member, Upload, User, utcnow
from webapp.models.uploads import COUNTED
from webapp.sale.audience import audience_of, bits_of, counts_for, grades_of, insiders_among, users_of
from webapp.stores.malformed import is_malformed
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.stores.swallowed import swallow

ACCOUNTS = "accounts"
AT_ONCE = 20_000
"""People whom a request writes to Redis itself. It leaves longer lists to the sweeper, which has the time."""
MARKED = 1000
"""Accounts that are told one by one. When more have changed, all bits are written anew."""
KEPT_AFTER_END = timedelta(days=7)
APART = timedelta(seconds=30)
"""How long a change takes to be committed at most, with what the clocks of two hosts differ by."""
AT_FIRST = timedelta(minutes=10)
TOLD = "members_told"
"""Under this name an app keeps until when it has told Redis of accounts that changed."""


class Ready(NamedTuple):
    """Bits that were made before a change was committed, for the version that the change makes."""

    audience: str
    bits: bytes
    made_at: datetime


def members_are_whole(gate: Gate | None, coupon: Coupon | CouponRow) -> bool:
    """Return whether Redis knows who may have the coupon. Raises redis.RedisError."""
    audience = audience_of(coupon)
    if gate is None or not gate.opened or gate.policy.audience != audience:
        return False
    return not audience or Line(line_redis(), coupon.id).members_are_of(gate.epoch, audience)


def write_members(coupon_id: int, *, most: int | None = None, ready: Ready | None = None) -> bool:
    """Write to Redis who may have the coupon, if that is not there; return whether it is there now.

    A coupon for more people than `most` is left to the sweeper, unless its bits are `ready`. A repeat changes nothing.
    Raises SQLAlchemyError, redis.RedisError.
    """
    with db.engine.connect() as connection:
        coupon = connection.execute(select(Coupon).where(Coupon.id == coupon_id)).one_or_none()
        if coupon is None or coupon.status == DRAFT or coupon.audience == EVERYBODY:
            return True
        line = Line(line_redis(), coupon_id)
        gate = line.gate()
        if members_are_whole(gate, coupon):
            return True
        if gate is None or not gate.opened or gate.policy.audience != audience_of(coupon):
            return False
        if ready is None or ready.audience != audience_of(coupon):
            if most is not None and _size(connection, coupon) > most:
                return False
            ready = make_ready(connection, coupon, audience_of(coupon))
    return _write(line, gate.epoch, ready)


def make_ready(connection: Connection, coupon: Coupon | CouponRow, audience: str) -> Ready:
    began = utcnow()
    return Ready(audience, bits_of(users_of(connection, coupon)), began)


def _write(line: Line, epoch: int, ready: Ready) -> bool:
    """Write the bits, and then tell of the accounts that have changed since they were made."""
    written = line.write_members(epoch=epoch, audience=ready.audience, bits=ready.bits)
    if written:
        tell_accounts(changed_accounts(ready.made_at - APART, most=None))
    return written


def tell_accounts(ids: Collection[int]) -> None:
    """Tell every line whether it may give a number to these accounts: they are new, or carry another name or grade.

    A list in Redis that is not whole hears nothing: whoever writes it reads SQL. A repeat changes nothing. Raises
    SQLAlchemyError, redis.RedisError.
    """
    for coupon in lists_in_use() if ids else ():
        ordered = sorted(ids)
        for start in range(0, len(ordered), MARKED):
            some = ordered[start : start + MARKED]
            with db.engine.connect() as connection:
                inside = insiders_among(connection, coupon, some)
            marks = {user_id: user_id in inside for user_id in some}
            audience = audience_of(coupon)
            Line(line_redis(), coupon.id).mark_members(marks, was=audience, audience=audience)


def tell_account(user_id: int) -> None:
    """Tell the lines of an account whose change is committed. If a store is away, the sweeper tells them."""
    try:
        tell_accounts([user_id])
    except (redis.RedisError, SQLAlchemyError) as error:
        swallow("account not told to the lists", error, "the sweeper tells them")


def lists_in_use() -> Sequence[Row[Any]]:
    """Return the rows of the published coupons that are not for everybody, but for those that ended long ago."""
    restricted = (Coupon.audience != EVERYBODY, Coupon.status != DRAFT)
    since = utcnow() - KEPT_AFTER_END
    with db.engine.connect() as connection:
        return connection.execute(select(Coupon).where(*restricted, Coupon.issue_end_at > since)).all()


def changed_accounts(since: datetime, *, most: int | None) -> list[int]:
    """Return the ids of the accounts that came or changed since then, `most` of them at most."""
    with db.engine.connect() as connection:
        query = select(User.id).where(User.changed_at > since).order_by(User.changed_at).limit(most)
        return list(connection.scalars(query))


def sweep_members() -> None:
    """Write the lists that Redis lost, and tell them of the accounts that changed since the last sweep.

    The first sweep of a process looks back for ten minutes. Raises SQLAlchemyError, redis.RedisError: the next sweep
    does it all again.
    """
    began, told = utcnow(), current_app.extensions
    since = told.get(TOLD, began - AT_FIRST)
    coupons = lists_in_use()
    for coupon in coupons:
        _write_passing_over(coupon.id)
    if coupons:
        changed = changed_accounts(since - APART, most=MARKED + 1)
        if len(changed) > MARKED or _imported(since):
            for coupon in coupons:
                rewrite_members(coupon)
        else:
            tell_accounts(changed)
    told[TOLD] = began


def _write_passing_over(coupon_id: int) -> None:
    try:
        write_members(coupon_id)
    except redis.ResponseError as error:
        if not is_malformed(error):
            raise
        swallow("list not written", error, "the sweeper sets aside what is malformed", coupon_id=coupon_id)


def rewrite_members(coupon: CouponRow) -> None:
    """Write the members of a line anew, although Redis has them: so many accounts have changed."""
    line = Line(line_redis(), coupon.id)
    gate = line.gate()
    if gate is not None and gate.opened:
        with db.engine.connect() as connection:
            ready = make_ready(connection, coupon, audience_of(coupon))
        _write(line, gate.epoch, ready)


def _imported(since: datetime) -> bool:
    """Whether a file about accounts has counted since then: each counts within one sweep, and is written once."""
    counted = (Upload.kind == ACCOUNTS, Upload.state == COUNTED, Upload.counted_at > since)
    with db.engine.connect() as connection:
        return connection.scalar(select(Upload.id).where(*counted).limit(1)) is not None


def _size(connection: Connection, coupon: CouponRow) -> int:
    """Return about how many people a coupon is for."""
    if coupon.audience == LIST:
        return connection.scalar(select(func.sum(Upload.good)).where(*counts_for(coupon.id))) or 0
    of_grades = select(func.count()).select_from(Member).where(Member.grade.in_(grades_of(coupon)))
    return connection.scalar(of_grades) or 0
