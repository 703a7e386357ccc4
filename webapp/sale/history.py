"""The history of a sale: samples of its line, which the sweeper keeps for the live board and for the report.

A row is written when a look at the line finds other figures than the row before: once a second while people come, and
never while nothing happens. Before a change that follows a quiet time the last look stands in a row of its own, so that
figures between two rows lie on the straight line between them.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import redis
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from webapp.line.watching import Watched, watch
from webapp.models import DRAFT, Coupon, LineSample, utcnow
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.stores.swallowed import swallow

BEFORE_START, AFTER_END = timedelta(minutes=10), timedelta(days=1)
"""The lines that are looked at are those of coupons that open or have ended within these times."""
OFTEN, SELDOM, RARELY = timedelta(seconds=0.6), timedelta(minutes=1), timedelta(hours=1)
FINE, MOST = 3600, 50_000
"""So many rows of a coupon are a second apart; then a row is written each minute, or when MANY people moved; and each
hour once there are MOST."""
MANY = 10
QUIET = timedelta(seconds=1.5)
SHOWN = 240
"""The most samples of a whole sale that are read at once."""


class Sample(NamedTuple):
    """The figures of a line at one instant. The names are those of `models.samples.LineSample`."""

    at: datetime
    epoch: int = 0
    last_number: int = 0
    came: int = 0
    issued: int = 0
    waiting: int = 0
    in_standby: int = 0
    refused: int = 0
    pages: int = 0

    def tells_of(self, before: "Sample") -> bool:
        """Whether people came, were decided or left since. A new epoch and other pages alone are no news."""
        return self[3:-1] != before[3:-1]

    def moved_since(self, before: "Sample") -> int:
        """Return how many people came, were decided or refused since, at least."""
        return max(self.came - before.came, abs(self.issued - before.issued), self.refused - before.refused)


COLUMNS = [getattr(LineSample, name) for name in Sample._fields]


def sample_of(seen: Watched, before: Sample | None) -> Sample:
    """Return the figures of a line as it stands. `before` is an earlier sample, from which people are counted on."""
    gate, came = seen.gate, seen.given
    if before is not None:
        same = gate.epoch == before.epoch
        came = before.came + max(0, gate.last - before.last_number if same else came)
    return Sample(
        at=datetime.fromtimestamp(gate.now_ms / 1000, UTC),
        epoch=gate.epoch,
        last_number=gate.last,
        came=came,
        issued=gate.policy.issued,
        waiting=gate.waiting,
        in_standby=gate.in_standby,
        refused=sum(seen.refused.values()),
        pages=seen.pages,
    )


@dataclass(frozen=True)
class _Kept:
    """The last row of a coupon and its number, and what the last look found; 0 and None before the first."""

    number: int = 0
    row: Sample | None = None
    look: Sample | None = None

    def rows_for(self, found: Sample) -> list[Sample]:
        """Return the rows that are to be written after a look."""
        before = self.row or Sample(found.at - RARELY)
        if not found.tells_of(before) or not self._is_time(found, before):
            return []
        look = self.look
        if look is not None and not look.tells_of(before) and look.at - before.at > QUIET:
            return [look, found]
        return [found]

    def _is_time(self, found: Sample, before: Sample) -> bool:
        apart = abs(found.at - before.at)  # a clock that was put back makes no row wait
        if self.number >= MOST:
            return apart >= RARELY
        if self.number >= FINE and found.moved_since(before) < MANY:
            return apart >= SELDOM
        return apart >= OFTEN


class Sampler:
    """Looks at every line on sale. It keeps in memory what it has written last; any number of samplers may run."""

    def __init__(self) -> None:
        self.kept: dict[int, _Kept] = {}

    def look(self) -> int:
        """Write what has changed in each line on sale since the last look, and return how many rows that was.

        What another sampler has written at that moment is not written again. Raises redis.RedisError, SQLAlchemyError;
        then nothing is written, and the next look sees the same.
        """
        kept, rows = {}, []
        for coupon_id in _on_sale():
            before = self.kept.get(coupon_id) or _last_kept(coupon_id)
            kept[coupon_id], written = _looked_at(coupon_id, before)
            rows += written
        try:
            _write(rows)
        except SQLAlchemyError as error:
            self.kept = {}  # what stands in SQL is read again
            if not isinstance(error, IntegrityError):
                raise
            swallow("samples refused", error, "another sweeper has written them", again=True)
            return 0
        self.kept = kept
        return len(rows)


def _looked_at(coupon_id: int, before: _Kept) -> tuple[_Kept, list[dict[str, object]]]:
    seen = None
    try:
        seen = watch(line_redis(), coupon_id)
    except redis.RedisError as error:
        if not line_redis().is_apart(error):
            raise  # the other lines are away with this one
    if seen is None:
        return before, []
    found = sample_of(seen, before.row)
    opened_at = datetime.fromtimestamp(seen.gate.policy.opens_at_ms / 1000, UTC)
    if before == _Kept() and opened_at < found.at:
        before = _Kept(look=Sample(opened_at))  # whoever came before the first look came since the start
    rows = before.rows_for(found)
    number = before.number + len(rows)
    numbered = enumerate(rows, before.number + 1)
    written = [{"coupon_id": coupon_id, "number": each, **row._asdict()} for each, row in numbered]
    return _Kept(number, found if rows else before.row, found), written


def _write(rows: Sequence[dict[str, object]]) -> None:
    if rows:
        with db.engine.begin() as connection:
            connection.execute(insert(LineSample), rows)


def _on_sale() -> Sequence[int]:
    now = utcnow()
    on_sale = select(Coupon.id).where(
        Coupon.issue_end_at > now - AFTER_END,
        Coupon.issue_start_at < now + BEFORE_START,
        Coupon.status != DRAFT,
        Coupon.rehearsal.is_(False),
    )
    with db.engine.connect() as connection:
        return connection.scalars(on_sale).all()


def _last_kept(coupon_id: int) -> _Kept:
    last = samples_after(coupon_id, 0, 1)
    return _Kept(*last[0]) if last else _Kept()


def _last_number(coupon_id: int) -> int:
    of_coupon = LineSample.coupon_id == coupon_id
    with db.engine.connect() as connection:
        return connection.scalar(select(func.max(LineSample.number)).where(of_coupon)) or 0


def last_samples(coupon_id: int, most: int) -> list[Sample]:
    """Return the last samples of a coupon, at most so many, the oldest first."""
    return [sample for _number, sample in samples_after(coupon_id, 0, most)]


def samples_after(coupon_id: int, number: int, most: int) -> list[tuple[int, Sample]]:
    """Return the samples of a coupon behind that number, each with its own: the last ones, the oldest first."""
    newer = (LineSample.coupon_id == coupon_id, LineSample.number > number)
    newest = select(LineSample.number, *COLUMNS).where(*newer).order_by(LineSample.number.desc())
    with db.engine.connect() as connection:
        rows = connection.execute(newest.limit(most)).all()
    return [(row[0], Sample(*row[1:])) for row in reversed(rows)]


def whole_sale(coupon_id: int, most: int = SHOWN) -> list[Sample]:
    """Return samples of a whole sale, the oldest first: the first, the last, and evenly chosen ones between.

    All of them, if there are at most so many; what lies between two of them came in that time.
    """
    last = _last_number(coupon_id)
    chosen = {*range(1, last + 1, max(1, -(-last // most))), last}
    of_these = (LineSample.coupon_id == coupon_id, LineSample.number.in_(sorted(chosen)))
    with db.engine.connect() as connection:
        rows = connection.execute(select(*COLUMNS).where(*of_these).order_by(LineSample.number)).all()
    return [Sample(*row) for row in rows]


class Pace(NamedTuple):
    """How many people a second came, and how many a second were issued a coupon, in a span that begins `at`."""

    at: datetime
    claims: float
    issued: float


def paces(samples: Iterable[Sample], since: datetime, until: datetime, parts: int) -> list[Pace]:
    """Return the pace in each of so many equal parts of a time. Outside of the samples nothing happened.

    Coupons that were taken back make no pace negative.
    """
    curve, part = _Curve(samples), (until - since) / parts
    at = [since + part * number for number in range(parts + 1)]
    seen, seconds = [curve.at(moment) for moment in at], part.total_seconds() or 1.0
    return [
        Pace(moment, max(0.0, then[0] - now[0]) / seconds, max(0.0, then[1] - now[1]) / seconds)
        for moment, now, then in zip(at, seen, seen[1:], strict=False)
    ]


class _Curve:
    """How many had come and had been issued a coupon at any time, on straight lines from sample to sample."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.samples: list[Sample] = []
        for sample in samples:
            # What a clock that was put back says of the same times again is left out.
            if not self.samples or sample.at > self.samples[-1].at:
                self.samples.append(sample)

    def at(self, moment: datetime) -> tuple[float, float]:
        after = bisect_right(self.samples, moment, key=lambda sample: sample.at)
        if not self.samples:
            return 0.0, 0.0
        if after in (0, len(self.samples)):
            end = self.samples[min(after, len(self.samples) - 1)]
            return float(end.came), float(end.issued)
        first, second = self.samples[after - 1], self.samples[after]
        share = (moment - first.at) / (second.at - first.at)
        return (
            first.came + (second.came - first.came) * share,
            first.issued + (second.issued - first.issued) * share,
        )
