"""The facts of a coupon in SQL, in the form that its line takes."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select
from sqlalchemy.orm import InstrumentedAttribute

from webapp.line.results import issued_result, rejected_result
from webapp.line.types import Policy
from webapp.models import Coupon, CouponIssue, CouponRow, LineEvent
from webapp.sale.audience import audience_of
from webapp.sale.outcomes import state_of

READ = 5000
"""Rows that are read at a time where there may be any number of them."""


def policy_of(coupon: Coupon | CouponRow, *, issued: int | None = None) -> Policy:
    """Return the policy that a row of `coupons` gives its gate."""
    return Policy(
        revision=coupon.revision,
        status=coupon.status,
        quota=coupon.total_quantity,
        issued=coupon.issued_quantity if issued is None else issued,
        opens_at_ms=_ms(coupon.issue_start_at),
        closes_at_ms=_ms(coupon.issue_end_at),
        standby_limit=coupon.standby_limit,
        audience=audience_of(coupon),
    )


def state_at(coupon: Coupon | CouponRow, now: datetime) -> str:
    """Return the state of a row of `coupons` at an instant of this server's clock, which is near enough for lists."""
    return state_of(policy_of(coupon), now_ms=_ms(now))


def highest_number(connection: Connection, coupon_id: int) -> int:
    """Return the highest ticket number that SQL has decided, 0 when there is none."""
    skipped = select(func.max(LineEvent.ticket_number)).where(
        LineEvent.coupon_id == coupon_id, LineEvent.kind.in_(("rejected", "already"))
    )
    return max(last_issued(connection, coupon_id) or 0, connection.scalar(skipped) or 0)


def last_issued(connection: Connection, coupon_id: int) -> int | None:
    return connection.scalar(
        select(func.max(CouponIssue.ticket_number)).where(CouponIssue.coupon_id == coupon_id)
    )


def known_results(connection: Connection, coupon_id: int, user_id: int | None = None) -> dict[str, str]:
    """Return every result that SQL knows, or those of one user, by member; an issue wins over a rejection."""
    results: dict[str, str] = {}
    rejected = select(LineEvent.user_id, LineEvent.ticket_number, LineEvent.reason).where(
        LineEvent.coupon_id == coupon_id, LineEvent.kind == "rejected", LineEvent.user_id.is_not(None)
    )
    issued = select(CouponIssue.user_id, CouponIssue.ticket_number, CouponIssue.code).where(
        CouponIssue.coupon_id == coupon_id
    )
    if user_id is not None:
        rejected = rejected.where(LineEvent.user_id == user_id)
        issued = issued.where(CouponIssue.user_id == user_id)
    for holder, number, reason in connection.execute(rejected):
        results[str(holder)] = rejected_result(number, reason)
    for holder, number, code in _in_steps(connection, issued, CouponIssue.user_id):
        results[str(holder)] = issued_result(number, code)
    return results


def _in_steps(
    connection: Connection, query: Select[*tuple[Any, ...]], unique: InstrumentedAttribute[int]
) -> Iterator[Row[*tuple[Any, ...]]]:
    """Yield the rows READ at a time, by their unique first column; in between a web process answers others."""
    last = 0
    while rows := connection.execute(query.where(unique > last).order_by(unique).limit(READ)).all():
        yield from rows
        last = rows[-1][0]
        time.sleep(0)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
