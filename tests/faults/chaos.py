"""`make chaos`: minutes of claims on ten coupons, and every few seconds something breaks, drawn from a seed.

    python -m tests.faults.chaos --seconds 600 --claims 50000 --seed 1

Ends with exit code 0 when every invariant of `history.py` holds for every coupon, else with what was broken.
"""

import argparse
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from deploy.stores import MariaDB
from tests.builders import make_coupon, make_users
from tests.faults.history import Broken, Drive, History
from tests.faults.site import Site

COUPONS = 10
EVERY_S = 5.0
HEALTHY_S = 15.0
"""How long before the end nothing is broken any more, so that the last claims get their answers."""


class Chaos:
    """The site, what can be done to it, and how often it was."""

    def __init__(self, site: Site, seed: int) -> None:
        redis_proxy, sql_proxy = site.proxies
        self.site = site
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.undo: list[Callable[[], None]] = []
        self.faults: dict[str, Callable[[], None]] = {
            "web master killed": lambda: site.web.kill(),
            "web process killed": self.kill_web_process,
            "web reloaded": lambda: site.web.signal(signal.SIGHUP),
            "worker killed": lambda: self.random.choice(site.workers).kill(),
            "worker stopped for a while": self.stop_worker,
            "sweeper killed": lambda: site.sweepers[0].kill(),
            "Redis killed": self.kill_redis,
            "SQL killed": self.kill_sql,
            "Redis connections cut": redis_proxy.cut,
            "Redis out of reach": redis_proxy.refuse,
            "Redis in a black hole": lambda: setattr(redis_proxy, "black_hole", True),
            "Redis slow": lambda: setattr(redis_proxy, "delay_s", 0.1),
            "replies of Redis lost": lambda: setattr(redis_proxy, "swallow_replies", 3),
            "SQL connections cut": sql_proxy.cut,
            "SQL in a black hole": lambda: setattr(sql_proxy, "black_hole", True),
            "SQL slow": lambda: setattr(sql_proxy, "delay_s", 0.1),
        }

    def strike(self) -> str:
        """Heal what still hurts, and break something else."""
        self.heal()
        name = self.random.choice(sorted(self.faults))
        self.faults[name]()
        self.done[name] += 1
        return name

    def heal(self) -> None:
        for undo in self.undo:
            undo()
        self.undo.clear()
        for proxy in self.site.proxies:
            proxy.heal()

    def kill_web_process(self) -> None:
        assert self.site.web.process is not None
        pid = self.site.web.process.pid
        listed = Path(f"/proc/{pid}/task/{pid}/children")
        children = [int(child) for child in listed.read_text().split()] if listed.exists() else []
        if children:
            os.kill(self.random.choice(children), signal.SIGKILL)
            self.site.kills += 1

    def stop_worker(self) -> None:
        worker = self.random.choice(self.site.workers)
        worker.signal(signal.SIGSTOP)
        self.undo.append(lambda: worker.signal(signal.SIGCONT))

    def kill_redis(self) -> None:
        self.site.valkey.kill()
        self.site.kills += 1
        self.undo.append(self.site.valkey.start)

    def kill_sql(self) -> None:
        self.site.mariadb.kill()
        self.site.kills += 1
        self.undo.append(self.site.mariadb.start)


def run(seconds: float, claims: int, seed: int) -> dict[str, Any]:
    """Break things for so long, check every coupon, and return the figures. Raises Broken, and leaves the logs then."""
    directory = Path(tempfile.mkdtemp(prefix="fc-"))
    with ExitStack() as stack:
        (directory / "sql").mkdir()
        (directory / "site").mkdir()
        mariadb = stack.enter_context(MariaDB(directory / "sql"))
        site = stack.enter_context(Site(directory / "site", mariadb, workers=2, proxied=True))
        chaos = Chaos(site, seed)
        try:
            figures = _play(chaos, seconds, claims)
        except Broken as broken:
            raise Broken(f"{broken}\nthe logs are in {directory}/site") from broken
    shutil.rmtree(directory, ignore_errors=True)
    return figures


def _play(chaos: Chaos, seconds: float, claims: int) -> dict[str, Any]:
    site, each = chaos.site, claims // COUPONS
    users = make_users(each)
    histories = [History(site, make_coupon(quota=each // 2), users) for _ in range(COUPONS)]
    start = time.monotonic()
    drives = [history.drive(spread_s=seconds, within_s=seconds + 120) for history in histories]
    while time.monotonic() < start + seconds - HEALTHY_S:
        print(f"{time.monotonic() - start:6.1f} s  {chaos.strike()}", flush=True)
        site.wait(lambda: False, within_s=EVERY_S)
    chaos.heal()
    return _judge(chaos, histories, drives)


def _judge(chaos: Chaos, histories: list[History], drives: list[Drive]) -> dict[str, Any]:
    for drive in drives:
        drive.end()
    healthy = time.monotonic()
    assert chaos.site.wait(chaos.site.is_ready, within_s=30), chaos.site.said()
    for history in histories:
        history.check()
    return {
        "claims": sum(len(history.crowd.user_ids) for history in histories),
        "tickets": sum(len(history.numbers) for history in histories),
        "issued": sum(len(history.rows()) for history in histories),
        "epochs": sum(len(history.events("epoch")) for history in histories),
        "statuses": dict(sum((history.statuses for history in histories), Counter())),
        "slowest answers": sorted(history.slowest for history in histories),
        "slowest answer, s": round(max(history.slowest_s for history in histories), 2),
        "longest lost connection, s": round(max(history.longest_lost_s for history in histories), 2),
        "all checked after, s": round(time.monotonic() - healthy, 1),
        "faults": dict(sorted(chaos.done.items())),
        "processes that died": chaos.site.kills + chaos.site.deaths,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Claims for minutes, while something breaks every few seconds."
    )
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--claims", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    try:
        figures = run(options.seconds, options.claims, options.seed)
    except Broken as broken:
        raise SystemExit(f"BROKEN  {broken}") from broken
    print(json.dumps(figures, indent=2))
    print("every invariant holds")


if __name__ == "__main__":
    main()
