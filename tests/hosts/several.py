"""The whole system on several hosts, one of which is cut off in the midst of a sale.

    make hosts

plays a drop for each of CUTS and prints a table of what was cut, what people noticed, and what was lost. nginx, each of
two web servers, the workers with their queue, SQL and the people are on a host of their own. The lines are on a Cluster
of three hosts; each has a master and the replica of another host's. All are namespaces of one machine, and share its
cores.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import flask_migrate
import redis

from bench.nginx import in_front_of
from deploy.clusters import Cluster, ask
from deploy.stores import MariaDB, Store, Valkey
from jobs.rehearsal import load
from jobs.rehearsal.load import Answer, Try, send_all
from tests.builders import make_coupon, make_users
from tests.conftest import close, settings
from tests.faults.handover import is_master
from tests.faults.history import FINAL, History
from tests.faults.site import Part, Running
from tests.hosts.network import PREFIX, Host, network, obstacle
from webapp import create_app
from webapp.line.line import Line
from webapp.models import LIVE, PAUSED
from webapp.sale.coupons import change_coupon
from webapp.stores.queue import SWEEPER_ALIVE_KEY
from webapp.stores.script_redis import line_redis

HOSTS = ("people", "front", "web1", "web2", "jobs", "redis1", "redis2", "redis3", "sql")
HOMES = {f"node{number}": f"redis{number + 1}" for number in range(3)}
HOMES |= {f"replica{number}": f"redis{(number + 1) % 3 + 1}" for number in range(3)}
"""The replica of each master is on the next host."""
WORKERS = 2
WEB_PORT, QUEUE_PORT = 8000, 6379
READY_S, TAKES_OVER_S = 60, 15
CUT_S, STUMBLE_S = 10.0, 3.0
BEHIND_S = 2.0
"""How long a replica hears nothing of its master before the master is cut off."""
SPREAD_S = 10.0
PATIENCE_S = 10.0
"""After so long a page gives up on an answer, and asks once more (static/coupon.js)."""
TICK_S = 0.05


class Elsewhere(Store):
    """A store on one of the hosts."""

    home: Host

    def at(self, home: Host) -> Self:
        self.home, self.host = home, home.address
        return self

    def command(self) -> list[str]:
        return [*self.home.inside, *super().command()]


class ValkeyElsewhere(Elsewhere, Valkey):
    """Without a password, so it has to be told that other hosts may connect."""

    def command(self) -> list[str]:
        return [*super().command(), "--protected-mode", "no"]


class MariaDBElsewhere(Elsewhere, MariaDB):
    clients = f"{PREFIX}%"


class SpreadCluster(Cluster):
    """Three masters on three hosts, and a replica of each on another one of them."""

    def __init__(self, directory: Path, hosts: Mapping[str, Host]) -> None:
        self.hosts = hosts
        super().__init__(directory, replicas=3)

    def _server(self, name: str, port: int, options: list[str]) -> Valkey:
        made = ValkeyElsewhere(self.directory / name, port=port, options=options, program=self.program)
        return made.at(self.hosts[HOMES[name]])


class Several(Running):
    """The system in the shape of production on HOSTS; this thread is on the people's one."""

    def __init__(self, directory: Path, hosts: Mapping[str, Host]) -> None:
        self.directory, self.hosts = directory, hosts
        for name in ("lines", "queue", "sql", "front"):
            (directory / name).mkdir()
        self.lines = SpreadCluster(directory / "lines", hosts)
        self.queue = ValkeyElsewhere(directory / "queue", port=QUEUE_PORT).at(hosts["jobs"])
        self.sql = MariaDBElsewhere(directory / "sql").at(hosts["sql"])
        self.webs = [self._part(name, name, "deploy.web") for name in ("web1", "web2")]
        self.workers = [self._part(f"worker{number}", "jobs", "jobs.worker") for number in range(WORKERS)]
        self.sweeper = self._part("sweeper", "jobs", "jobs.sweeper")

    def _part(self, name: str, host: str, module: str) -> Part:
        return Part(self, name, [*self.hosts[host].inside, sys.executable, "-m", module])

    @property
    def parts(self) -> list[Part]:
        return [*self.webs, *self.workers, self.sweeper]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for store in (self.queue, self.sql, self.lines):
                stack.enter_context(store)
            urls = (self.sql.database("firstcome"), self.lines.url, self.queue.url)
            front = self.hosts["front"].address
            self.environ = {
                "PATH": os.environ["PATH"],
                "SECRET_KEY": settings("", "")["SECRET_KEY"],
                **dict(zip(("DATABASE_URL", "REDIS_URL", "QUEUE_REDIS_URL"), urls, strict=True)),
                "PORT": str(WEB_PORT),
                "WEB_CONCURRENCY": "1",
                "GUNICORN_CMD_ARGS": f"--bind=0.0.0.0:{WEB_PORT}",
                "TRUSTED_PROXIES": "1",
                "ALLOWED_HOSTS": front,
            }
            self.app = create_app(settings(*urls))
            stack.enter_context(self.app.app_context())
            stack.callback(close, self.app)
            flask_migrate.upgrade()
            for part in self.parts:
                stack.callback(part.discard)
                part.start()
            assert self.wait(self.is_ready, within_s=READY_S), self.said()
            self.address = (front, stack.enter_context(self.in_front()))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    @contextmanager
    def in_front(self) -> Iterator[int]:
        """Run nginx, as we ship it, on its host in front of the web hosts, and yield its port."""
        directory = Path(tempfile.mkdtemp(dir=self.directory / "front"))
        servers = [self.hosts[part.name].address for part in self.webs]
        front = self.hosts["front"]
        options = {"log": True, "host": front.address, "servers": servers, "inside": front.inside}
        with in_front_of(WEB_PORT, directory, **options) as port:
            yield port

    def is_ready(self) -> bool:
        """Whether every web host sees its stores and every worker, and the sweeper sweeps."""
        request = f"GET /readyz HTTP/1.1\r\nHost: {self.hosts['front'].address}\r\n\r\n".encode()
        for part in self.webs:
            (answer,) = send_all((self.hosts[part.name].address, WEB_PORT), [request], within_s=3)
            if answer is None or answer.status != 200:
                return False
            if json.loads(answer.body)["parts"]["workers"] < WORKERS:
                return False
        return bool(line_redis().of(SWEEPER_ALIVE_KEY).exists(SWEEPER_ALIVE_KEY))

    def heal(self) -> None:
        """Plug in every host, have every part be where it was, and wait until all are ready."""
        for host in self.hosts.values():
            host.plug()
        self.hand_back()
        assert self.wait(self.is_ready, within_s=READY_S), self.said()

    def hand_back(self) -> None:
        """Have each master that came back as a replica be the master again, in agreement, so that nothing is lost."""
        assert self.wait(self.lines.is_in_step, within_s=TAKES_OVER_S)
        for node in self.lines.masters:
            if ask(node, "ROLE")[0] == "slave":
                ask(node, "CLUSTER", "FAILOVER")
                assert self.wait(partial(is_master, node), within_s=TAKES_OVER_S)
        assert self.wait(lambda: self.lines.knows() and self.lines.is_in_step(), within_s=TAKES_OVER_S)

    def pass_s(self, seconds: float) -> None:
        """Let so much time pass, and keep the parts running."""
        until = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > until, within_s=seconds + 1)

    def master_of(self, history: History) -> int:
        """Return which of the three masters holds the line."""
        home = self.lines.master_of(Line(line_redis(), history.coupon_id).gate_key)
        return self.lines.masters.index(home)


