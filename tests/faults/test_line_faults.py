"""Who stands at the head of the line, the edges of the period, and operators who change their minds in a burst."""

from datetime import timedelta

import pytest
from sqlalchemy import delete, update

from deploy.processes import wait_until
from tests.builders import make_user
from tests.faults.history import Broken, History
from webapp.line.line import Line
from webapp.models import CLOSED, LIVE, PAUSED, Coupon, CouponIssue, User, utcnow
from webapp.sale.coupons import change_coupon
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

DELETED, BLOCKED, HOLDER = 0, 1, 2


def odd_head(start, open_sale, **options) -> History:
    """Have a deleted user, a blocked one, one who has the coupon and one who never was stand first in line."""
    site = start(**options)
    history = open_sale(site, people=50, quota=20)
    change_coupon(history.coupon_id, status=PAUSED)
    history.claim([DELETED, BLOCKED, HOLDER])
    history.claim(range(3, 50))
    users = history.crowd.user_ids
    line = Line(line_redis(), history.coupon_id)
    line.redis.zadd(line.line_key, {"nobody": 0})
    with db.engine.begin() as connection:
        connection.execute(delete(User).where(User.id == users[DELETED]))
        connection.execute(update(User).where(User.id == users[BLOCKED]).values(blocked_at=utcnow()))
        issue = {"coupon_id": history.coupon_id, "user_id": users[HOLDER], "epoch": 1, "issued_at": utcnow()}
        number = history.numbers[HOLDER][0]
        connection.execute(
            CouponIssue.__table__.insert().values(**issue, code="HELDBEFORE01", ticket_number=number)
        )
        connection.execute(update(Coupon).where(Coupon.id == history.coupon_id).values(issued_quantity=1))
    history.ineligible = {DELETED, BLOCKED}
    change_coupon(history.coupon_id, status=LIVE)
    return history


def edge(start, open_sale, **period) -> History:
    """Claim every 10 ms from a second before an edge of the period to a second after it."""
    site = start()
    history = open_sale(site, people=300, quota=None, **period)
    history.claim(spread_s=3)
    return history


def changed_in_a_burst(start, open_sale, **options) -> History:
    """Pause, resume, raise the quota twice and close, each while claims come in."""
    site = start(**options)
    history = open_sale(site, people=600, quota=40)
    change_coupon(history.coupon_id, status=PAUSED)
    drive = history.drive(range(200), spread_s=1)
    drive.end()
    change_coupon(history.coupon_id, status=LIVE)
    assert site.wait(lambda: len(history.rows()) == 40, within_s=10)
    assert wait_until(
        lambda: line_redis().exists(Line(line_redis(), history.coupon_id).standby_key), wait_s=5
    )
    drive = history.drive(range(200, 600), spread_s=3)
    for quota in (90, 150):
        change_coupon(history.coupon_id, total_quantity=quota)
        assert site.wait(lambda most=quota: len(history.rows()) == most, within_s=10)
        change_coupon(history.coupon_id, status=PAUSED)
        change_coupon(history.coupon_id, status=LIVE)
    change_coupon(history.coupon_id, status=CLOSED)
    drive.end()
    assert history.refused["closed"] + history.refused["sold_out"] > 0
    return history


@pytest.mark.quick
def test_15_who_may_not_stands_at_the_head(start, open_sale):
    history = odd_head(start, open_sale)
    history.check()
    assert [history.shown[index][-1][0] for index in (DELETED, BLOCKED, HOLDER)] == [
        "rejected",
        "rejected",
        "issued",
    ]
    assert {(event.ticket_number, event.reason) for event in history.events("rejected")} == {
        (history.numbers[DELETED][0], "deleted"),
        (history.numbers[BLOCKED][0], "blocked"),
        (0, "not a user"),
    }


def test_15_control_nobody_looks_who_may(start, open_sale):
    history = odd_head(start, open_sale, tamper={"worker": "nobody barred"})
    with pytest.raises(Broken, match="I"):
        history.check()


def test_15_the_start_to_the_millisecond(start, open_sale):
    history = edge(start, open_sale, opens_in=1.5)
    assert 0 < history.refused["not_open"] < 300
    assert len(history.numbers) + history.refused["not_open"] == 300
    history.check()


def test_15_the_end_to_the_millisecond(start, open_sale):
    history = edge(start, open_sale, closes_in=1.5)
    assert 0 < history.refused["closed"] < 300
    assert len(history.numbers) + history.refused["closed"] == 300
    history.check()


def test_15_control_a_clock_of_its_own(start, open_sale, monkeypatch):
    """Whoever lets people in by another clock, here one that is a second ahead, lets them in too early."""
    early = timedelta(seconds=1)
    site = start()
    history = open_sale(site, people=300, quota=None, opens_in=1.5)
    coupon = db.session.get_one(Coupon, history.coupon_id)
    starts = int((coupon.issue_start_at - early).timestamp() * 1000)
    line_redis().hset(
        Line(line_redis(), history.coupon_id).gate_key, mapping={"opens_at": starts, "revision": 999}
    )
    history.claim(spread_s=3)
    with pytest.raises(Broken, match="P8 start"):
        history.check()


@pytest.mark.quick
def test_16_operators_change_their_minds_in_a_burst(start, open_sale):
    history = changed_in_a_burst(start, open_sale)
    history.check()
    assert len(history.rows()) == 150
    waited = {history.numbers[index][0] for index in range(200)}
    assert {number for _, number, _ in history.rows()} <= waited, "standby is served first"


def test_16_control_standby_is_forgotten_when_coupons_come_back(start, open_sale, monkeypatch):
    publish = Line.publish

    def forgetting(self, policy):
        self.redis.delete(self.standby_key)
        return publish(self, policy)

    monkeypatch.setattr(Line, "publish", forgetting)
    history = changed_in_a_burst(start, open_sale, sweeper=False, tamper={"worker": "standby stays"})
    with pytest.raises(Broken, match=r"I[34]|audit"):
        history.check()


def test_16_a_raise_serves_a_newcomer_after_standby(start, open_sale):
    site = start()
    history = open_sale(site, people=4, quota=1)
    change_coupon(history.coupon_id, status=PAUSED)
    history.claim(range(3))
    change_coupon(history.coupon_id, status=LIVE)
    assert site.wait(lambda: history.poll(range(3)).count("sold_out") == 2, within_s=10)
    newcomer = make_user()
    assert newcomer.id not in history.crowd.user_ids
    change_coupon(history.coupon_id, total_quantity=4)
    history.claim([3])
    history.check()
    assert len(history.rows()) == 4
