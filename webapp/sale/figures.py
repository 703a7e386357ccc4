"""What is counted of a sale, row by row, for its report."""

import time
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import redis
from sqlalchemy import Row, select

from webapp.line.line import Line
from webapp.line.places import arrival_times
from webapp.models import DRAFT, Coupon, CouponIssue
from webapp.sale.exports import decided_against, source_of
from webapp.sale.records import pages_by_number
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.stores.swallowed import swallow
from webapp.values.moments import SEOUL

WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400, 604800)
MOST_BARS = 40
NEARLY_ALL = 0.98
"""The chart ends when so many had their coupons, if the rest came long after: one that was revoked in the end, say."""
CLOCKS_APART_S = 10
"""How far the clocks of the line and of a worker may differ: whoever had a coupon later than that stood in standby."""
NAMED = 5
KOREA_S = 9 * 3600


@dataclass
class Figures:
    """What was counted. Instants are seconds since 1970, None where nobody knows them any more.

    `inversions` counts the numbers that were issued a coupon although a lower number was issued one later; `overtakers`
    are the first of them. `bars` counts the coupons that were issued in each `width_s` from `begins_at` on, and `later`
    the rest. `wait_s` is the longest wait of a number that had a coupon before they were gone, `wait_number` that one.
    `days` counts uses by day in Korea. `audit` is None until somebody audits: then the names of what failed.
    """

    counted_at: float = 0.0
    issued: int = 0
    used: int = 0
    rejected: int = 0
    revoked: int = 0
    lost: int | None = 0
    waiting: int | None = None
    in_standby: int | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    inversions: int = 0
    overtakers: list[int] = field(default_factory=list)
    first_at: float | None = None
    last_at: float | None = None
    sold_out_at: float | None = None
    wait_s: float | None = None
    wait_number: int | None = None
    begins_at: int = 0
    width_s: int = 1
    bars: list[int] = field(default_factory=list)
    later: int = 0
    days: dict[str, int] = field(default_factory=dict)
    audit: list[str] | None = None
    audited_at: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Self:
        """Read what another release may have written: unknown fields are left out."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in kept.items() if name in known})

    def remember(self, before: "Figures") -> None:
        """Take over what was known before and cannot be known any more: Redis forgets, and an audit takes its time."""
        self.sold_out_at = self.sold_out_at or before.sold_out_at
        if self.waiting is None:
            self.waiting, self.in_standby = before.waiting, before.in_standby
        if self.wait_s is None:
            self.wait_s, self.wait_number = before.wait_s, before.wait_number
        if self.audit is None:
            self.audit, self.audited_at = before.audit, before.audited_at


def count(coupon: Coupon) -> Figures:
    """Count all rows of a coupon, some thousands a transaction; a million take seconds. Raises SQLAlchemyError.

    Without Redis, what it alone knows stays unknown.
    """
    figures = Figures(counted_at=time.time())
    times = _ask_the_line(figures, coupon)
    _count_issues(figures, coupon, times)
    _count_refused(figures, coupon)
    return figures


def _ask_the_line(figures: Figures, coupon: Coupon) -> list[tuple[int, int | None]]:
    line = Line(line_redis(), coupon.id)
    if coupon.status == DRAFT:
        figures.waiting = figures.in_standby = 0
        return []
    try:
        gate, times = line.gate(), arrival_times(line)
    except redis.RedisError as error:
        swallow("line not asked", error, "the report says what SQL knows", coupon_id=coupon.id)
        return []
    if gate is not None and gate.opened:
        figures.waiting, figures.in_standby = gate.waiting, gate.in_standby
        figures.sold_out_at = gate.sold_out_at_ms / 1000 if gate.sold_out_at_ms else None
    return times


def _count_issues(figures: Figures, coupon: Coupon, times: list[tuple[int, int | None]]) -> None:
    seconds: Counter[int] = Counter()
    columns = (CouponIssue.ticket_number, CouponIssue.id, CouponIssue.issued_at, CouponIssue.used_at)
    highest_id = 0
    for page in pages_by_number(db.engine, coupon.id, select(*columns), CouponIssue):
        figures.issued += len(page)
        highest_id = _count_order(figures, page, highest_id)
        _count_days(figures, page)
        _count_waits(figures, page, times)
        seconds.update(int(row.issued_at.timestamp()) for row in page)
    figures.days = dict(sorted(figures.days.items()))
    _draw(figures, seconds)


def _count_order(figures: Figures, page: Sequence[Row[Any]], highest_id: int) -> int:
    """Count who was decided before a lower number. Ids rise as decisions do, because a lock orders these."""
    for row in page:
        if row.id < highest_id:
            figures.inversions += 1
            figures.overtakers = [*figures.overtakers, row.ticket_number][:NAMED]
        highest_id = max(highest_id, row.id)
    return highest_id


def _count_days(figures: Figures, page: Iterable[Row[Any]]) -> None:
    used = [row.used_at for row in page if row.used_at is not None]
    figures.used += len(used)
    for moment in used:
        day = moment.astimezone(SEOUL).date().isoformat()
        figures.days[day] = figures.days.get(day, 0) + 1


def _count_waits(figures: Figures, page: Sequence[Row[Any]], times: Sequence[tuple[int, int | None]]) -> None:
    gone = (figures.sold_out_at or float("inf")) + CLOCKS_APART_S
    place = bisect(times, page[0].ticket_number, key=lambda time: time[0])
    for row in page:
        while place < len(times) and times[place][0] <= row.ticket_number:
            place += 1
        came_ms, issued = times[place - 1][1] if place else None, row.issued_at.timestamp()
        if came_ms is None or issued > gone:
            continue
        wait_s = max(0.0, issued - came_ms / 1000)
        if figures.wait_s is None or wait_s > figures.wait_s:
            figures.wait_s, figures.wait_number = round(wait_s, 3), row.ticket_number


def _draw(figures: Figures, seconds: Counter[int]) -> None:
    """Choose the bars of the chart, MOST_BARS at most, and fill them."""
    if not seconds:
        return
    first, last = min(seconds), max(seconds)
    figures.first_at, figures.last_at = float(first), float(last)
    nearly = _when_nearly_all(seconds, figures.issued)
    end = last if last - first <= 4 * max(nearly - first, 1) else nearly
    figures.begins_at, figures.width_s = bars_for(first, end)
    figures.bars = [0] * ((end - figures.begins_at) // figures.width_s + 1)
    for second, count in seconds.items():
        if second <= end:
            figures.bars[(second - figures.begins_at) // figures.width_s] += count
    figures.later = figures.issued - sum(figures.bars)


def bars_for(first: int, last: int) -> tuple[int, int]:
    """Return when the bars of a chart of this time begin, and how wide each is: MOST_BARS at most, in seconds."""
    width_s = next((width for width in WIDTHS_S if (last - first) // width < MOST_BARS - 1), WIDTHS_S[-1])
    return (first + KOREA_S) // width_s * width_s - KOREA_S, width_s


def _when_nearly_all(seconds: Counter[int], issued: int) -> int:
    so_far = 0
    for second, count in sorted(seconds.items()):
        so_far += count
        if so_far >= NEARLY_ALL * issued:
            return second
    return max(seconds)


def _count_refused(figures: Figures, coupon: Coupon) -> None:
    """Count whom something was decided against, once each, as the files for Excel do."""
    source = source_of(coupon, {})
    reasons: Counter[str] = Counter()
    for fact in decided_against(source, ("rejected",)):
        figures.revoked += fact.what == "revoked"
        reasons[fact.reason] += fact.what == "rejected"
    figures.rejected = reasons.total()
    figures.reasons = {reason: count for reason, count in reasons.most_common() if count}
    try:
        figures.lost = sum(1 for _fact in decided_against(source, ("lost",)))
    except redis.RedisError as error:  # the line knows who came back
        swallow("lost places not counted", error, "the report says so", coupon_id=coupon.id)
        figures.lost = None
