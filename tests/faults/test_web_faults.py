"""Web processes that die, deploys, and a Redis that the web cannot reach."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.processes import wait_until
from tests.faults.history import Broken, History
from webapp.line.line import Line
from webapp.models import LIVE, PAUSED
from webapp.sale.coupons import change_coupon
from webapp.sale.epochs import EPOCH_STEP
from webapp.stores.script_redis import line_redis

LONGEST_S = 2.5
ALIVE_S = 1.0


def gate(history: History):
    return Line(line_redis(), history.coupon_id).gate()


def claim_twice(history: History) -> None:
    """Have everybody press twice before the first is admitted."""
    change_coupon(history.coupon_id, status=PAUSED)
    history.claim()
    history.claim()
    change_coupon(history.coupon_id, status=LIVE)


def kill_master(site, history: History) -> None:
    """Kill gunicorn's master in the midst of the claims; its processes go by themselves, and it is started again."""
    drive = history.drive(spread_s=3)
    assert wait_until(lambda: drive.answered > 50, wait_s=10)
    workers = children(site.web.process.pid)
    assert len(workers) == 2
    site.web.kept = False
    site.web.kill()
    assert wait_until(lambda: not any(alive(pid) for pid in workers), wait_s=3), (
        "workers outlive their master"
    )
    site.web.start()
    drive.end()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def deploy_under_load(site, history: History) -> None:
    """Reload twice, then stop and start anew, while claims go on. 0 is a refused connection, 410 sold out."""
    drive = history.drive(spread_s=6)
    for _ in range(2):
        before, answered = children(site.web.process.pid), drive.answered
        site.web.signal(signal.SIGHUP)
        assert wait_until(lambda old=before: not any(alive(pid) for pid in old), wait_s=20)
        assert wait_until(lambda n=answered: drive.answered > n + 20, wait_s=10)
    site.web.signal(signal.SIGTERM)
    site.web.process.wait(15)
    site.web.start()
    drive.end()


def black_hole(start, open_sale, *, seconds: float) -> None:
    site = start(proxied=True)
    proxy = site.redis_proxy
    history = open_sale(site, people=200, quota=150)
    history.claim(range(50))
    proxy.black_hole = True
    drive = history.drive(range(50, 150), within_s=seconds + 30)
    for answer in all_the_while(site, "/healthz", seconds):
        assert answer.status == 200
        assert answer.answered - answer.sent < ALIVE_S
    proxy.heal()
    drive.end()
    assert history.statuses[503] >= 100, "everybody was told to come again"
    assert history.slowest_s < LONGEST_S
    proxy.delay_s = 0.25  # each way
    history.claim(range(150, 200))
    assert history.slowest_s < LONGEST_S
    proxy.heal()
    history.check()


def all_the_while(site, path: str, seconds: float) -> Iterator:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        (answer,) = site.ask([path], within_s=3)
        assert answer is not None
        yield answer
        time.sleep(0.1)


@pytest.mark.quick
def test_01_web_process_dies_after_the_script_ran(start, open_sale):
    site = start(tamper={"web": "kill:claimed"})
    history = open_sale(site, people=300, quota=200)
    claim_twice(history)
    assert (site.directory / "tampered").exists(), "a web process reached the step and died"
    assert history.statuses[0] >= 1, "somebody's answer was lost"
    history.check()
    assert gate(history).last == len(history.numbers)


def test_01_the_reply_of_redis_is_cut(start, open_sale):
    site = start(proxied=True)
    proxy = site.redis_proxy
    history = open_sale(site, people=300, quota=200)
    drive = history.drive(spread_s=2)
    for _ in range(10):
        answered, proxy.swallow_replies = drive.answered, 1
        assert wait_until(lambda: proxy.swallow_replies <= 0 or not drive.is_alive(), wait_s=5)
        assert wait_until(lambda n=answered: drive.answered > n or not drive.is_alive(), wait_s=5)
    drive.end()
    assert proxy.swallowed >= 5
    history.check()
    assert gate(history).last == len(history.numbers)


