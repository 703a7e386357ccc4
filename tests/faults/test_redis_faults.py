"""A Redis that crashes, is away, or forgets everything."""

import signal
import time

import pytest

from deploy.processes import wait_until
from tests.faults.history import Broken, History
from tests.faults.replica import Replica
from webapp.line.line import Line
from webapp.models import LIVE, PAUSED
from webapp.sale.coupons import change_coupon
from webapp.sale.epochs import EPOCH_STEP
from webapp.stores.script_redis import line_redis
from webapp.web.pages.tickets import next_ms

BACK_S = 5.0
AWAY_S = 2.5


def crash(site) -> None:
    site.valkey.kill()
    site.kills += 1
    site.valkey.start()


def kill_redis(site, history: History, *, times: int) -> None:
    """Crash Redis again and again while claims come in, and see that they are answered soon after it is back."""
    drive = history.drive(spread_s=2.0 * times, within_s=120)
    for _ in range(times):
        answered = drive.answered
        assert wait_until(lambda n=answered: drive.answered > n + 20, wait_s=BACK_S)
        crash(site)
        back, answered = time.monotonic(), drive.answered
        site.wait(lambda n=answered: drive.answered > n, within_s=BACK_S)
        assert drive.answered > answered, f"no claim was answered within {time.monotonic() - back:.1f} s"
    drive.end()


def away(start, open_sale, *, seconds: float, late: int = 100, tamper: str = "", **options) -> History:
    """Crash Redis when rows are committed and not settled, and leave it down for a while."""
    site = start(tamper={"worker": f"stop:committed,{tamper}"}, **options)
    history = open_sale(site, people=300 + late, quota=250)
    history.claim(range(300))
    assert site.wait((site.directory / "tampered").exists, within_s=10)
    site.valkey.kill()
    site.kills += 1
    site.workers[0].signal(signal.SIGCONT)
    drive = history.drive(range(300, 300 + late), within_s=seconds + 30)
    site.wait(lambda: False, within_s=seconds)
    site.valkey.start()
    drive.end()
    assert history.statuses[503] >= late, "everybody was told to come again"
    assert history.slowest_s < AWAY_S
    return history


def flushed_before_a_thousand(start, open_sale, **options) -> History:
    """Wipe Redis while 1,000 wait; newcomers click at once, and the pages ask when the server told them to."""
    site = start(**options)
    history = open_sale(site, people=1700, quota=600)
    (worker,) = site.workers
    worker.signal(signal.SIGSTOP)
    history.claim(range(1000))
    assert len(history.numbers) == 1000, f"{history.refused} while the worker stood still: {site.said()}"
    line_redis().flushall()
    worker.signal(signal.SIGCONT)
    history.claim(range(1000, 1700))
    # As far back as they stand, that is at most so long after the last time, whoever they are.
    history.poll(range(1000), spread_s=1.2 * next_ms(1000) / 1000)
    return history


def failed_over(start, open_sale, *, noticed: bool = True) -> History:
    """Have 300 wait, and Redis replaced by a replica that heard of the first 150 only.

    Not `noticed`: it says that it is the server to which the gate belongs, before anybody asks.
    """
    site = start(proxied=True, valkey_options=["--repl-diskless-sync-delay", "0"])
    history = open_sale(site, people=350, quota=200)
    change_coupon(history.coupon_id, status=PAUSED)
    with Replica(site) as replica:
        history.claim(range(150))
        assert site.wait(replica.hears, within_s=10)
        replica.hear_no_more()
        history.claim(range(150, 300))
        if not noticed:
            site.redis_proxy.refuse()
        site.fail_over(replica.valkey)
        if not noticed:
            gate = Line(line_redis(), history.coupon_id).gate_key
            line_redis().hset(gate, "run_id", line_redis().info("server")["run_id"])
            site.redis_proxy.heal()
    return history


def flush(site, history: History) -> None:
    """Wipe Redis, its scripts too, in the midst of the claims; open pages go on asking, with their receipts."""
    drive = history.drive(spread_s=6)
    assert wait_until(lambda: drive.answered > 150, wait_s=10)
    line_redis().flushall()
    line_redis().script_flush()
    site.kills += 1
    while drive.is_alive():
        history.poll(list(history.numbers))
    drive.end()


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_08_killed_five_times_during_claims(start, open_sale, fsync):
    site = start(valkey_options=["--appendfsync", fsync])
    history = open_sale(site, people=1000, quota=600)
    kill_redis(site, history, times=5)
    history.check()


def test_08_without_a_file_receipts_win_the_places_back(start, open_sale):
    site = start(valkey_options=["--appendonly", "no"])
    history = open_sale(site, people=300, quota=200)
    change_coupon(history.coupon_id, status=PAUSED)
    history.claim()
    crash(site)
    assert site.wait(lambda: set(history.poll()) == {"waiting"}, within_s=10)
    change_coupon(history.coupon_id, status=LIVE)
    history.check()


def test_08_control_without_a_file_and_without_receipts(start, open_sale):
    site = start(valkey_options=["--appendonly", "no"])
    history = open_sale(site, people=300, quota=200)
    change_coupon(history.coupon_id, status=PAUSED)
    history.claim()
    crash(site)
    history.receipts.clear()
    change_coupon(history.coupon_id, status=LIVE)
    with pytest.raises(Broken, match=r"I4|I7"):
        history.check()


