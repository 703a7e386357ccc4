"""What each thing costs in CPU time, by process: the figures that `webapp/capacity.py` calculates with.

CPU time and not throughput, so a busy machine changes little.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import http
from bench.admission import admit
from bench.measure import Figures, Table
from bench.polls import PAGE, requests
from bench.stage import Stage
from jobs.crowd import signed_in

PEOPLE = 20_000
SECONDS = 4
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def run(stage: Stage) -> list[Table]:
    users = stage.users(PEOPLE)
    crowd = signed_in(stage.app, users, "127.0.0.1")
    open_now, soon = stage.coupon(), stage.coupon(opens_in_s=3600)
    claims = http.write_requests(
        stage.directory / "claims", (crowd.form_claim(open_now, index) for index in range(PEOPLE))
    )
    tables = []
    with stage.server("wsgi:app", workers=1) as port:
        for name, asked, expected in (
            ("claim", claims, 303),
            ("ticket poll", requests(stage, crowd, "ticket", f"/coupons/{open_now}/ticket"), 200),
            ("serving poll", requests(stage, crowd, "serving", f"/coupons/{open_now}/serving"), 200),
            ("page before the start", requests(stage, crowd, "page", f"/coupons/{soon}", PAGE), 200),
        ):
            tables.append(_table(stage, name, partial(_answers, port, asked, expected)))
    tables.append(_table(stage, "admitted ticket", partial(_admitted, stage, users)))
    return tables


def _answers(port: int, asked: http.Requests, expected: int) -> float:
    return http.drive(port, asked, expected=expected, seconds=SECONDS).rate * SECONDS


def _admitted(stage: Stage, users: list[int]) -> float:
    admit(stage, users)
    return len(users)


def _table(stage: Stage, name: str, work: Callable[[], float]) -> Table:
    """Have the work done twice, and divide the CPU time that the second took by how often it was done."""
    work()
    before = _cpu_s(stage)
    count = work()
    after = _cpu_s(stage)
    rows = [Figures(who, [(after[who] - before[who]) / count * 1e6]) for who in after]
    return Table(f"One {name}", "µs of CPU", [row for row in rows if row.median >= 0.1])


def _cpu_s(stage: Stage) -> dict[str, float]:
    """Return the CPU time so far of the web processes, the stores, and this process, which admits."""
    found = {"web": 0.0, "Redis": 0.0, "SQL": 0.0, "worker": sum(os.times()[:2])}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        spent = (int(fields[11]) + int(fields[12])) * TICK_S
        if f":{stage.valkey.port}" in command:
            found["Redis"] += spent
        elif str(stage.directory) in command and "mariadbd" in command:
            found["SQL"] += spent
        elif "gunicorn" in command and _is_ours(path, stage):
            found["web"] += spent
    return found


def _is_ours(path: Path, stage: Stage) -> bool:
    return stage.valkey.url.encode() in (path / "environ").read_bytes()
