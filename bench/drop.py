"""A whole drop on the parts of production: gunicorn, MariaDB, three workers and a sweeper, all on this machine."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack

from bench.stage import Stage
from jobs import rehearsal

USERS, QUOTA = 20_000, 10_000
WEB_PROCESSES, WORKERS = 2, 3
ROUNDS = 3


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
            outcome = rehearsal.run(USERS, QUOTA, None, f"http://127.0.0.1:{port}")
            yield from [*outcome.lines, ""]
            if not outcome.ok:
                raise SystemExit("the drop was not exact")