def test_09_away_in_mid_job(start, open_sale):
    away(start, open_sale, seconds=6).check()


def test_09_away_for_60_s_in_mid_job(start, open_sale):
    away(start, open_sale, seconds=60).check()


def test_09_control_nobody_rings_again(start, open_sale):
    # Nobody claims meanwhile either: each new ticket rings.
    history = away(start, open_sale, seconds=2, late=0, sweeper=False, tamper="no ring at start")
    with pytest.raises(Broken, match="I5"):
        history.check()


@pytest.mark.quick
def test_10_flushed_in_mid_sale(start, open_sale):
    site = start()
    history = open_sale(site, people=600, quota=400)
    flush(site, history)
    history.check()
    assert [event.reason for event in history.events("epoch")] == ["Redis lost the line"]
    assert max(number for numbers in history.numbers.values() for number in numbers) > EPOCH_STEP


def test_10_a_thousand_open_pages_get_their_order_back(start, open_sale):
    history = flushed_before_a_thousand(start, open_sale)
    assert all(len(set(numbers)) == 1 for numbers in history.numbers.values())
    history.check()
    newcomers = {numbers[0] for index, numbers in history.numbers.items() if index >= 1000}
    assert min(newcomers) > EPOCH_STEP
    assert {number for _, number, _ in history.rows()} == set(range(1, 601))


def test_10_control_nobody_waits_for_the_receipts(start, open_sale):
    wrong = {"web": "no grace", "worker": "no grace"}
    history = flushed_before_a_thousand(start, open_sale, sweeper=False, tamper=wrong)
    with pytest.raises(Broken, match="I3"):
        history.check()


def test_10_a_replica_that_is_behind_takes_over(start, open_sale):
    history = failed_over(start, open_sale)
    newcomers = range(300, 350)
    history.claim(newcomers)
    assert min(history.numbers[index][0] for index in newcomers) > EPOCH_STEP
    assert set(history.poll(range(300))) == {"waiting"}
    change_coupon(history.coupon_id, status=LIVE)
    history.check()
    assert {number for _, number, _ in history.rows()} == set(range(1, 201))


def test_10_control_a_replica_passes_for_what_it_replaced(start, open_sale):
    history = failed_over(start, open_sale, noticed=False)
    history.claim(range(300, 350))
    history.poll(range(300))
    change_coupon(history.coupon_id, status=LIVE)
    with pytest.raises(Broken, match=r"I4|I7"):
        history.check()


@pytest.mark.parametrize("step", ["epoch begun", "epoch known"])
def test_10_whoever_begins_an_epoch_is_killed(start, open_sale, step):
    """Before SQL knows of the epoch, and after it, but before anybody gets a number."""
    site = start(tamper=dict.fromkeys(("web", "sweeper"), f"kill:{step}"))
    history = open_sale(site, people=300, quota=200)
    change_coupon(history.coupon_id, status=PAUSED)
    history.claim(range(150))
    line_redis().flushall()
    history.claim(range(150, 300))
    assert (site.directory / "tampered").exists()
    history.poll(range(150))
    change_coupon(history.coupon_id, status=LIVE)
    history.check()
    assert len(history.events("epoch")) == 1
    assert {number for _, number, _ in history.rows()} >= set(range(1, 151))


def test_10_control_an_epoch_is_open_before_sql_knows_of_it(start, open_sale):
    site = start(tamper=dict.fromkeys(("web", "sweeper"), "early epoch,kill:epoch begun"))
    history = open_sale(site, people=300, quota=200)
    line_redis().flushall()
    history.claim()
    with pytest.raises(Broken, match="audit"):
        history.check()


def test_10_whoever_has_no_receipt_is_told_and_presses_again(start, open_sale):
    site = start()
    history = open_sale(site, people=20, quota=10)
    change_coupon(history.coupon_id, status=PAUSED)
    history.claim(range(15))
    line_redis().flushall()
    forgetful = range(5)
    for index in forgetful:
        del history.receipts[index], history.numbers[index]
    assert site.wait(lambda: set(history.poll(forgetful)) == {"none"}, within_s=5)
    history.poll(range(5, 15))
    history.claim(forgetful)
    assert all(history.numbers[index][0] > EPOCH_STEP for index in forgetful)
    change_coupon(history.coupon_id, status=LIVE)
    history.check()
    assert len(history.rows()) == 10


def test_10_control_an_epoch_that_counts_from_one(start, open_sale):
    site = start(sweeper=False, tamper={"web": "no floor", "worker": "no floor"})
    history = open_sale(site, people=600, quota=400)
    flush(site, history)
    with pytest.raises(Broken):
        history.check(within_s=5)


def test_10_the_gate_alone_is_lost(start, open_sale):
    """Tickets that are still in line keep their numbers, and count as known."""
    site = start()
    history = open_sale(site, people=40, quota=30)
    change_coupon(history.coupon_id, status=PAUSED)
    history.claim(range(20))
    line_redis().delete(Line(line_redis(), history.coupon_id).gate_key)
    history.claim(range(20, 40))
    change_coupon(history.coupon_id, status=LIVE)
    history.check()
