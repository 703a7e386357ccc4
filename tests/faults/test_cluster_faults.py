"""The lines on a Cluster, or on a master that sentinels watch: a slot moves, and another server takes over."""

import pytest

from deploy.clusters import MASTER, Cluster, Watched, ask
from deploy.processes import wait_until
from deploy.stores import Valkey
from tests.faults.history import Drive, History
from webapp.line.line import Line
from webapp.stores.script_redis import line_redis

TAKES_OVER_S = 15.0
"""How long the servers themselves may take on a busy machine to agree that a master is lost, or to hand over."""
AGAIN_S = 2.5
ANSWERED = 150
"""How many claims are answered before something happens."""


@pytest.fixture
def cluster(tmp_path):
    with Cluster(tmp_path, replicas=1) as nodes:
        yield nodes


@pytest.fixture
def watched(tmp_path):
    with Watched(tmp_path) as servers:
        yield servers


def in_mid_sale(start, open_sale, lines: Cluster | Watched, **options) -> tuple[History, Drive]:
    """Start a sale; return when some of its 600 claims are answered, and the others are on their way."""
    history = open_sale(start(lines=lines, **options), people=600, quota=400)
    drive = history.drive(spread_s=8, within_s=60)
    assert wait_until(lambda: drive.answered > ANSWERED, wait_s=TAKES_OVER_S)
    return history, drive


def goes_on(history: History, drive: Drive) -> bool:
    """Whether claims are answered within the time of one request, or all have been."""
    answered = drive.answered
    return history.site.wait(lambda: drive.answered > answered + 5 or not drive.is_alive(), within_s=AGAIN_S)


def home_of(history: History, cluster: Cluster) -> Valkey:
    return cluster.master_of(Line(line_redis(), history.coupon_id).gate_key)


def replaced(history: History, cluster: Cluster) -> Valkey:
    """Have the first node, which alone has a replica, hold the line; return it."""
    home, first = home_of(history, cluster), cluster.masters[0]
    if home is not first:
        cluster.move(Line(line_redis(), history.coupon_id).gate_key, first)
        assert wait_until(cluster.knows, wait_s=TAKES_OVER_S)
    return first


# 27: the slot of a line moves


@pytest.mark.quick
def test_27_a_slot_moves_in_mid_sale(start, open_sale, cluster):
    history, drive = in_mid_sale(start, open_sale, cluster)
    home = home_of(history, cluster)
    other = next(node for node in cluster.masters if node is not home)
    cluster.move(Line(line_redis(), history.coupon_id).gate_key, other)
    assert goes_on(history, drive)
    cluster.move(Line(line_redis(), history.coupon_id).gate_key, home)
    assert goes_on(history, drive)
    drive.end()
    history.check()


def test_27_control_nobody_follows_a_slot(start, open_sale, cluster):
    history, drive = in_mid_sale(start, open_sale, cluster, tamper={"web": "nobody follows"})
    home = home_of(history, cluster)
    other = next(node for node in cluster.masters if node is not home)
    cluster.move(Line(line_redis(), history.coupon_id).gate_key, other)
    assert not goes_on(history, drive)


# 28: another server takes over


@pytest.mark.quick
def test_28_a_master_of_a_cluster_is_killed(start, open_sale, cluster):
    site = start(lines=cluster)
    history = open_sale(site, people=600, quota=400)
    first = replaced(history, cluster)
    drive = history.drive(spread_s=8, within_s=60)
    assert wait_until(lambda: drive.answered > ANSWERED, wait_s=TAKES_OVER_S)
    first.kill()
    site.kills += 1
    assert site.wait(lambda: ask(cluster.replicas[0], "ROLE")[0] == "master", within_s=TAKES_OVER_S)
    assert goes_on(history, drive)
    drive.end()
    history.check(lost=True)


@pytest.mark.parametrize("words", [(), ("TAKEOVER",)], ids=["in agreement", "at once"])
def test_28_a_master_of_a_cluster_hands_over(start, open_sale, cluster, words):
    site = start(lines=cluster)
    history = open_sale(site, people=600, quota=400)
    replaced(history, cluster)
    drive = history.drive(spread_s=8, within_s=60)
    assert wait_until(lambda: drive.answered > ANSWERED, wait_s=TAKES_OVER_S)
    ask(cluster.replicas[0], "CLUSTER", "FAILOVER", *words)
    assert site.wait(lambda: ask(cluster.replicas[0], "ROLE")[0] == "master", within_s=TAKES_OVER_S)
    assert goes_on(history, drive)
    drive.end()
    history.check(lost=bool(words))


@pytest.mark.quick
def test_28_a_watched_master_is_killed(start, open_sale, watched):
    history, drive = in_mid_sale(start, open_sale, watched)
    first = watched.master
    first.kill()
    history.site.kills += 1
    assert history.site.wait(lambda: watched.master is not first, within_s=TAKES_OVER_S)
    assert goes_on(history, drive)
    drive.end()
    history.check(lost=True)


@pytest.mark.parametrize("words", [(), ("COORDINATED",)], ids=["plain", "coordinated"])
def test_28_a_watched_master_hands_over(start, open_sale, watched, words):
    history, drive = in_mid_sale(start, open_sale, watched)
    first = watched.master
    ask(watched.sentinels[0], "SENTINEL", "FAILOVER", MASTER, *words)
    assert history.site.wait(lambda: watched.master is not first, within_s=TAKES_OVER_S)
    assert history.site.wait(lambda: ask(first, "ROLE")[0] == "slave", within_s=TAKES_OVER_S)
    assert goes_on(history, drive)
    drive.end()
    history.check(lost=not words)


def test_28_control_nobody_looks_for_who_took_over(start, open_sale, cluster):
    site = start(lines=cluster, tamper={"web": "lost nodes stay"})
    history = open_sale(site, people=600, quota=400)
    first = replaced(history, cluster)
    drive = history.drive(spread_s=8, within_s=60)
    assert wait_until(lambda: drive.answered > ANSWERED, wait_s=TAKES_OVER_S)
    first.kill()
    assert site.wait(lambda: ask(cluster.replicas[0], "ROLE")[0] == "master", within_s=TAKES_OVER_S)
    assert not goes_on(history, drive)


def test_28_control_the_sentinels_are_asked_once(start, open_sale, watched):
    history, drive = in_mid_sale(start, open_sale, watched, tamper={"web": "master asked once"})
    first = watched.master
    first.kill()
    assert history.site.wait(lambda: watched.master is not first, within_s=TAKES_OVER_S)
    assert not goes_on(history, drive)
