"""The audit: proves the promises that can be read from the stores, figure by figure.

SQL and Redis are read while the coupon's row is locked, so that no admission commits between the two readings. Claims
go on meanwhile, and a batch that was committed just before may still be settled. So the counter is read first and only
numbers up to it are added up, and the line is read before the results: whoever left it in between has one by then.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, func, select

from webapp.line.line import Line
from webapp.line.reading import printable
from webapp.line.types import Gate
from webapp.models import CouponIssue, CouponRow, LineEvent
from webapp.sale.locking import locked_coupon
from webapp.sale.outcomes import Refused
from webapp.sale.records import policy_of
from webapp.stores.script_redis import line_redis

SHOWN = 5
"""How many offending users or numbers a line names."""
ROWS = 5000


@dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    detail: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.name}: {self.detail}"


@dataclass(frozen=True)
class Report:
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def lines(self) -> Iterator[str]:
        yield from (str(check) for check in self.checks)


@dataclass
class _Facts:
    """The facts of one coupon in both stores. Issues and tickets by user, reasons by number."""

    coupon: CouponRow
    gate: Gate | None = None
    last: int = 0
    issues: dict[int, tuple[int, int, str]] = field(default_factory=dict)
    rows: int = 0
    doubles: list[int] = field(default_factory=list)
    codes: int = 0
    early: int = 0
    reasons: dict[int, str] = field(default_factory=dict)
    floors: list[tuple[int, int]] = field(default_factory=list)
    results: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    standby: dict[str, int] = field(default_factory=dict)
    aside: list[str] = field(default_factory=list)

    @cached_property
    def in_flight(self) -> set[int]:
        """Users whose row is committed and whose ticket is not settled yet."""
        return {
            user
            for user, (number, _, _) in self.issues.items()
            if str(user) not in self.results
            and number in (self.waiting.get(str(user)), self.standby.get(str(user)))
        }

    @property
    def floor(self) -> int:
        """No number of the running epoch is at or below it."""
        return max((floor for _, floor in self.floors), default=0)


def run(coupon_id: int) -> Report:
    """Audit one coupon; nothing is changed. Raises Refused(not_found), redis.RedisError, SQLAlchemyError.

    A failing audit reads once more: a settling or a change of policy that ran just then is over by that time.
    """
    report = _audit(coupon_id)
    return report if report.ok else _audit(coupon_id)


def _audit(coupon_id: int) -> Report:
    with locked_coupon(coupon_id) as lock:
        if lock.coupon is None:
            raise Refused("not_found")
        facts = _Facts(lock.coupon)
        _read_sql(facts, lock.connection)
        _read_redis(facts, Line(line_redis(), coupon_id))
    checks = [*_sql_checks(facts), *_order_checks(facts), *_told_aside(facts.aside)]
    if facts.gate is None:
        advice = "missing; `flask reconcile` brings it back"
        return Report((*checks, Check("gate", facts.coupon.epoch == 0, advice)))
    return Report((*checks, *_redis_checks(facts, facts.gate)))


def _read_redis(facts: _Facts, line: Line) -> None:
    before = line.gate()
    facts.last = before.last if before else 0
    facts.waiting, facts.standby = dict(line.waiting()), dict(line.standby())
    facts.results = dict(line.results())
    facts.gate, facts.aside = line.gate(), line.aside()


def _read_sql(facts: _Facts, connection: Connection) -> None:
    coupon_id = facts.coupon.id
    columns = (CouponIssue.user_id, CouponIssue.ticket_number, CouponIssue.epoch, CouponIssue.code)
    of_coupon = CouponIssue.coupon_id == coupon_id
    for user_id, number, epoch, code in connection.execution_options(yield_per=ROWS).execute(
        select(*columns).where(of_coupon)
    ):
        facts.rows += 1
        if user_id in facts.issues:
            facts.doubles.append(user_id)
        facts.issues[user_id] = (number, epoch, code)
    facts.codes = connection.scalar(select(func.count(CouponIssue.code.distinct())).where(of_coupon)) or 0
    before = CouponIssue.issued_at < facts.coupon.issue_start_at
    facts.early = connection.scalar(select(func.count()).where(of_coupon, before)) or 0
    _read_events(facts, connection)


def _read_events(facts: _Facts, connection: Connection) -> None:
    columns = (LineEvent.kind, LineEvent.ticket_number, LineEvent.epoch)
    rows = connection.execute(select(*columns).where(LineEvent.coupon_id == facts.coupon.id))
    for kind, number, epoch in rows:
        if kind == "epoch":
            facts.floors.append((epoch, number or 0))
        elif number is not None:
            facts.reasons[number] = kind


def _sql_checks(facts: _Facts) -> Iterator[Check]:
    coupon, quota = facts.coupon, facts.coupon.total_quantity
    shown = "unlimited" if quota is None else quota
    yield Check("P1 quota", quota is None or facts.rows <= quota, f"{facts.rows} issued of {shown}")
    yield Check(
        "P1 count",
        coupon.issued_quantity == facts.rows,
        f"issued_quantity {coupon.issued_quantity}, rows {facts.rows}",
    )
    yield _none("P2 one each", facts.doubles, "users who hold it twice")
    yield Check("codes", facts.codes == facts.rows, f"{facts.codes} distinct of {facts.rows}")
    yield Check("P8 start", facts.early == 0, f"{facts.early} issued before the start")


def _order_checks(facts: _Facts) -> Iterator[Check]:
    """Judge the order within the running epoch: a number below the highest issued one is issued or has a reason.

    Epochs that ended did so because Redis lost data. Their gaps are told and not judged: who held such a number and
    showed no receipt is known to nobody.
    """
    numbers = sorted(number for number, _, _ in facts.issues.values())
    twice = [number for number, following in pairwise(numbers) if number == following]
    yield _none("P4 numbers", twice, "numbers that two people hold")
    current = {number for number in numbers if number > facts.floor}
    highest = max(current, default=facts.floor)
    skipped = range(facts.floor + 1, highest + 1)
    gaps = [number for number in skipped if number not in current and number not in facts.reasons]
    yield _none("P4 order", gaps, f"numbers skipped without a reason up to {highest}")
    if facts.floor:
        old = len(numbers) - len(current)
        yield Check(
            "epochs", True, f"{len(facts.floors)} times Redis lost data; {old} issued to older numbers"
        )


def _told_aside(aside: list[str]) -> Iterator[Check]:
    """Tell of foreign data in the line's keys. It breaks no promise."""
    if aside:
        yield Check(
            "set aside", True, f"{len(aside)} things in Redis that we did not write, last: {aside[0]}"
        )


