"""A Redis that hands over to another, stays away for long, is nearly full, or speaks TLS to a crowd."""

import time
from collections.abc import Callable

import pytest
import redis
from rq import Worker
from sqlalchemy import select

from deploy.clusters import tls_options
from deploy.processes import free_port, wait_until
from tests.faults.history import Broken, History
from tests.faults.replica import Replica
from tests.redises import REDISES, program
from tests.tls import address, certificate
from webapp.models import CLOSED, CouponIssue
from webapp.sale.coupons import change_coupon
from webapp.sale.redeeming import revoke
from webapp.stores.queue import bell_queue
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

AGAIN_S = 2.0
BACK_S = 10.0
SYNCED_AT_ONCE = ["--repl-diskless-sync-delay", "0"]


# 18: away for a while


def is_idle() -> bool:
    """Whether the one worker is through with its job, also for RQ."""
    return [worker.get_state() for worker in Worker.all(queue=bell_queue())] == ["idle"]


def away_idle(start, open_sale, seconds: float) -> History:
    """Redis is away while nobody does anything, and comes back without its data moving."""
    site = start()
    history = open_sale(site, people=20, quota=20)
    history.claim(range(10))
    assert site.wait(lambda: len(history.rows()) == 10, within_s=BACK_S)
    assert site.wait(is_idle, within_s=BACK_S)
    site.valkey.kill()
    site.kills += 1
    site.wait(lambda: False, within_s=seconds)
    site.valkey.start()
    return history


@pytest.mark.parametrize("seconds", [5, 20, 70, 200])
def test_18_away_while_the_worker_is_idle(start, open_sale, seconds):
    history = away_idle(start, open_sale, seconds)
    worker = history.site.workers[0].process
    began = time.monotonic()
    history.claim(range(10, 20))
    assert history.site.wait(lambda: len(history.rows()) == 20, within_s=BACK_S - (time.monotonic() - began))
    assert history.site.workers[0].process is worker, "it waited by itself"
    history.check()


def test_18_control_a_worker_that_pauses_as_rq_does(start, open_sale):
    site = start(tamper={"worker": "long pauses"})
    history = open_sale(site, people=20, quota=20)
    site.valkey.kill()
    site.wait(lambda: False, within_s=70)
    site.valkey.start()
    history.claim()
    assert not site.wait(lambda: len(history.rows()) == 20, within_s=BACK_S)


# 21: a planned failover, in which the old master goes on as a replica


def by_replicaof(old: redis.Redis, replica: Replica) -> None:
    redis.Redis.from_url(replica.valkey.url).replicaof("NO", "ONE")
    old.execute_command("REPLICAOF", "127.0.0.1", str(replica.valkey.port))


def by_failover(old: redis.Redis, replica: Replica) -> None:
    """Have the old master wait until the replica has everything, and only then hand over."""
    old.execute_command("FAILOVER", "TO", "127.0.0.1", str(replica.valkey.port))
    with redis.Redis.from_url(replica.valkey.url) as new:
        assert wait_until(lambda: new.info("replication")["role"] == "master", wait_s=BACK_S)


SWITCHES: dict[str, Callable[[redis.Redis, Replica], None]] = {
    "replicaof": by_replicaof,
    "failover": by_failover,
}


def handed_over(start, open_sale, kind: str, switch: Callable[..., None], **options) -> tuple[History, bool]:
    """Hand over in the midst of claims; return the history, and whether claims went on within AGAIN_S."""
    site = start(proxied=True, program=program(kind), valkey_options=SYNCED_AT_ONCE, **options)
    history = open_sale(site, people=600, quota=400)
    with Replica(site) as replica:
        drive = history.drive(spread_s=6, within_s=40)
        assert wait_until(lambda: drive.answered > 150, wait_s=BACK_S)
        assert site.wait(replica.hears, within_s=BACK_S)
        with redis.Redis.from_url(site.valkey.url) as old:
            switch(old, replica)
            site.follow(replica.valkey)
            switched, answered = time.monotonic(), drive.answered
            again = site.wait(lambda: drive.answered > answered + 5, within_s=AGAIN_S)
            assert time.monotonic() - switched < AGAIN_S + 1
            assert old.info("replication")["role"] == "slave"
        if again:
            while drive.is_alive():
                history.poll(list(history.numbers))
            drive.end()
            site.sweep()  # claims need none, but nobody else rings when the wait for receipts is over
            history.check()
    return history, again


@pytest.mark.parametrize("sweeper", [True, False])
@pytest.mark.parametrize("switch", SWITCHES.values(), ids=SWITCHES)
@pytest.mark.parametrize("kind", REDISES)
def test_21_handed_over_with_kept_connections(start, open_sale, kind, switch, sweeper):
    _history, again = handed_over(start, open_sale, kind, switch, sweeper=sweeper)
    assert again


def test_21_control_nobody_looks_for_a_replica(start, open_sale):
    wrong = dict.fromkeys(("web", "worker"), "no look for a replica")
    _history, again = handed_over(start, open_sale, "redis 6.2", by_replicaof, sweeper=False, tamper=wrong)
    assert not again


# 23: nearly full


def full_in_mid_sale(start, open_sale, taken: float) -> History:
    site = start()
    history = open_sale(site, people=700, quota=400)
    (worker,) = site.workers
    worker.stop()
    history.claim(range(600))
    line_redis().setrange("others", 20_000_000, "x")
    line_redis().config_set("maxmemory", int(line_redis().info("memory")["used_memory"] / taken))
    worker.start()
    return history


@pytest.mark.quick
def test_23_at_its_reserve(start, open_sale):
    """Nobody new gets a number, and everybody who has one is served; operators close and revoke."""
    history = full_in_mid_sale(start, open_sale, taken=0.95)
    late = history.drive(range(600, 700), within_s=30)
    assert history.site.wait(lambda: len(history.rows()) == 400, within_s=BACK_S)
    assert history.statuses[503] > 0
    assert len(history.numbers) == 600
    code = db.session.scalar(select(CouponIssue.code).where(CouponIssue.ticket_number == 1))
    db.session.rollback()
    revoke(code, None, "a test")
    change_coupon(history.coupon_id, status=CLOSED)
    late.end()
    assert sum(history.refused.values()) == 100, "sold out, or closed"
    assert history.site.wait(
        lambda: [number for _, number, _ in history.rows()] == list(range(2, 402)), within_s=BACK_S
    )


def test_23_control_without_a_reserve_nothing_is_settled(start, open_sale):
    history = full_in_mid_sale(start, open_sale, taken=1.05)
    with pytest.raises(Broken, match="I5"):
        history.check_settled(within_s=5)


# 24: a crowd on fresh processes, over TLS


def fresh_over_tls(start, open_sale, directory, **options) -> History:
    cert, key = certificate(directory)
    port = free_port()
    site = start(
        program=program("redis 7"),
        valkey_options=tls_options(port, cert, key),
        redis_url=address(port, cert),
        **options,
    )
    history = open_sale(site, people=300, quota=300)
    # Each drive has some sixty connections: five send all claims at once.
    for drive in [history.drive(range(first, 300, 5)) for first in range(5)]:
        drive.end()
    return history


def test_24_three_hundred_first_claims_over_tls(start, open_sale, tmp_path):
    history = fresh_over_tls(start, open_sale, tmp_path)
    assert history.statuses == {200: 300}, history.slowest
    history.check()
