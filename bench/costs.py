"""The cost of each thing in CPU time, by process: the figures that `webapp/sale/capacity.py` calculates with.

CPU time is measured instead of throughput, because a busy machine changes it little.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from bench import claims, http, polls
from bench.admission import admit, wait_in_line
from bench.measure import Figures, Table
from bench.stage import Stage

PEOPLE = 20_000
ROUNDS = 5
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def run(stage: Stage) -> list[Table]:
    users = stage.users(PEOPLE)
    form_claims = claims.FormClaims(stage)
    crowd = form_claims.crowd
    open_now, soon = stage.coupon(), stage.coupon(opens_in_s=3600)
    wait_in_line(open_now, list(range(1, PEOPLE + 1)))
    asked = {
        "ticket poll": polls.requests(stage, crowd, "ticket", f"/coupons/{open_now}/ticket"),
        "serving poll": polls.requests(stage, crowd, "serving", f"/coupons/{open_now}/serving"),
        "page before the start": polls.requests(stage, crowd, "page", f"/coupons/{soon}", polls.PAGE),
    }
    with stage.server("wsgi:app", workers=1) as port:
        answers = {name: partial(_answers, port, requests) for name, requests in asked.items()}
        served = {"claim": partial(_claims, form_claims, port)} | answers
        tables = _tables(stage, served, of=("web", "Redis", "SQL"))
    admitted = {"admitted ticket": partial(_admitted, stage, users)}
    return tables + _tables(stage, admitted, of=("worker", "Redis", "SQL"))


def _claims(form_claims: claims.FormClaims, port: int) -> float:
    return form_claims.a_second(port, 303) * claims.SECONDS


def _answers(port: int, requests: http.Requests) -> float:
    return polls.rate(port, requests) * polls.SECONDS


def _admitted(stage: Stage, users: list[int]) -> float:
    admit(stage, users)
    return len(users)


def _tables(stage: Stage, works: Mapping[str, Callable[[], float]], *, of: Sequence[str]) -> list[Table]:
    """Do each work in turn, and divide its CPU time by the number of times that it was done.

    A first round warms up and is thrown away.
    """
    spent = {name: {who: list[float]() for who in of} for name in works}
    for number in range(ROUNDS + 1):
        for name, work in works.items():
            before, count, after = _cpu_s(stage), work(), _cpu_s(stage)
            for who in of if number else ():
                spent[name][who].append((after[who] - before[who]) / count * 1e6)
    return [_table(name, [Figures(who, values) for who, values in by.items()]) for name, by in spent.items()]


def _table(name: str, rows: list[Figures]) -> Table:
    return Table(f"One {name}", "µs of CPU", [row for row in rows if row.median >= 0.5])


def _cpu_s(stage: Stage) -> dict[str, float]:
    """Return the CPU time so far of the web processes, the stores, and this process, which is the worker."""
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