class Clicks(History):
    """What people were told, and how long they waited. Their pages are open, as long as `Pages` runs."""

    connections = 512

    def __init__(self, several: Several, people: int) -> None:
        super().__init__(several, make_coupon(quota=people * 2 // 3), make_users(people))
        self.polls = [b""] * people
        self.next_ms: dict[int, int] = {}
        self.troubles: list[float] = []
        self.clicks_s: list[float] = []
        self.numbered: dict[int, float] = {}
        self.told: dict[int, float] = {}
        self.unknown: set[int] = set()
        """Those with a number that was not known any more to whom took the line over."""

    def note(self, index: int, answer: Answer) -> None:
        self.clicks_s.append(answer.answered - answer.sent)
        super().note(index, answer)

    def note_try(self, seen: Try) -> None:
        if seen.status == 0 or seen.status >= 500:
            self.troubles.append(time.monotonic())
        super().note_try(seen)

    def _note_ticket(self, index: int, ticket: dict[str, Any]) -> None:
        super()._note_ticket(index, ticket)
        self.numbered.setdefault(index, time.monotonic())
        if ticket["state"] in FINAL:
            self.told.setdefault(index, time.monotonic())
        self.polls[index], self.next_ms[index] = self._poll_request(index), ticket["next_ms"]

    def hear(self, index: int, answer: Answer) -> None:
        """Keep the answer to a poll."""
        if answer.status == 200:
            self._note_ticket(index, json.loads(answer.body))

    def waits(self, index: int) -> bool:
        return self.shown[index][-1][0] not in FINAL

    def pause_s(self, index: int) -> float:
        """Return when a page asks next, as static/coupon.js does."""
        return self.next_ms[index] / 1000 * random.uniform(0.8, 1.2)

    def seen(self) -> "Seen":
        """Return what people noticed, and were told, so far."""
        kept = [index for index in self.unknown if len(set(self.numbers[index])) == 1]
        return Seen(
            numbers=len(self.numbers),
            refused=self.refused.total(),
            busy=len(self.troubles),
            busy_s=len(set(map(int, self.troubles))),
            answer_s=max(self.clicks_s),
            result_s=max(self.told[index] - self.numbered[index] for index in self.told),
            unknown=len(self.unknown),
            won_back=sum(self.shown[index][-1][0] not in ("lost", "none") for index in kept),
            issued=len(self.rows()),
        )

    def count_unknown(self, replica: Valkey) -> None:
        """Note whose number neither a replica nor SQL knows: what is lost if the replica takes over now."""
        answered, line = dict(self.numbers), Line(line_redis(), self.coupon_id)
        held = {str(user) for user, _, _ in self.rows()}
        with redis.Redis(
            host=replica.host, port=replica.port, decode_responses=True, single_connection_client=True
        ) as copy:
            copy.execute_command("READONLY")
            held |= {*copy.zrange(line.line_key, 0, -1), *copy.zrange(line.standby_key, 0, -1)}
            held |= set(copy.hkeys(line.results_key))
        self.unknown = {index for index in answered if str(self.crowd.user_ids[index]) not in held}


class Pages(threading.Thread):
    """The open pages of all who wait: each asks for its ticket when it was told to, and shows its receipt."""

    def __init__(self, history: Clicks) -> None:
        super().__init__(daemon=True)
        self.history, self.over = history, threading.Event()
        self.open: set[int] = set()

    def run(self) -> None:
        asyncio.run(self._ask())

    async def _ask(self) -> None:
        self.drive = load.Drive(*self.history.address, self.history.polls, self._heard, lambda _: None, [])
        connections = [load.Connection(self.drive) for _ in range(self.history.connections)]
        await asyncio.gather(*(connection.connect() for connection in connections))
        while not self.over.is_set():
            for index in [each for each in list(self.history.next_ms) if each not in self.open]:
                self.open.add(index)
                self.drive.again(index, self.history.pause_s(index))
            await asyncio.sleep(TICK_S)
        self.drive.finished.set()
        for connection in connections:
            connection.close()
        await asyncio.sleep(0)

    def _heard(self, index: int, answer: Answer) -> None:
        self.history.hear(index, answer)
        if self.history.waits(index):
            self.drive.again(index, self.history.pause_s(index))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


# What is cut, in the midst of a sale


def cut_nothing(several: Several, history: Clicks) -> None:
    """Nothing breaks: what the others are compared with."""


def cut_web(several: Several, history: Clicks) -> None:
    _cut(several, several.hosts["web2"])


def cut_webs_in_turn(several: Several, history: Clicks) -> None:
    """Both stumble, and one of them is there at any time."""
    for part in several.webs:
        _cut(several, several.hosts[part.name], STUMBLE_S)


def cut_sql(several: Several, history: Clicks) -> None:
    _cut(several, several.hosts["sql"])


def cut_jobs(several: Several, history: Clicks) -> None:
    _cut(several, several.hosts["jobs"])


def cut_master(several: Several, history: Clicks) -> None:
    """The host of the line's master, and with it the replica of another one."""
    number = several.master_of(history)
    master, replica = several.lines.masters[number], several.lines.replicas[number]
    host = several.hosts[HOMES[f"node{number}"]]
    host.pull()
    history.count_unknown(replica)
    _taken_over(several, replica)
    several.pass_s(CUT_S / 2)
    host.plug()
    assert several.wait(lambda: not is_master(master), within_s=TAKES_OVER_S)


def cut_master_ahead(several: Several, history: Clicks) -> None:
    """The same, when the replica has heard nothing for BEHIND_S, in which nobody was admitted."""
    number = several.master_of(history)
    master, replica = several.lines.masters[number], several.lines.replicas[number]
    host, other = (several.hosts[HOMES[f"{kind}{number}"]] for kind in ("node", "replica"))
    change_coupon(history.coupon_id, status=PAUSED)
    with host.unheard(other, from_port=master.port):
        several.pass_s(BEHIND_S)
        host.pull()
        history.count_unknown(replica)
        _taken_over(several, replica)
    several.pass_s(CUT_S / 2)
    # This process has not asked the lines since, so its first question may go to who was cut off.
    with suppress(redis.RedisError):
        change_coupon(history.coupon_id, status=LIVE)
    host.plug()
    assert several.wait(lambda: not is_master(master), within_s=TAKES_OVER_S)


def _cut(several: Several, host: Host, seconds: float = CUT_S) -> None:
    host.pull()
    several.pass_s(seconds)
    host.plug()


def _taken_over(several: Several, replica: Valkey) -> None:
    assert several.wait(partial(is_master, replica), within_s=TAKES_OVER_S)


class Cut(NamedTuple):
    words: str
    act: Callable[[Several, Clicks], None]
    loses: bool = False
    """Whether answered numbers may be lost, and have to be won back."""


CUTS = {
    "nothing": Cut("nothing", cut_nothing),
    "web": Cut(f"one of the two web hosts, for {CUT_S:g} s", cut_web),
    "webs": Cut(f"each web host for {STUMBLE_S:g} s, one after the other", cut_webs_in_turn),
    "jobs": Cut(f"the workers, the sweeper and the queue, for {CUT_S:g} s", cut_jobs),
    "master": Cut("the host of the line's master", cut_master, loses=True),
    "ahead": Cut(f"the same, its replica {BEHIND_S:g} s behind", cut_master_ahead, loses=True),
    "sql": Cut(f"the host of SQL, for {CUT_S:g} s", cut_sql),
}


class Seen(NamedTuple):
    """What people noticed of a cut, and what was lost."""

    numbers: int
    refused: int
    busy: int
    busy_s: int
    """In so many seconds some click was answered with 5xx, or lost its connection."""
    answer_s: float
    """The longest from a click to its answer."""
    result_s: float
    """The longest from a number to its result."""
    unknown: int
    won_back: int
    issued: int

    def row(self, cut: Cut) -> str:
        cells = [
            cut.words,
            f"{self.numbers:,}, {self.refused:,}",
            f"{self.busy:,} in {self.busy_s} s" if self.busy else "none",
            f"{self.answer_s:.1f} s",
            f"{self.result_s:.1f} s",
            f"{self.unknown:,}, {self.won_back:,}",
            f"{self.issued:,}",
        ]
        return f"| {' | '.join(cells)} |"


HEADS = ("cut off", "numbers, refusals", "5xx and broken connections", "longest for an answer")
HEADS += ("longest for a result", "numbers lost, won back", "issued")
HEAD = f"| {' | '.join(HEADS)} |\n{'|---' * len(HEADS)}|"


def play(several: Several, cut: Cut, history: Clicks, *, spread_s: float = SPREAD_S) -> Seen:
    """Play a sale of which a quarter is over when something is cut off, and check every invariant at its end.

    The clicks come evenly over `spread_s`. Whatever comes of it, all is healthy again afterwards. Raises
    tests.faults.history.Broken.
    """
    try:
        return _play(several, cut, history, spread_s)
    finally:
        several.heal()


def _play(several: Several, cut: Cut, history: Clicks, spread_s: float) -> Seen:
    people = len(history.crowd.user_ids)
    with Pages(history):
        drive = history.drive(spread_s=spread_s, within_s=spread_s + 60)
        assert several.wait(lambda: drive.answered > people / 4, within_s=spread_s), several.said()
        cut.act(several, history)
        drive.end()
    history.check_settled()
    seen = history.seen()
    history.check(lost=cut.loses)
    return seen


@contextmanager
def several_hosts() -> Iterator[Several]:
    """Start the system on hosts of its own; nothing of it is left afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="fc-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        hosts = stack.enter_context(network(HOSTS))
        stack.enter_context(hosts["people"].entered())
        yield stack.enter_context(Several(directory, hosts))


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Cut hosts off in the midst of a sale, and see that it holds."
    )
    parser.add_argument("--people", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the clicks take to come")
    parser.add_argument("--only", choices=CUTS, action="append", help="some of the cuts (default: all)")
    options = parser.parse_args()
    if reason := obstacle():
        raise SystemExit(reason)
    with several_hosts() as several:
        print(HEAD, flush=True)
        for name in options.only or CUTS:
            seen = play(several, CUTS[name], Clicks(several, options.people), spread_s=options.seconds)
            print(seen.row(CUTS[name]), flush=True)


if __name__ == "__main__":
    main()
