"""How many answered tickets are known after another server has taken over, by the way in which it did.

    python -m tests.faults.handover

Threads claim at a line, without HTTP and without receipts, until the new master has answered for a while. What was
answered and is not known afterwards is what receipts have to win back.
"""

import tempfile
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import redis

from deploy.clusters import MASTER, Cluster, Watched, ask
from deploy.processes import wait_until
from tests.conftest import disconnect
from tests.line.test_line import begin, policy
from webapp.line.line import Line
from webapp.line.types import Reply
from webapp.stores.cluster import connect_lines

THREADS, BEFORE_S, AFTER_S, TAKES_OVER_S = 8, 2.0, 1.0, 30.0


class Lost(NamedTuple):
    answered: int
    known: int
    silent_s: float
    """The longest time in which nobody was answered."""


class Crowd:
    """Users who each claim once. A line whose epoch has ended is begun anew, as the web would do it."""

    def __init__(self, line: Line) -> None:
        self.line, self.ends, self.turn = line, threading.Event(), threading.Lock()
        self.answered: list[tuple[int, float]] = []
        self.users = iter(range(1, 10**9))
        self.threads = [threading.Thread(target=self._claim) for _ in range(THREADS)]
        for thread in self.threads:
            thread.start()

    def _claim(self) -> None:
        while not self.ends.is_set():
            with self.turn:
                user = next(self.users)
            try:
                claimed = self.line.claim(user)
                if claimed.reply is Reply.WAITING:
                    self.answered.append((user, time.monotonic()))
                elif claimed.reply is Reply.NO_GATE:
                    self._begin_anew()
            except redis.RedisError:
                time.sleep(0.01)

    def _begin_anew(self) -> None:
        with self.turn:
            if not self.line.is_open():
                begin(self.line, policy(quota=None), epoch=2, step=1_000_000)

    def end(self) -> Lost:
        self.ends.set()
        for thread in self.threads:
            thread.join()
        known = {ticket.member for ticket in self.line.waiting()}
        moments = sorted(moment for _, moment in self.answered)
        silent_s = max(after - before for before, after in pairwise(moments))
        return Lost(len(self.answered), sum(str(user) in known for user, _ in self.answered), silent_s)


def of_cluster(hand_over: Callable[[Cluster], None]) -> Lost:
    with tempfile.TemporaryDirectory(prefix="fc-") as name, Cluster(Path(name), replicas=1) as nodes:
        lines = connect_lines(nodes.url, decode_responses=True)
        of_first = (Line(lines, coupon_id) for coupon_id in range(1, 100))
        line = next(each for each in of_first if nodes.master_of(each.gate_key) is nodes.masters[0])
        return _measured(line, lines, lambda: hand_over(nodes), lambda: is_master(nodes.replicas[0]))


def of_watched(hand_over: Callable[[Watched], None]) -> Lost:
    with tempfile.TemporaryDirectory(prefix="fc-") as name, Watched(Path(name)) as servers:
        lines = connect_lines(servers.url, decode_responses=True)
        first, second = servers.servers

        def has_taken_over() -> bool:
            return (
                servers.master is second and is_master(second) and not (first.answers() and is_master(first))
            )

        return _measured(Line(lines, 7), lines, lambda: hand_over(servers), has_taken_over)


def _measured(line: Line, lines: object, hand_over: Callable[[], None], is_over: Callable[[], bool]) -> Lost:
    begin(line, policy(quota=None))
    crowd = Crowd(line)
    time.sleep(BEFORE_S)
    hand_over()
    assert wait_until(is_over, wait_s=TAKES_OVER_S), "nobody has taken over"
    time.sleep(AFTER_S)
    lost = crowd.end()
    disconnect(lines)
    return lost


def is_master(server: object) -> bool:
    return bool(ask(server, "ROLE")[0] == "master")


def by_hand_with_a_witness(servers: Watched) -> None:
    """A master without a replica, as the old one is then, takes nothing."""
    for server in servers.servers:
        ask(server, "CONFIG", "SET", "min-replicas-to-write", 1)
    ask(servers.sentinels[0], "SENTINEL", "FAILOVER", MASTER)


WAYS: dict[str, Callable[[], Lost]] = {
    "SENTINEL FAILOVER": lambda: of_watched(
        lambda servers: ask(servers.sentinels[0], "SENTINEL", "FAILOVER", MASTER)
    ),
    "SENTINEL FAILOVER, min-replicas-to-write 1": lambda: of_watched(by_hand_with_a_witness),
    "SENTINEL FAILOVER … COORDINATED": lambda: of_watched(
        lambda servers: ask(servers.sentinels[0], "SENTINEL", "FAILOVER", MASTER, "COORDINATED")
    ),
    "the watched master is killed": lambda: of_watched(lambda servers: servers.master.kill()),
    "CLUSTER FAILOVER": lambda: of_cluster(lambda nodes: ask(nodes.replicas[0], "CLUSTER", "FAILOVER")),
    "CLUSTER FAILOVER TAKEOVER": lambda: of_cluster(
        lambda nodes: ask(nodes.replicas[0], "CLUSTER", "FAILOVER", "TAKEOVER")
    ),
    "the master of a Cluster is killed": lambda: of_cluster(lambda nodes: nodes.masters[0].kill()),
}


def main() -> None:
    print("| how | answered | known afterwards | nobody was answered for |\n|---|---|---|---|")
    for way, measure in WAYS.items():
        lost = measure()
        print(f"| {way} | {lost.answered:,} | {lost.known:,} | {lost.silent_s:.1f} s |", flush=True)


if __name__ == "__main__":
    main()
