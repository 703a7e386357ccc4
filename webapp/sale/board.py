"""The live board: the figures of one sale as they stand this second.

However many operators look on, each web process reads the stores once a second for all of them. While a store is away
the board keeps the figures that it has read last, and says which store that is; it goes on by itself.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import redis
from flask import current_app
from sqlalchemy.exc import SQLAlchemyError

from webapp.line.watching import Watched, watch
from webapp.models import Coupon
from webapp.sale.coupons import coupon_by_id
from webapp.sale.drift import Drift
from webapp.sale.history import Pace, Sample, paces, sample_of, samples_after, whole_sale
from webapp.sale.levels import BLOCKING, Finding
from webapp.sale.outcomes import Refused, state_of
from webapp.sale.prospects import Prospect, Rush
from webapp.sale.readiness import AWAY, CHECKS, findings
from webapp.sale.records import policy_of
from webapp.stores.script_redis import line_redis
from webapp.stores.swallowed import swallow

FRESH_S, HEALTH_S, SALE_S = 0.9, 5.0, 10.0
"""How long figures, the health of the parts, and the chart of the whole sale are shown before they are read anew."""
MINUTE, NOW, LATELY = timedelta(minutes=1), timedelta(seconds=5), timedelta(seconds=30)
SHORTEST = timedelta(seconds=10)
"""The times of the first chart, of what happens a second now, and of the pace by which the end is estimated; the
shortest time of the second chart."""
PARTS_OF_MINUTE, PARTS_OF_SALE = 60, 60
HEALTH = {"work": ("redis",), "clocks": ("redis", "sql"), "line": ("redis",), "database": ("sql",)}
"""The checks before going live that the board goes on with, each with the stores that it asks."""


@dataclass(frozen=True)
class Figures:
    """The figures of a line at one instant. What only Redis knows is None where it was never asked."""

    at: datetime
    state: str
    opens_at: datetime
    closes_at: datetime
    quota: int | None
    issued: int
    waiting: int
    in_standby: int
    standby_limit: int
    came: int
    sold_out_at: datetime | None = None
    oldest_s: float | None = None
    pages: int | None = None
    polls: int | None = None
    refused: Mapping[str, int] | None = None

    @property
    def left(self) -> int | None:
        return None if self.quota is None else max(0, self.quota - self.issued)


@dataclass(frozen=True)
class Board:
    """The board. `figures` are the last that are known, None where nothing is; `away` are stores that do not answer.

    `claims` and `issued` happen a second now. `sells_out_s`: in how many seconds the coupons are gone at this pace.
    `rejected` counts numbers without a coupon by the reason. `drift`: see `webapp.sale.drift`.
    """

    coupon: Coupon | None
    figures: Figures | None
    away: frozenset[str]
    minute: Sequence[Pace]
    whole: Sequence[Pace]
    claims: float
    issued: float
    sells_out_s: float | None
    rejected: Mapping[str, int]
    drift: int | None
    health: Sequence[Finding]

    @property
    def is_old(self) -> bool:
        """Whether the figures of the line are not of now."""
        return "redis" in self.away


def board_of(coupon_id: int) -> Board:
    """Return the board, at most FRESH_S old; the same one for everybody who asks this process meanwhile.

    Raises Refused(not_found). A store that is away raises nothing.
    """
    watches: dict[int, _Watch] = current_app.extensions.setdefault("boards", {})
    watched = watches.setdefault(coupon_id, _Watch(coupon_id))
    try:
        return watched.board()
    except Refused:
        watches.pop(coupon_id, None)
        raise


class _Watch:
    """What a process knows of one coupon's board. One caller reads, the others take what it has read last."""

    def __init__(self, coupon_id: int) -> None:
        self.coupon_id = coupon_id
        self.turn = threading.Lock()
        self.kept: Board | None = None
        self.fresh_until = self.health_until = self.sale_until = 0.0
        self.away: set[str] = set()
        self.coupon: Coupon | None = None
        self.seen: Watched | None = None
        self.figures: Figures | None = None
        self.samples: deque[Sample] = deque(maxlen=2 * PARTS_OF_MINUTE)
        self.number = 0
        self.sale: list[Sample] = []
        self.recent: deque[Sample] = deque(maxlen=2 * PARTS_OF_MINUTE)
        self.drift = Drift()
        self.health: list[Finding] = []

    def board(self) -> Board:
        if self.kept is not None and time.monotonic() < self.fresh_until:
            return self.kept
        if not self.turn.acquire(blocking=self.kept is None):
            assert self.kept is not None
            return self.kept
        try:
            if self.kept is None or time.monotonic() >= self.fresh_until:
                self.kept = self._read()
                self.fresh_until = time.monotonic() + FRESH_S
            return self.kept
        finally:
            self.turn.release()

    def _read(self) -> Board:
        was, self.away = self.away, set()
        # The line first: what stands in it has been committed before (`Drift.look`).
        with self._unless_away(was):
            self.seen = watch(line_redis(), self.coupon_id)
        with self._unless_away(was):
            self._look_at_sql()
        if "redis" not in self.away:
            self._take(self.seen)
        elif self.figures is None:
            self.figures = self._figures_of_sql(at=None)
        self._look_at_parts(changed=was != self.away)
        return self._shown()

    @contextmanager
    def _unless_away(self, was: set[str]) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, SQLAlchemyError) as error:
            store = "redis" if isinstance(error, redis.RedisError) else "sql"
            swallow("board not read", error, "it shows what it knows, and asks again", again=store in was)
            self.away.add(store)

    def _look_at_sql(self) -> None:
        coupon = coupon_by_id(self.coupon_id)
        if coupon is None:
            raise Refused("not_found")
        self.coupon = coupon
        for number, sample in samples_after(self.coupon_id, self.number, 2 * PARTS_OF_MINUTE):
            self.number = number
            self.samples.append(sample)
        if time.monotonic() >= self.sale_until:
            self.sale = whole_sale(self.coupon_id)
            self.sale_until = time.monotonic() + SALE_S
        self.drift.look(coupon, None if "redis" in self.away else self.seen)

    def _take(self, seen: Watched | None) -> None:
        """Take what was seen of the line; without an open epoch, what SQL knows."""
        if seen is None:
            self.figures = self._figures_of_sql(at=datetime.now(UTC))
            return
        now = sample_of(seen, self.samples[-1] if self.samples else None)
        self.recent.append(now)
        gate, policy = seen.gate, seen.gate.policy
        self.figures = Figures(
            at=now.at,
            state=state_of(policy, now_ms=gate.now_ms),
            opens_at=_moment(policy.opens_at_ms),
            closes_at=_moment(policy.closes_at_ms),
            quota=policy.quota,
            issued=now.issued,
            waiting=now.waiting,
            in_standby=now.in_standby,
            standby_limit=policy.standby_limit,
            came=now.came,
            sold_out_at=_moment(gate.sold_out_at_ms) if gate.sold_out_at_ms else None,
            oldest_s=None if seen.oldest_ms is None else seen.oldest_ms / 1000,
            pages=seen.pages,
            polls=seen.polls,
            refused=seen.refused,
        )

    def _figures_of_sql(self, at: datetime | None) -> Figures | None:
        """Return what SQL knows of the line: the coupon's row, and the last sample, at whose time by default."""
        coupon = self.coupon
        if coupon is None:
            return None
        last, policy = self.samples[-1] if self.samples else Sample(coupon.created_at), policy_of(coupon)
        return Figures(
            at=at or last.at,
            state="draft" if coupon.status == "draft" else state_of(policy, now_ms=int(time.time() * 1000)),
            opens_at=coupon.issue_start_at,
            closes_at=coupon.issue_end_at,
            quota=policy.quota,
            issued=policy.issued,
            waiting=last.waiting,
            in_standby=last.in_standby,
            standby_limit=policy.standby_limit,
            came=last.came,
        )

    def _look_at_parts(self, *, changed: bool) -> None:
        """Look at the parts now and then, and at once when a store has gone or is back."""
        if self.coupon is None or (time.monotonic() < self.health_until and not changed):
            return
        answering = {name for name, stores in HEALTH.items() if not self.away.intersection(stores)}
        found = {each.check: each for each in findings(Prospect(self.coupon, Rush()), answering)}
        titles = {name: title for name, title, _look in CHECKS}
        for name, stores in HEALTH.items():
            if name not in found:
                store = next(each for each in stores if each in self.away)
                found[name] = Finding(name, titles[name], BLOCKING, AWAY[store])
        self.health = [found[name] for name in HEALTH]
        self.health_until = time.monotonic() + HEALTH_S

    def _shown(self) -> Board:
        points = sorted([*self.samples, *self.recent], key=lambda sample: sample.at)
        until = points[-1].at if points else datetime.now(UTC)
        (now,), (lately,) = (paces(points, until - span, until, 1) for span in (NOW, LATELY))
        return Board(
            coupon=self.coupon,
            figures=self.figures,
            away=frozenset(self.away),
            minute=paces(points, until - MINUTE, until, PARTS_OF_MINUTE),
            whole=_whole([*self.sale, *points]),
            claims=now.claims,
            issued=now.issued,
            sells_out_s=_sells_out_s(self.figures, lately.issued),
            rejected=self.drift.rejected,
            drift=None if self.away else self.drift.apart,
            health=self.health,
        )


def _whole(points: list[Sample]) -> list[Pace]:
    """Return the paces from the first sample to the last change. Before anybody came there are none."""
    points.sort(key=lambda sample: sample.at)
    if not points or points[-1].came == 0:
        return []
    end = next(each.at for each in points if each[3:5] == points[-1][3:5])
    return paces(points, points[0].at, max(end, points[0].at + SHORTEST), PARTS_OF_SALE)


def _sells_out_s(figures: Figures | None, issued_a_second: float) -> float | None:
    if figures is None or not figures.left or figures.state != "open" or issued_a_second <= 0:
        return None
    return figures.left / issued_a_second


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
