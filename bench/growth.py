"""Claims, polls and memory as the line grows: 1 thousand, 100 thousand and 1 million tickets waiting."""

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench import http
from bench.admission import wait_in_line
from bench.measure import Figures, Table, interleaved
from bench.stage import Stage
from jobs.rehearsal.crowd import Crowd, signed_in
from webapp.line.line import Line
from webapp.stores.script_redis import line_redis

SIZES = (1_000, 100_000, 1_000_000)
PROCESSES = (1, 2, 3, 4)
COUPONS = 10
PEOPLE = 40_000
SECONDS = 3
ROUNDS = 5
FIRST_ID = 10_000_000
CHUNK = 1000


def run(stage: Stage) -> list[Table]:
    crowd = signed_in(stage.app, range(1, PEOPLE + 1), "127.0.0.1")
    return [*by_length(stage, crowd), *by_coupons(stage, crowd), *by_processes(stage, crowd)]


def by_length(stage: Stage, crowd: Crowd) -> list[Table]:
    """Compare claims and ticket polls in lines of different length."""
    coupons = {size: stage.coupon() for size in SIZES}
    for size, coupon_id in coupons.items():
        wait_in_line(coupon_id, list(range(FIRST_ID, FIRST_ID + size)))
    with stage.server("bench.apps:ours", workers=2) as port:
        claims: dict[str, Callable[[], float]] = {
            f"claims, {size:,} waiting": partial(claim_rate, stage, crowd, port, [coupon_id])
            for size, coupon_id in coupons.items()
        }
        polls: dict[str, Callable[[], float]] = {
            f"polls, {size:,} waiting": partial(poll_rate, stage, crowd, port, coupon_id)
            for size, coupon_id in coupons.items()
        }
        return [
            Table("Claims by the length of the line", "claims/s", interleaved(claims, rounds=ROUNDS)),
            Table("Ticket polls by the length of the line", "polls/s", interleaved(polls, rounds=ROUNDS)),
            Table("A web process after that load", "MB", memory()),
        ]


def by_coupons(stage: Stage, crowd: Crowd) -> list[Table]:
    with stage.server("bench.apps:ours", workers=2) as port:
        subjects: dict[str, Callable[[], float]] = {
            "one coupon": lambda: claim_rate(stage, crowd, port, [stage.coupon()]),
            f"{COUPONS} coupons": lambda: claim_rate(
                stage, crowd, port, [stage.coupon() for _ in range(COUPONS)]
            ),
        }
        rows = interleaved(subjects, rounds=ROUNDS)
    return [Table("Claims by the number of coupons", "claims/s", rows)]


def by_processes(stage: Stage, crowd: Crowd) -> list[Table]:
    with ExitStack() as running:
        subjects: dict[str, Callable[[], float]] = {}
        for count in PROCESSES:
            port = running.enter_context(stage.server("bench.apps:ours", workers=count))
            subjects[f"{count} gunicorn processes"] = partial(new_claims, stage, crowd, port)
        rows = interleaved(subjects, rounds=ROUNDS)
    return [Table("Claims by the number of gunicorn processes", "claims/s", rows)]


def new_claims(stage: Stage, crowd: Crowd, port: int) -> float:
    return claim_rate(stage, crowd, port, [stage.coupon()])


def claim_rate(stage: Stage, crowd: Crowd, port: int, coupons: Sequence[int]) -> float:
    """Claim for users who are in none of the lines yet, and leave the lines as they were."""
    asked = (crowd.form_claim(coupons[index % len(coupons)], index) for index in range(PEOPLE))
    written = http.write_requests(stage.directory / "claims", asked)
    rate = http.drive(port, written, expected=303, seconds=SECONDS).rate
    for coupon_id in coupons:
        line = Line(line_redis(), coupon_id)
        for first in range(0, PEOPLE, CHUNK):
            line.redis.zrem(line.line_key, *crowd.user_ids[first : first + CHUNK])
    return rate


def poll_rate(stage: Stage, crowd: Crowd, port: int, coupon_id: int) -> float:
    asked = (crowd.get(f"/coupons/{coupon_id}/ticket", index) for index in range(PEOPLE // 10))
    written = http.write_requests(stage.directory / "polls", asked)
    return http.drive(port, written, expected=200, seconds=SECONDS).rate


def memory() -> list[Figures]:
    """Return the memory of every web process in MB: its share, with shared pages divided (PSS), and resident (RSS)."""
    processes = {
        int(path.name): (path / "smaps_rollup").read_text()
        for path in Path("/proc").glob("[0-9]*")
        if b"bench.apps:ours" in (path / "cmdline").read_bytes()
    }
    workers = [text for pid, text in processes.items() if _parent(pid) in processes]
    return [
        Figures(
            name,
            [
                int(kib) * 1024 / 1e6
                for text in workers
                for kib in re.findall(rf"^{field}: +(\d+)", text, re.M)
            ],
        )
        for name, field in (("its share", "Pss"), ("resident", "Rss"))
    ]


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
