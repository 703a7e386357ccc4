"""The end of a run: everything is healthy again, and what is under way comes to its end."""

from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING

from tests.simulation.promises import Promises
from tests.simulation.world import COUPON
from webapp.line.results import issued_result
from webapp.sale import audit

if TYPE_CHECKING:
    from tests.simulation.machine import Simulation

TO_THE_END = 1000
DAY_MS = 24 * 3600 * 1000
NOT_SWEPT_MS = 7 * DAY_MS
ROUND_MS, ROUNDS = 3000, 7
"""10 s, and before that 8 s at most in which receipts are awaited, and the rounding."""


def come_to_rest(machine: "Simulation") -> Iterator[str]:
    """Let all go on until nothing changes any more, and yield what is wrong then."""
    world = machine.world
    world.redis_away = world.sql_away = False
    machine.tell("everything is healthy again, and every actor goes on to its end")
    while machine.actors:
        ready = [actor for actor in machine.actors if world.is_free_for(actor)]
        if not ready:
            yield f"P6: {[actor.name for actor in machine.actors]} wait for ever"
            return
        machine.go_on_with(ready[0])
    if machine.promises.in_doubt_until == inf:
        machine.do("reconcile", cut=TO_THE_END)
    for _ in range(ROUNDS):
        before, stood = len(machine.history), machine.promises.seen
        a_round(machine)
        machine.history[before:] = [
            "3 s pass; every page asks, the sweeper sweeps, and workers take every job"
        ]
        if machine.promises.seen.places == stood.places and not list(left_undone(machine.promises)):
            break
    report = audit.run(COUPON)
    if world.now_ms > world.closes_ms() + NOT_SWEPT_MS and not report.ok:
        # Nobody publishes such a coupon any more; the audit advises to reconcile it.
        machine.do("reconcile", cut=TO_THE_END)
        report = audit.run(COUPON)
    if not report.ok:
        yield "the audit: " + "; ".join(str(check) for check in report.checks if not check.ok)
    yield from left_undone(machine.promises)


def a_round(machine: "Simulation") -> None:
    """Three seconds: open pages ask, the sweeper sweeps, workers take every job."""
    machine.do("time_passes", ms=ROUND_MS)
    for user, person in machine.promises.people.items():
        if person.receipt:
            machine.do("poll", user=user, cut=TO_THE_END)
    machine.do("sweep", cut=TO_THE_END)
    machine.do("sweep_lists", cut=TO_THE_END)
    while machine.world.jobs.waiting:
        machine.do("work", cut=TO_THE_END)


def left_undone(promises: Promises) -> Iterator[str]:
    """Nobody waits who could be served, and both stores say the same."""
    seen, books = promises.seen, promises.books
    row = books.row
    if seen.line and row.status != "paused":
        yield f"P6: {sorted(seen.line)} still wait in line"
    if seen.standby and row.coupons_left:
        yield f"P6: {sorted(seen.standby)} stand in standby while coupons are left"
    for user, issue in books.issues.items():
        if seen.results.get(user) != issued_result(issue.number, issue.code):
            yield f"P7: user {user} holds the coupon, and Redis says {seen.results.get(user, 'nothing')}"
    for user, result in seen.results.items():
        if result.startswith("issued") and user not in books.issues:
            yield f"P7: Redis shows user {user} a coupon that SQL does not know"
    for user, person in promises.people.items():
        placed = user in seen.places or user in seen.results
        # Where both stores forgot a number, its owner is told that it is lost.
        if person.receipt and not placed and not promises.sql_was_put_back:
            yield f"P5: user {user} has the receipt of number {person.number}, and no place"
