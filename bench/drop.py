"""A whole drop on the parts of production: gunicorn, MariaDB, three workers and a sweeper, all on this machine."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack

from bench.stage import Stage
from jobs.rehearsal import rehearsal

USERS, QUOTA = 20_000, 10_000
WEB_PROCESSES, WORKERS = 2, 3
ROUNDS = 5
STEADY_USERS, STEADY_S = 5_000, 10.0


def run(stage: Stage) -> Iterator[str]:
    with ExitStack() as running:
        port = running.enter_context(stage.server("wsgi:app", workers=WEB_PROCESSES))
        for module in [*["jobs.worker"] * WORKERS, "jobs.sweeper"]:
            running.enter_context(stage.process([sys.executable, "-m", module]))
        yield (
            f"{USERS:,} people for {QUOTA:,} coupons: {WEB_PROCESSES} gunicorn processes, {WORKERS} workers, "
            f"{stage.database}"
        )
        for _ in range(ROUNDS):
            yield from _play(port, USERS, QUOTA, None)
        yield f"{STEADY_USERS:,} people for as many coupons, {STEADY_USERS / STEADY_S:,.0f} claims a second"
        for _ in range(ROUNDS):
            yield from _play(port, STEADY_USERS, STEADY_USERS, STEADY_S)


def _play(port: int, users: int, quota: int, seconds: float | None) -> list[str]:
    """Return the figures of a rehearsal, and its checks as one line."""
    outcome = rehearsal.run(users, quota, seconds, f"http://127.0.0.1:{port}")
    checks = [line for line in outcome.lines if line.startswith(("ok ", "FAIL "))]
    if not outcome.ok:
        raise SystemExit("\n".join(checks))
    figures = [line for line in outcome.lines if line not in checks]
    return [*figures, f"exact          all {len(checks)} checks of results, order and audit", ""]
