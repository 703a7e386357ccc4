"""Workers that die, are stopped, or run twice."""

import signal

import pytest
from sqlalchemy import text

from tests.faults.history import Broken, History
from webapp.line.line import Line
from webapp.models import LIVE, PAUSED
from webapp.sale.bells import ring
from webapp.sale.coupons import change_coupon
from webapp.stores import sql
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

QUICK = [pytest.param(step, marks=pytest.mark.quick) for step in ("locked", "committed")]
QUOTA = "ALTER TABLE coupons DROP CONSTRAINT ck_coupons_quota"
ONE_EACH = "ALTER TABLE coupon_issues DROP INDEX uq_coupon_issues_coupon_id_user_id"
STEPS = ["taken", "begun", *QUICK, "inserted", "settled", "next batch"]


def waiting(history: History) -> int:
    return line_redis().zcard(Line(line_redis(), history.coupon_id).line_key)


def claim_while_workers_stand_still(history: History) -> None:
    """Have all claims done before the first is admitted: none that comes later can ring again."""
    for worker in history.site.workers:
        worker.signal(signal.SIGSTOP)
    history.claim()
    for worker in history.site.workers:
        worker.signal(signal.SIGCONT)


def wake(site) -> None:
    for part in site.workers:
        part.signal(signal.SIGCONT)


def crowded(start, open_sale, tamper: str, *, without: str | None = None) -> History:
    """Have 1,000 people wait, and let five workers at them with ten jobs at once, maybe without a constraint."""
    site = start(workers=5, tamper={"worker": tamper})
    history = open_sale(site, people=1000, quota=100)
    change_coupon(history.coupon_id, status=PAUSED)
    history.claim()
    if without:
        db.session.execute(text(without))
    for _ in range(10):
        ring(history.coupon_id)
    change_coupon(history.coupon_id, status=LIVE)
    for _ in range(10):
        ring(history.coupon_id)
    return history


@pytest.mark.parametrize("step", STEPS)
def test_04_worker_killed(start, open_sale, step):
    site = start(tamper={"worker": f"kill:{step}"})
    history = open_sale(site, people=150, quota=100)
    claim_while_workers_stand_still(history)
    assert site.wait(lambda: site.deaths == 1, within_s=10), "the worker reached the step and died"
    history.check()


def test_04_control_nobody_rings_again(start, open_sale):
    site = start(sweeper=False, tamper={"worker": "kill:locked,no ring at start"})
    history = open_sale(site, people=150, quota=100)
    claim_while_workers_stand_still(history)
    assert site.wait(lambda: site.deaths == 1, within_s=10)
    with pytest.raises(Broken, match="I5"):
        history.check()


def test_04_control_nobody_looks_who_has_the_coupon(start, open_sale):
    """Rows that were committed and not settled are found under the lock; else they stop the line for good."""
    site = start(tamper={"worker": "kill:committed,no holders"})
    history = open_sale(site, people=150, quota=100)
    claim_while_workers_stand_still(history)
    assert site.wait(lambda: site.deaths == 1, within_s=10)
    with pytest.raises(Broken, match=r"I[56]"):
        history.check()


@pytest.mark.quick
def test_05_terminated_between_taking_and_running(start, open_sale):
    site = start(tamper={"worker": "term:taken"})
    history = open_sale(site, people=50, quota=40)
    claim_while_workers_stand_still(history)
    assert site.wait(lambda: site.deaths == 1, within_s=10)
    history.check(within_s=5)


def test_05_control_nobody_rings_again(start, open_sale):
    site = start(sweeper=False, tamper={"worker": "term:taken,no ring at start"})
    history = open_sale(site, people=50, quota=40)
    claim_while_workers_stand_still(history)
    assert site.wait(lambda: site.deaths == 1, within_s=10)
    with pytest.raises(Broken, match="I5"):
        history.check(within_s=5)


def test_06_stopped_with_the_lock_in_its_hands(start, open_sale):
    site = start(workers=2, tamper={"worker": "stop:locked"})
    history = open_sale(site, people=50, quota=40)
    history.claim()
    history.check_settled(sql.SQL_IDLE_S + 5)
    wake(site)
    history.check()


def test_06_control_a_stopped_session_keeps_its_lock(start, open_sale):
    site = start(workers=2, tamper={"worker": "stop:locked,patient sql"})
    history = open_sale(site, people=50, quota=40)
    history.claim()
    with pytest.raises(Broken, match="I5"):
        history.check_settled(sql.SQL_IDLE_S + 5)
    wake(site)


@pytest.mark.quick
def test_07_five_workers_ten_duplicate_jobs(start, open_sale):
    history = crowded(start, open_sale, "")
    history.check()


def test_07_with_the_lock_and_without_the_constraint(start, open_sale):
    history = crowded(start, open_sale, "small batches", without=QUOTA)
    history.check()


def test_07_control_without_the_lock_and_the_constraint(start, open_sale):
    """Each of the two keeps the quota; only without both it breaks."""
    history = crowded(start, open_sale, "small batches,no lock", without=QUOTA)
    with pytest.raises(Broken, match="I1"):
        history.check()


def test_07_the_head_is_read_before_the_lock(start, open_sale):
    """Whoever has the coupon by then is refused by the constraint, and the batch is decided again."""
    history = crowded(start, open_sale, "small batches,early head")
    history.check()


def test_07_control_the_head_is_read_before_the_lock_without_the_constraint(start, open_sale):
    history = crowded(start, open_sale, "small batches,early head", without=ONE_EACH)
    with pytest.raises(Broken, match="I2"):
        history.check()
