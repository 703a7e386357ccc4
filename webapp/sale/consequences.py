"""What a decision will do to how many people: counted before an operator takes it, from SQL's row and the line now."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from math import inf
from typing import NamedTuple

from webapp.line.types import Gate
from webapp.models import CLOSED, DRAFT, Coupon, CouponRow, most_of

MINUTE = timedelta(minutes=1)


class Consequence(NamedTuple):
    """One thing that will happen: `what` it is, and the `number` of people, or of minutes for a period."""

    what: str
    number: int


def of_quota(coupon: Coupon | CouponRow, gate: Gate | None, quota: int | None) -> list[Consequence]:
    """Return what another quota (None = unlimited) does to those who wait and stand in standby, and to newcomers.

    Empty when it touches nobody, for a draft, for a quota that breaks a rule, and without a gate to count by.
    """
    if coupon.status == DRAFT or gate is None or (quota is not None and quota < coupon.issued_quantity):
        return []
    return list(_of_quota(_left(coupon, coupon.total_quantity), _left(coupon, quota), gate))


def _left(coupon: Coupon | CouponRow, quota: int | None) -> float:
    """Return how many coupons are left to be issued under a quota; a pool has no more than its codes."""
    most = most_of(quota, coupon.issued_quantity, coupon.pool_left)
    return inf if most is None else most - coupon.issued_quantity


def _of_quota(before: float, left: float, gate: Gate) -> Iterator[Consequence]:
    """Standby comes before those who wait: its numbers are lower."""
    served = int(min(gate.in_standby, left))
    if served:
        yield Consequence("standby served", served)
    if gate.in_standby > served:
        yield Consequence("standby stays", gate.in_standby - served)
    now, then = (int(min(gate.waiting, max(0, each - gate.in_standby))) for each in (before, left))
    if then > now:
        yield Consequence("waiting gain", then - now)
    if now > then:
        yield Consequence("waiting lose", now - then)
    if left == 0 < before:
        yield Consequence("sold out", 0)
    if gate.sold_out and left > gate.in_standby + gate.waiting:
        yield Consequence("open again", 0 if left == inf else int(left) - gate.in_standby - gate.waiting)


def of_end(coupon: Coupon | CouponRow, gate: Gate | None, end: datetime, now: datetime) -> list[Consequence]:
    """Return what another end of the period does. Empty for a draft, for one that was closed, and for no change."""
    if coupon.status in (DRAFT, CLOSED) or end == coupon.issue_end_at:
        return []
    waiting = [Consequence("still served", gate.waiting)] if gate and gate.waiting else []
    if end <= now < coupon.issue_end_at:
        return [Consequence("ends now", 0), *waiting]
    if coupon.issue_end_at <= now < end:
        return [Consequence("comes again", _minutes(end - now))]
    if coupon.issue_end_at > now and coupon.issue_start_at <= now:
        longer = end > coupon.issue_end_at
        return [Consequence("longer" if longer else "shorter", _minutes(abs(end - coupon.issue_end_at)))]
    return []


def of_close(gate: Gate | None) -> list[Consequence]:
    """Return what closing does: nobody new comes, and who has a number is served or stays in standby."""
    found = [Consequence("nobody new", 0)]
    if gate and gate.waiting:
        found.append(Consequence("still served", gate.waiting))
    if gate and gate.in_standby:
        found.append(Consequence("standby stays", gate.in_standby))
    return found


def _minutes(span: timedelta) -> int:
    return max(1, round(span / MINUTE))
