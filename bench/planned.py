"""The capacity model beside whole drops on this machine."""

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack

from bench.measure import Figures, Table
from bench.stage import Stage
from jobs.rehearsal import rehearsal
from webapp.sale import capacity

USERS, QUOTA, CORES, ROUNDS = 20_000, 10_000, 2, 3
DRIVER_US = 24.0
"""CPU time of `jobs/rehearsal/load.py` for one request, because it shares the cores; measured with os.times() over
20,000 requests to a server that answers at once."""
SEEN = re.compile(r"([\d,.]+) answered in all|all known +([\d.]+) s")


def run(stage: Stage) -> Iterator[Table]:
    with ExitStack() as running:
        for module in [*["jobs.worker"] * 2, "jobs.sweeper"]:
            running.enter_context(stage.process([sys.executable, "-m", module]))
        for processes in (2, 1):
            with stage.server("wsgi:app", workers=processes) as port:
                drops = [_drop(port) for _ in range(ROUNDS)]
            yield from _compared(processes, drops)


def _compared(processes: int, drops: list[tuple[float, float]]) -> Iterator[Table]:
    """Yield the figures of drops beside those of the model, for a number of gunicorn processes."""
    share = capacity.WEB_CLAIM_US / (capacity.WEB_CLAIM_US + DRIVER_US)
    plan = capacity.plan(USERS, 0.001, quota=QUOTA, cores=CORES * share, processes=processes)
    answered, known = zip(*drops, strict=True)
    title = f"{USERS:,} people, {QUOTA:,} coupons, {processes} gunicorn processes on {CORES} cores"
    yield _table(f"{title}: everybody answered", answered, plan.tickets_after_s)
    yield _table(f"{title}: everybody knows", known, plan.results_after_s)


def _table(title: str, seen: tuple[float, ...], planned: float) -> Table:
    return Table(
        title, "ms", [Figures("seen", [each * 1000 for each in seen]), Figures("planned", [planned * 1000])]
    )


def _drop(port: int) -> tuple[float, float]:
    """Play a drop; return the seconds until everybody was answered, and until everybody knew their result."""
    outcome = rehearsal.run(USERS, QUOTA, None, f"http://127.0.0.1:{port}")
    if not outcome.ok:
        raise SystemExit("the drop was not exact")
    found = SEEN.findall("\n".join(outcome.lines))
    rate = next(float(each[0].replace(",", "")) for each in found if each[0])
    return USERS / rate, next(float(each[1]) for each in found if each[1])
