"""The checks of the audit: each judges one promise, or one copy in Redis, from the facts of a coupon."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from webapp.line.keys import BELL_MS, BUCKET_MS
from webapp.line.reading import printable
from webapp.line.types import Gate
from webapp.models import DRAFT, PAUSED, most_of
from webapp.sale.audit_facts import Facts
from webapp.sale.epochs import longest_grace_ms
from webapp.sale.records import policy_of

SHOWN = 5
"""How many offending users or numbers a line names."""
ADMISSION = "admission"
ELSEWHERE = "other waves"


@dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    detail: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.name}: {self.detail}"


def checks_of(facts: Facts) -> Iterator[Check]:
    yield from _sql_checks(facts)
    yield from _order_checks(facts)
    yield from _told_aside(facts.aside)
    if facts.gate is None:
        advice = "missing; `flask reconcile` brings it back"
        yield Check("gate", facts.coupon.epoch == 0, advice)
        return
    if not facts.gate.results_gone:
        yield from _result_checks(facts)
        yield from _rejection_checks(facts)
    yield from _place_checks(facts)
    yield from _sum_checks(facts)
    yield _gate_check(facts, facts.gate)
    yield _epoch_check(facts, facts.gate)
    yield from _period_checks(facts, facts.gate)
    yield _admission_check(facts, facts.gate)
    yield _bell_check(facts)
    yield _clock_check(facts.gate)


def _sql_checks(facts: Facts) -> Iterator[Check]:
    coupon, quota = facts.coupon, facts.coupon.total_quantity
    shown = "unlimited" if quota is None else quota
    yield Check("P1 quota", quota is None or facts.rows <= quota, f"{facts.rows} issued of {shown}")
    yield Check(
        "P1 count",
        coupon.issued_quantity == facts.rows,
        f"issued_quantity {coupon.issued_quantity}, rows {facts.rows}",
    )
    yield none("P2 one each", facts.doubles, "users who hold it twice")
    yield Check("codes", facts.codes == facts.rows, f"{facts.codes} distinct of {facts.rows}")
    again = sorted(facts.issues.keys() & facts.rejections.keys())
    yield none("P2 rejections stay", again, "users who hold it after a rejection or a revocation")
    astray = sorted(facts.revoked ^ facts.told_revoked)
    yield none(
        "revocations", astray, "(user, number) revoked in `line_events` or `revocations` and not in both"
    )


def _order_checks(facts: Facts) -> Iterator[Check]:
    """Judge the order within the running epoch: a number below the highest issued one is issued or has a reason.

    Epochs that ended did so because Redis lost data. Their gaps are told and not judged: who held such a number and
    showed no receipt is known to nobody. Who did show one, in time, is not passed over by the running epoch.
    """
    numbers = sorted(number for number, _, _ in facts.issues.values())
    twice = [number for number, following in pairwise(numbers) if number == following]
    yield none("P4 numbers", twice, "numbers that two people hold")
    current = {number for number in numbers if number > facts.floor}
    highest = max(current, default=facts.floor)
    skipped = range(facts.floor + 1, highest + 1)
    gaps = [number for number in skipped if number not in current and number not in facts.reasons]
    yield none("P4 order", gaps, f"numbers skipped without a reason up to {highest}")
    if facts.floor:
        old = len(numbers) - len(current)
        lately = (number for number, epoch, _ in facts.issues.values() if epoch == facts.coupon.epoch)
        yield none("P4 epochs", _overtaken(facts, max(lately, default=0)), "restored numbers overtaken")
        yield Check(
            "epochs", True, f"{len(facts.floors)} times Redis lost data; {old} issued to older numbers"
        )


def _overtaken(facts: Facts, highest: int) -> list[int]:
    """Return the numbers of earlier epochs that were restored in time, wait, and are below an issued one."""
    return sorted(
        number
        for member, number in facts.places.items()
        if number <= facts.floor
        and number < highest
        and number not in facts.reasons
        and facts.late.get(member) != number
        and member not in map(str, facts.in_flight)
    )


def _told_aside(aside: list[str]) -> Iterator[Check]:
    """Tell of foreign data in the line's keys. It breaks no promise."""
    if aside:
        yield Check(
            "set aside", True, f"{len(aside)} things in Redis that we did not write, last: {aside[0]}"
        )


