"""What the audit reads of one coupon in both stores. Nothing is judged here, and nothing is changed."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

from sqlalchemy import Connection, func, select

from webapp.line.line import Line
from webapp.line.results import REVOKED, rejected_result
from webapp.line.types import Gate
from webapp.models import CouponIssue, CouponRow, LineEvent, Revocation
from webapp.sale.locking import CouponLock
from webapp.stores.script_redis import line_redis

ROWS = 5000
CLOCKS_APART = timedelta(minutes=10)
"""How far the clocks of two of our hosts may differ before a row is taken for one from before its coupon."""


@dataclass
class Facts:
    """The facts of one coupon. Issues by user; reasons by number; tickets and results by member of the line.

    `last` is the counter when the reading began. `too_old` counts the issues from before the coupon was made.
    `rejections` are the results that SQL's events make, by user. The revocations, and the events that tell of one, are
    pairs of user and number. `arrivals` are pairs of a number and the ms since 1970 from which on it was given. `late`
    are tickets that were restored after the wait for receipts.
    """

    coupon: CouponRow
    gate: Gate | None = None
    opened: bool = False
    bell_ms: int | None = None
    last: int = 0
    issues: dict[int, tuple[int, int, str]] = field(default_factory=dict)
    rows: int = 0
    doubles: list[int] = field(default_factory=list)
    codes: int = 0
    too_old: int = 0
    reasons: dict[int, str] = field(default_factory=dict)
    rejections: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    rejected_numbers: set[tuple[int, int]] = field(default_factory=set)
    told_revoked: set[tuple[int, int]] = field(default_factory=set)
    revoked: set[tuple[int, int]] = field(default_factory=set)
    floors: list[tuple[int, int]] = field(default_factory=list)
    results: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    standby: dict[str, int] = field(default_factory=dict)
    late: dict[str, int] = field(default_factory=dict)
    arrivals: list[tuple[int, int]] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)

    @cached_property
    def in_flight(self) -> set[int]:
        """Users whose row is committed and whose ticket is not settled yet."""
        numbers = ((user, number) for user, (number, _, _) in self.issues.items())
        return {user for user, number in numbers if self._is_in_flight(user, number)}

    @cached_property
    def rejected_in_flight(self) -> set[int]:
        """Users whose rejection is committed and whose ticket is not settled yet."""
        return {user for user, number in self.rejected_numbers if self._is_in_flight(user, number)}

    def _is_in_flight(self, user: int, number: int) -> bool:
        member = str(user)
        return member not in self.results and number in (self.waiting.get(member), self.standby.get(member))

    @property
    def floor(self) -> int:
        """No number of the running epoch is at or below it."""
        return max((floor for _, floor in self.floors), default=0)

    @property
    def highest_decided(self) -> int:
        # A place that was lost is told of, and decided nothing: both stores may have forgotten its number.
        skipped = (number for number, kind in self.reasons.items() if kind != "lost")
        return max((*(number for number, _, _ in self.issues.values()), *skipped), default=0)

    @property
    def places(self) -> dict[str, int]:
        """The tickets in line and in standby."""
        return self.waiting | self.standby


def facts_of(lock: CouponLock) -> Facts:
    """Read the facts while the coupon's row is locked. Raises redis.RedisError, SQLAlchemyError."""
    assert lock.coupon is not None
    facts = Facts(lock.coupon)
    _read_issues(facts, lock.connection)
    _read_events(facts, lock.connection)
    _read_redis(facts, Line(line_redis(), lock.coupon.id))
    return facts


def _read_redis(facts: Facts, line: Line) -> None:
    before = line.gate()
    facts.last = before.last if before else 0
    facts.waiting, facts.standby = dict(line.waiting()), dict(line.standby())
    facts.results, facts.late = dict(line.results()), dict(line.late())
    facts.arrivals = line.arrivals()
    facts.opened, facts.bell_ms = line.is_open(), line.bell_ms()
    facts.gate, facts.aside = line.gate(), line.aside()


def _read_issues(facts: Facts, connection: Connection) -> None:
    columns = (CouponIssue.user_id, CouponIssue.ticket_number, CouponIssue.epoch, CouponIssue.code)
    of_coupon = CouponIssue.coupon_id == facts.coupon.id
    for user_id, number, epoch, code in connection.execution_options(yield_per=ROWS).execute(
        select(*columns).where(of_coupon)
    ):
        facts.rows += 1
        if user_id in facts.issues:
            facts.doubles.append(user_id)
        facts.issues[user_id] = (number, epoch, code)
    facts.codes = connection.scalar(select(func.count(CouponIssue.code.distinct())).where(of_coupon)) or 0
    too_old = CouponIssue.issued_at < facts.coupon.created_at - CLOCKS_APART
    facts.too_old = connection.scalar(select(func.count()).where(of_coupon, too_old)) or 0
    revoked = select(Revocation.user_id, Revocation.ticket_number)
    revocations = connection.execute(revoked.where(Revocation.coupon_id == facts.coupon.id))
    facts.revoked = {(user, number) for user, number in revocations}


def _read_events(facts: Facts, connection: Connection) -> None:
    columns = (LineEvent.kind, LineEvent.ticket_number, LineEvent.epoch, LineEvent.user_id, LineEvent.reason)
    rows = connection.execute(select(*columns).where(LineEvent.coupon_id == facts.coupon.id))
    for kind, number, epoch, user, reason in rows:
        if kind == "epoch":
            facts.floors.append((epoch, number or 0))
        elif number is not None:
            facts.reasons[number] = kind
        if kind == "rejected" and user is not None:
            _read_rejection(facts, user, number, reason)


def _read_rejection(facts: Facts, user: int, number: int | None, reason: str) -> None:
    facts.rejections[user].add(rejected_result(number, reason))
    facts.rejected_numbers.add((user, number or 0))
    if reason.startswith(REVOKED):
        facts.told_revoked.add((user, number or 0))