def test_01_control_a_claim_that_forgets_who_has_a_ticket(start, open_sale):
    site = start(tamper={"web": "kill:claimed,no look for a ticket"})
    history = open_sale(site, people=300, quota=200)
    claim_twice(history)
    with pytest.raises(Broken, match="I7"):
        history.check()


@pytest.mark.quick
def test_02_the_master_is_killed(start, open_sale):
    site = start()
    history = open_sale(site, people=500, quota=300)
    kill_master(site, history)
    history.check()


def test_02_control_tickets_counted_by_the_process(start, open_sale):
    site = start(tamper={"web": "own counter"})
    history = open_sale(site, people=500, quota=300)
    kill_master(site, history)
    with pytest.raises(Broken):
        history.check()


def test_03_deploys_under_load(start, open_sale):
    site = start()
    history = open_sale(site, people=600, quota=400)
    deploy_under_load(site, history)
    assert set(history.statuses) <= {0, 200, 410, 503}
    history.check()


def test_03_control_tickets_counted_by_the_process(start, open_sale):
    site = start(tamper={"web": "own counter"})
    history = open_sale(site, people=600, quota=400)
    deploy_under_load(site, history)
    with pytest.raises(Broken):
        history.check()


@pytest.mark.quick
def test_11_redis_is_full(start, open_sale):
    site = start()
    history = open_sale(site, people=200, quota=100)
    history.claim(range(50))
    history.check_settled()
    redis, before = line_redis(), gate(history).last
    redis.config_set("maxmemory", 1)
    refused = history.drive(range(50, 100), within_s=3)
    refused.end()
    assert (set(history.statuses), gate(history).last) == ({200, 503}, before)
    assert [answer.status for answer in site.ask([f"/coupons/{history.coupon_id}/serving"] * 3)] == [200] * 3
    assert history.poll(range(50)) == ["issued"] * 50
    redis.config_set("maxmemory", 0)
    history.unanswered = 0
    history.claim(range(50, 200))
    history.check()


def test_11_control_a_redis_that_evicts_loses_the_line(start, open_sale):
    site = start(workers=0)
    history = open_sale(site, people=200, quota=100)
    history.claim()
    redis = line_redis()
    redis.config_set("maxmemory-policy", "allkeys-random")
    redis.config_set("maxmemory", 1)
    redis.config_set("maxmemory", 0)
    assert redis.dbsize() == 0 or wait_until(lambda: gate(history) is None, wait_s=5)
    with pytest.raises(Broken, match="I"):
        history.check(within_s=2)


def test_12_redis_in_a_black_hole(start, open_sale):
    black_hole(start, open_sale, seconds=4)


def test_12_redis_in_a_black_hole_for_30_s(start, open_sale):
    black_hole(start, open_sale, seconds=30)


def test_12_control_without_limits_a_request_hangs(start, open_sale):
    site = start(proxied=True, tamper={"web": "patient redis"})
    proxy = site.redis_proxy
    history = open_sale(site, people=20, quota=10)
    history.claim(range(5))
    proxy.black_hole = True
    drive = history.drive(range(5, 20), within_s=LONGEST_S + 1)
    drive.end()
    assert history.unanswered == 15
    assert history.statuses[503] == 0
    proxy.heal()


def test_12_one_epoch_all_the_time(start, open_sale):
    """A network that failed lost no data: nobody's number is counted in a new epoch."""
    site = start(proxied=True)
    proxy = site.redis_proxy
    history = open_sale(site, people=20, quota=15)
    history.claim(range(10))
    proxy.refuse()
    history.drive(range(10, 20), within_s=1).end()
    proxy.heal()
    history.unanswered = 0
    history.claim(range(10, 20))
    history.check()
    assert gate(history).epoch == 1
    assert gate(history).last < EPOCH_STEP