def _result_checks(facts: Facts) -> Iterator[Check]:
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
    yield none(
        "P7 rows shown", without_result, f"rows without a result ({len(facts.in_flight)} being settled)"
    )
    yield none("P7 results true", without_row, "results without a row")
    yield none("P7 same code", wrong, "results that differ from the row")


def _rejection_checks(facts: Facts) -> Iterator[Check]:
    """Compare the rejections of both stores. An issue wins over a rejection: those users are judged by it."""
    rejected = facts.rejections.keys() - facts.issues.keys() - facts.rejected_in_flight
    untold = {str(user) for user in rejected if str(user) not in facts.results}
    issued = {str(user) for user in facts.issues}
    told = {user: text for user, text in facts.results.items() if text.startswith("rejected:")}
    events = {str(user): texts for user, texts in facts.rejections.items()}
    unfounded = {
        user for user, text in told.items() if user not in issued and text not in events.get(user, ())
    }
    yield none("P7 rejections", sorted(untold | unfounded), "users rejected in one store, not in the other")


def _place_checks(facts: Facts) -> Iterator[Check]:
    holders = {str(user) for user in facts.issues.keys() - facts.in_flight}
    yield none(
        "P2 holders", sorted(holders & facts.places.keys()), "users who hold the coupon and still wait"
    )
    both = sorted(facts.waiting.keys() & facts.standby.keys())
    yield none("one place", both, "users in line and in standby")
    most = most_of(facts.coupon.total_quantity, facts.rows, facts.coupon.pool_left)
    left = most is None or facts.rows < most
    yield none("standby", sorted(facts.standby) if left else [], "users in standby while coupons are left")


def _sum_checks(facts: Facts) -> Iterator[Check]:
    """Add up the numbers that the running epoch had given when the reading began."""
    places = set(facts.places.values())
    issued = {number for number, _, _ in facts.issues.values()}
    skipped = facts.reasons.keys()
    given = range(facts.floor + 1, facts.last + 1)
    counts = [sum(number in given for number in numbers) for numbers in (issued, skipped, places)]
    unknown = [number for number in given if not (number in issued or number in skipped or number in places)]
    words = "{} numbers given: {} issued, {} skipped, {} in line or standby".format(len(given), *counts)
    yield Check(
        "sum", not unknown, words + (f"; {len(unknown)} unknown, first {unknown[0]}" if unknown else "")
    )
    highest = facts.highest_decided
    yield Check("counter", facts.last >= highest, f"counter {facts.last}, highest number decided {highest}")


def _gate_check(facts: Facts, gate: Gate) -> Check:
    """Compare the gate with the row. A batch in flight will still write its part: that is no drift."""
    row, copy = policy_of(facts.coupon), gate.policy
    names = ["status", "quota", "opens_at_ms", "closes_at_ms", "standby_limit", "audience"] + (
        [] if facts.in_flight else ["issued"]
    )
    drift = [
        f"{name} {getattr(copy, name)} instead of {getattr(row, name)}"
        for name in names
        if getattr(copy, name) != getattr(row, name)
    ]
    if gate.sold_out != row.sold_out and not facts.in_flight:
        drift.append(f"sold out {gate.sold_out} instead of {row.sold_out}")
    if gate.epoch != facts.coupon.epoch:
        drift.append(f"epoch {gate.epoch} instead of {facts.coupon.epoch}")
    return Check("gate", not drift, ", ".join(drift) or f"as in SQL, revision {copy.revision}")