def _redis_checks(facts: _Facts, gate: Gate) -> Iterator[Check]:
    if not gate.results_gone:
        yield from _result_checks(facts)
    yield _none(
        "one place", sorted(facts.waiting.keys() & facts.standby.keys()), "users in line and in standby"
    )
    yield from _sum_checks(facts)
    yield from _gate_checks(facts, gate)


def _result_checks(facts: _Facts) -> Iterator[Check]:
    without_result = [
        user for user in facts.issues.keys() - facts.in_flight if str(user) not in facts.results
    ]
    wrong = [
        user
        for user, (number, _, code) in facts.issues.items()
        if facts.results.get(str(user), "") not in ("", f"issued:{number}:{code}")
    ]
    shown = [user for user, result in facts.results.items() if result.startswith("issued:")]
    known = {str(user) for user in facts.issues}
    without_row = [user for user in shown if user not in known]
    yield _none(
        "P7 rows shown", without_result, f"rows without a result ({len(facts.in_flight)} being settled)"
    )
    yield _none("P7 results true", without_row, "results without a row")
    yield _none("P7 same code", wrong, "results that differ from the row")
    holders = {str(user) for user in facts.issues.keys() - facts.in_flight}
    waiting = sorted(holders & (facts.waiting.keys() | facts.standby.keys()))
    yield _none("P2 holders", waiting, "users who hold the coupon and still wait")


def _sum_checks(facts: _Facts) -> Iterator[Check]:
    """Add up the numbers that the running epoch had given when the reading began."""
    places = {*facts.waiting.values(), *facts.standby.values()}
    issued = {number for number, _, _ in facts.issues.values()}
    skipped = facts.reasons.keys()
    given = range(facts.floor + 1, facts.last + 1)
    counts = [sum(number in given for number in numbers) for numbers in (issued, skipped, places)]
    unknown = [number for number in given if not (number in issued or number in skipped or number in places)]
    words = "{} numbers given: {} issued, {} skipped, {} in line or standby".format(len(given), *counts)
    yield Check(
        "sum", not unknown, words + (f"; {len(unknown)} unknown, first {unknown[0]}" if unknown else "")
    )
    highest = max((*issued, *skipped), default=0)
    yield Check("counter", facts.last >= highest, f"counter {facts.last}, highest number decided {highest}")


def _gate_checks(facts: _Facts, gate: Gate) -> Iterator[Check]:
    """Compare the gate with the row. A batch in flight will still write its part: that is no drift."""
    row, copy = policy_of(facts.coupon), gate.policy
    names = ["status", "quota", "opens_at_ms", "closes_at_ms"] + ([] if facts.in_flight else ["issued"])
    drift = [
        f"{name} {getattr(copy, name)} instead of {getattr(row, name)}"
        for name in names
        if getattr(copy, name) != getattr(row, name)
    ]
    if gate.sold_out != row.sold_out and not facts.in_flight:
        drift.append(f"sold out {gate.sold_out} instead of {row.sold_out}")
    if gate.epoch != facts.coupon.epoch:
        drift.append(f"epoch {gate.epoch} instead of {facts.coupon.epoch}")
    yield Check("gate", not drift, ", ".join(drift) or f"as in SQL, revision {copy.revision}")


def _none(name: str, offenders: list[Any], what: str) -> Check:
    named = ", ".join(printable(str(offender)) for offender in offenders[:SHOWN])
    more = ", …" if len(offenders) > SHOWN else ""
    return Check(name, not offenders, f"{len(offenders)} {what}{f': {named}{more}' if offenders else ''}")
