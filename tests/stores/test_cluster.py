"""A Cluster, and a master that sentinels watch: every answer comes from the server that takes writes by then."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis.exceptions import MovedError, TryAgainError

from deploy.clusters import Cluster, ask
from deploy.processes import wait_until
from deploy.stores import Valkey
from tests.conftest import disconnect
from tests.line.test_line import begin, policy
from webapp.line.line import Line, holders_of, to_be_served
from webapp.line.types import Reply
from webapp.sale.condition import probed
from webapp.stores import cluster as following
from webapp.stores.cluster import connect_lines
from webapp.stores.script_redis import Lines, connect_redis

REQUEST_S = 2.5
"""What a visitor waits at most for a Redis that does not answer."""
BACK_S = 20.0
COUPONS = range(1, 31)


@pytest.fixture
def lines(cluster: Cluster) -> Iterator[Lines]:
    client = connect_lines(cluster.url, decode_responses=True)
    for node in cluster.masters:
        ask(node, "FLUSHALL")
    yield client
    disconnect(client)


@pytest.fixture
def line(lines: Lines) -> Line:
    """An open line."""
    line = Line(lines, 7)
    begin(line, policy(quota=None))
    return line


@pytest.fixture
def other(cluster: Cluster, line: Line) -> Iterator[Valkey]:
    """A node to which the slot of the line may move; it comes back afterwards."""
    home = cluster.master_of(line.gate_key)
    yield next(node for node in cluster.masters if node is not home)
    cluster.move(line.gate_key, home)
    assert wait_until(cluster.knows, wait_s=BACK_S)


# The slots


def test_lines_are_spread_over_the_nodes_and_each_has_its_own_client(cluster, lines):
    for coupon_id in COUPONS:
        begin(line := Line(lines, coupon_id), policy())
        assert line.claim(coupon_id).number == 1
    held = [len(ask(node, "KEYS", "{coupon:*}:line")) for node in cluster.masters]
    assert sum(held) == len(COUPONS)
    assert min(held) > 0


def test_what_spans_lines_is_asked_on_every_node(lines):
    for coupon_id in COUPONS:
        begin(line := Line(lines, coupon_id), policy(quota=1))
        line.claim(coupon_id + 100)
    assert to_be_served(lines, dict.fromkeys(range(1, 40), True)) == list(COUPONS)
    assert holders_of(lines, range(1, 40), 1) == [(each, each + 100) for each in COUPONS]


def test_a_fresh_client_asks_all_lines_without_a_look_at_one_before(cluster, lines):
    begin(line := Line(lines, 7), policy())
    line.claim(1)
    fresh = connect_lines(cluster.url, decode_responses=True)
    assert to_be_served(fresh, {7: True, 8: True}) == [7]
    disconnect(fresh)


def test_every_node_is_probed(cluster, lines):
    assert probed(lines).says == "ok"
    assert all(ask(node, "KEYS", "probe:*") for node in cluster.masters)


def test_a_node_that_takes_no_writes_is_named_by_the_probe(cluster, lines):
    ask(cluster.masters[2], "CONFIG", "SET", "maxmemory", "1")
    try:
        assert probed(lines).says == "full"
    finally:
        ask(cluster.masters[2], "CONFIG", "SET", "maxmemory", "0")


@pytest.mark.parametrize("names", ["unknown-endpoint", "hostname"])
def test_nodes_that_know_no_names_of_each_other_are_at_the_host_of_the_address(cluster, line, other, names):
    for node in cluster.masters:
        ask(node, "CONFIG", "SET", "cluster-preferred-endpoint-type", names)
    try:
        cluster_of_it = connect_lines(cluster.url, decode_responses=True)
        assert probed(cluster_of_it).says == "ok"
        cluster.move(line.gate_key, other)
        assert line.claim(1).reply is Reply.NO_GATE
        disconnect(cluster_of_it)
    finally:
        for node in cluster.masters:
            ask(node, "CONFIG", "SET", "cluster-preferred-endpoint-type", "ip")


# A slot that moves


def test_a_slot_that_has_moved_is_followed(cluster, line, other):
    line.claim(1)
    cluster.move(line.gate_key, other)
    assert line.standing(1).reply is Reply.NO_GATE, "its new node has opened no epoch"
    assert line.redis.zscore(line.line_key, "1") == 1
    with line.redis.pipeline(transaction=True) as pipe:
        pipe.zscore(line.line_key, "1")
        assert pipe.execute() == [1]


def test_control_a_client_of_one_server_does_not_follow(cluster, line, other):
    home = connect_redis(cluster.master_of(line.gate_key).url, decode_responses=True)
    assert home.exists(line.gate_key)
    cluster.move(line.gate_key, other)
    with pytest.raises(MovedError):
        home.exists(line.gate_key)
    disconnect(home)


def test_lines_are_asked_together_also_when_one_has_moved(cluster, lines, line, other):
    line.claim(1)
    assert to_be_served(lines, {7: True}) == [7]
    cluster.move(line.gate_key, other)
    assert to_be_served(lines, {7: True, 8: True}) == [7]


def test_one_key_that_has_moved_ahead_of_its_slot_is_asked_for_where_it_is(cluster, line, other):
    """The old node says ASK from the first key on that it has given away until it has given away the slot."""
    line.claim(1)
    for step in cluster.moving(line.gate_key, other):
        if step == "keys":
            continue
        assert line.redis.zscore(line.line_key, "1") == 1
        assert line.open_epoch(1) is False, "a script of one key"
        for transaction in (False, True):
            with line.redis.pipeline(transaction=transaction) as pipe:
                pipe.zscore(line.line_key, "1")
                pipe.zcard(line.line_key)
                assert pipe.execute() == [1, 1]


def test_a_script_whose_keys_are_on_both_nodes_waits_until_the_slot_has_moved(cluster, line, other):
    line.claim(1)
    heard: list[Any] = []
    steps = cluster.moving(line.gate_key, other)
    assert next(steps) == "keys"
    with pytest.raises(TryAgainError):
        _without_waiting(line)
    waiting = threading.Thread(target=lambda: heard.append(line.standing(1).reply))
    waiting.start()
    for _ in steps:
        pass
    waiting.join(BACK_S)
    assert heard == [Reply.NO_GATE]


def test_a_slot_that_goes_on_moving_is_an_error_in_time(cluster, line, other):
    steps = cluster.moving(line.gate_key, other)
    next(steps)
    began = time.monotonic()
    with pytest.raises(TryAgainError):
        line.standing(1)
    assert time.monotonic() - began < REQUEST_S
    for _ in steps:
        pass


def _without_waiting(line: Line) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "FOLLOWED_S", -1)
        line.standing(1)