def _epoch_check(facts: Facts, gate: Gate) -> Check:
    """Once a drop is over and nobody waits, nobody needs its epoch to be open."""
    over = gate.now_ms >= policy_of(facts.coupon).closes_at_ms and not facts.waiting
    if facts.opened:
        return Check("open epoch", True, f"epoch {gate.epoch} is open in this run of Redis")
    return Check("open epoch", over, "the gate is of no run of Redis, or of another one: it gives no numbers")


def _period_checks(facts: Facts, gate: Gate) -> Iterator[Check]:
    """Judge the arrivals, by Redis's clock, against every period that the gate had: an operator may have moved it.

    An arrival is known a tenth of a second exact, so an instant around the start or the end is not judged.
    """
    row = policy_of(facts.coupon)
    opens, closes = row.opens_at_ms, row.closes_at_ms
    if gate.first_opens_at_ms is not None and gate.last_closes_at_ms is not None:
        opens, closes = min(opens, gate.first_opens_at_ms), max(closes, gate.last_closes_at_ms)
    early = [number for number, at_ms in facts.arrivals if at_ms + BUCKET_MS <= opens]
    late = [number for number, at_ms in facts.arrivals if at_ms >= closes]
    words = f"tickets given before the start, {facts.too_old} issued before the coupon was made"
    yield Check("P8 start", not early and not facts.too_old, _named(early, words))
    yield none("P8 end", late, "tickets given after the end")


def _admission_check(facts: Facts, gate: Gate) -> Check:
    """Whoever waits has a bell, or a reason: the coupon is paused, or receipts are awaited."""
    begun = gate.now_ms if gate.grace_from_ms is None else gate.grace_from_ms
    # A wait that would begin in the future begins when it is looked at: Redis's clock was put back.
    awaited = max(0, (gate.grace_until_ms or 0) - max(begun, gate.now_ms))
    most = longest_grace_ms(facts.places.values(), gate)
    if awaited and awaited > most - max(0, gate.now_ms - begun):
        return Check(ADMISSION, False, f"held back for {awaited} ms more, {most} at most would be right")
    if not facts.waiting or facts.coupon.status in (PAUSED, DRAFT):
        words = "paused" if facts.waiting else "nobody waits"
        return Check(ADMISSION, True, words)
    if awaited:
        return Check(ADMISSION, True, f"receipts are awaited for {awaited} ms more")
    settled = {str(user) for user in facts.issues.keys() - facts.in_flight}
    held_up = facts.waiting.keys() - facts.standby.keys() - settled
    words = "the bell is set" if facts.bell_ms is not None else "no bell is set"
    return Check(ADMISSION, facts.bell_ms is not None or not held_up, f"{len(held_up)} wait, {words}")


def _bell_check(facts: Facts) -> Check:
    """A bell that outlives its life is set anew as soon as somebody waits; one without an end is not ours."""
    ms = facts.bell_ms
    if ms is None:
        return Check("bell", True, "not set")
    return Check("bell", ms >= 0, "has no end" if ms < 0 else f"ends in {ms} ms, {BELL_MS} at most are right")


def _clock_check(gate: Gate) -> Check:
    """Tell of a clock that was put back. It holds nobody up: no wait at the gate is longer than it can be."""
    back = (
        f"{gate.ahead_ms} ms behind what the gate has seen: it was put back" if gate.ahead_ms else "as seen"
    )
    return Check("clock", True, f"Redis's is {back}")


def none(name: str, offenders: Iterable[Any], what: str) -> Check:
    """Return a check that holds when there are no offenders, and else names the first of them."""
    found = list(offenders)
    return Check(name, not found, _named(found, what))


def _named(found: list[Any], what: str) -> str:
    named = ", ".join(printable(str(offender)) for offender in found[:SHOWN])
    more = ", …" if len(found) > SHOWN else ""
    return f"{len(found)} {what}{f': {named}{more}' if found else ''}"
