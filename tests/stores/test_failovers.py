"""Another server takes over, or is not there at the start: a Cluster and a master that sentinels watch."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis
from redis.exceptions import MovedError

from deploy.clusters import MASTER, Cluster, Watched, ask
from deploy.processes import free_port, wait_until
from deploy.stores import Valkey
from tests.conftest import disconnect
from webapp.line.line import Line
from webapp.sale.condition import probed
from webapp.stores.cluster import connect_lines
from webapp.stores.script_redis import Lines, connect_redis

REQUEST_S = 2.5
"""What a visitor waits at most for a Redis that does not answer."""
TAKES_OVER_S = 15.0
"""How long the servers themselves may take on a busy machine to agree that a master is lost."""


@pytest.fixture
def own_cluster(tmp_path) -> Iterator[Cluster]:
    with Cluster(tmp_path, replicas=1) as nodes:
        yield nodes


@pytest.fixture
def own_watched(tmp_path) -> Iterator[Watched]:
    with Watched(tmp_path) as servers:
        yield servers


@contextmanager
def connected(url: str) -> Iterator[Lines]:
    client = connect_lines(url, decode_responses=True)
    yield client
    disconnect(client)


def line_on(cluster: Cluster, lines: Lines, node: Valkey) -> Line:
    """Return a line whose slot a node has."""
    lines_of_it = (Line(lines, coupon_id) for coupon_id in range(1, 100))
    return next(line for line in lines_of_it if cluster.master_of(line.gate_key) is node)


class Asking(threading.Thread):
    """Somebody who writes again and again, and notes how long each answer took, and which were errors."""

    def __init__(self, line: Line) -> None:
        super().__init__(daemon=True)
        self.line, self.ends = line, threading.Event()
        self.answered, self.errors, self.slowest_s = 0, [], 0.0
        self.start()

    def run(self) -> None:
        while not self.ends.is_set():
            began = time.monotonic()
            try:
                self.line.redis.run_script("probe", [self.line.gate_key + "probe"], [1000])
                self.answered += 1
            except redis.RedisError as error:
                self.errors.append(error)
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    def goes_on(self) -> bool:
        answered = self.answered
        return wait_until(lambda: self.answered > answered + 5, wait_s=REQUEST_S)

    def end(self) -> None:
        self.ends.set()
        self.join()


# A Cluster


def test_a_killed_master_gives_way_to_its_replica(own_cluster):
    with connected(own_cluster.url) as lines:
        line = line_on(own_cluster, lines, own_cluster.masters[0])
        beside = line_on(own_cluster, lines, own_cluster.masters[1])
        asking = Asking(line)
        assert asking.goes_on()
        own_cluster.masters[0].kill()
        assert beside.gate() is None, "the other nodes answer meanwhile"
        replica = own_cluster.replicas[0]
        assert wait_until(lambda: ask(replica, "ROLE")[0] == "master", wait_s=TAKES_OVER_S)
        assert asking.goes_on()
        asking.end()
        assert asking.slowest_s < REQUEST_S, "whoever asked meanwhile heard an error in time"
        assert own_cluster.master_of(line.gate_key) is replica


def test_a_planned_failover_of_a_cluster_takes_a_moment(own_cluster):
    with connected(own_cluster.url) as lines:
        asking = Asking(line_on(own_cluster, lines, own_cluster.masters[0]))
        assert asking.goes_on()
        ask(own_cluster.replicas[0], "CLUSTER", "FAILOVER")
        assert wait_until(lambda: ask(own_cluster.replicas[0], "ROLE")[0] == "master", wait_s=TAKES_OVER_S)
        assert asking.goes_on()
        asking.end()
        assert len(asking.errors) <= 2, "mostly none: an error takes as long as the failover does"
        assert asking.slowest_s < REQUEST_S


def test_control_a_client_of_one_node_hears_nothing_but_errors_after_that(own_cluster):
    with connected(own_cluster.url) as lines:
        key = line_on(own_cluster, lines, own_cluster.masters[0]).gate_key
    ask(own_cluster.replicas[0], "CLUSTER", "FAILOVER")
    assert wait_until(lambda: ask(own_cluster.replicas[0], "ROLE")[0] == "master", wait_s=TAKES_OVER_S)
    assert wait_until(lambda: ask(own_cluster.masters[0], "ROLE")[0] == "slave", wait_s=TAKES_OVER_S)
    with connected(own_cluster.masters[0].url) as lines, pytest.raises(MovedError):
        lines.of(key).hget(key, "epoch")


def test_a_cluster_is_found_by_any_node_of_the_address(cluster):
    dead = f"127.0.0.1:{free_port()}"
    with connected(cluster.url.replace("//", f"//{dead},")) as lines:
        assert probed(lines).says == "ok"
    with connected(f"redis+cluster://{dead}") as lines:
        began = time.monotonic()
        assert probed(lines).says == "ConnectionError"
        assert time.monotonic() - began < REQUEST_S


def test_a_client_outlives_every_node_of_its_address(own_cluster):
    """The other nodes were learnt from it."""
    with connected(own_cluster.url_of(own_cluster.masters[0])) as lines:
        line = line_on(own_cluster, lines, own_cluster.masters[0])
        assert line.gate() is None
        own_cluster.masters[0].kill()
        assert wait_until(lambda: ask(own_cluster.replicas[0], "ROLE")[0] == "master", wait_s=TAKES_OVER_S)
        assert wait_until(own_cluster.knows, wait_s=TAKES_OVER_S)
        assert line.gate() is None


# Sentinels


def by_hand(watched: Watched) -> None:
    ask(watched.sentinels[0], "SENTINEL", "FAILOVER", MASTER)


def by_death(watched: Watched) -> None:
    watched.master.kill()


@pytest.mark.parametrize("fail_over", [by_hand, by_death])
def test_the_master_that_sentinels_name_is_followed(own_watched, fail_over: Callable[[Watched], None]):
    first = own_watched.master
    with connected(own_watched.url) as lines:
        asking = Asking(Line(lines, 7))
        assert asking.goes_on()
        fail_over(own_watched)
        assert wait_until(lambda: own_watched.master is not first, wait_s=TAKES_OVER_S)
        # Until it has become a replica the old master answers, and what it takes is lost (docs/reliability.md).
        assert wait_until(
            lambda: not first.answers() or ask(first, "ROLE")[0] == "slave", wait_s=TAKES_OVER_S
        )
        assert asking.goes_on()
        asking.end()
        assert asking.slowest_s < REQUEST_S
        key = asking.line.gate_key + "new"
        asking.line.redis.set(key, "1")
        assert ask(own_watched.master, "GET", key) == "1"


def test_control_a_client_of_one_server_stays_with_the_old_master(own_watched):
    first = own_watched.master
    own = connect_redis(first.url, decode_responses=True)
    by_death(own_watched)
    assert wait_until(lambda: own_watched.master is not first, wait_s=TAKES_OVER_S)
    with pytest.raises(redis.ConnectionError):
        own.set("key", "1")
    disconnect(own)


def test_the_master_is_known_as_long_as_one_sentinel_answers(watched):
    dead = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    with connected(watched.url_of(watched.sentinels[0]).replace("//", f"//{','.join(dead)},")) as lines:
        assert probed(lines).says == "ok"
    with connected(f"redis+sentinel://{','.join(dead)}/{MASTER}") as lines:
        assert probed(lines).says == "MasterUnknown"


def test_a_name_that_no_sentinel_knows_is_an_error_that_says_so(watched):
    with (
        connected(watched.url.replace(MASTER, "other")) as lines,
        pytest.raises(redis.ConnectionError, match="no sentinel names the master other: it knows no such"),
    ):
        Line(lines, 7).gate()
