"""Epochs in hard times: a stale replica, a long line wiped, a clock that is moved, a quota raised meanwhile."""

import contextlib
import os
import random
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from sqlalchemy import func, select, update

from deploy.processes import wait_until
from tests.builders import make_coupon, make_users
from tests.conftest import missing
from tests.faults.history import Broken, History
from tests.faults.test_redis_faults import Replica, crash
from tests.sale.test_pauses import asked_at
from webapp.line.line import Line
from webapp.models import LIVE, PAUSED, Coupon, CouponIssue, utcnow
from webapp.sale import audit, claims, epochs, publishing, redeeming
from webapp.sale.coupons import change_coupon
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
HOUR = 3600
AHEAD_S = 600


# 17


def behind_after_revocations(start, open_sale, **options) -> tuple[History, range]:
    """Have 60 people want 30 coupons and 3 codes revoked; the replica that takes over knows all 60 in line."""
    site = start(proxied=True, valkey_options=["--repl-diskless-sync-delay", "0"], **options)
    history = open_sale(site, people=60, quota=30)
    change_coupon(history.coupon_id, status=PAUSED)
    history.claim()
    with Replica(site) as replica:
        assert site.wait(replica.hears, within_s=10)
        replica.hear_no_more()
        change_coupon(history.coupon_id, status=LIVE)
        assert site.wait(lambda: len(history.rows()) == 30, within_s=10)
        for _user, _number, code in history.rows()[:3]:
            redeeming.revoke(code, None, "a mistake")
        assert site.wait(lambda: history.rows()[-1][1] == 33, within_s=10)
        site.fail_over(replica.valkey)
    history.ineligible = {index for index, numbers in history.numbers.items() if numbers[0] <= 3}
    return history, range(4, 34)


def only_write(line: Line, _revision: int, results: dict[str, str], **_: object) -> None:
    """Write results, and leave the tickets of these users where they are."""
    if results:
        line.redis.hset(line.results_key, mapping=results)


def test_17_nobody_revoked_is_issued_again(start, open_sale):
    history, winners = behind_after_revocations(start, open_sale)
    history.check()
    assert [number for _, number, _ in history.rows()] == list(winners)
    change_coupon(history.coupon_id, total_quantity=35)
    history.check()
    assert [number for _, number, _ in history.rows()] == list(range(4, 39)), "standby kept its turn"


def test_17_control_rejections_are_forgotten(start, open_sale, monkeypatch):
    monkeypatch.setattr(Line, "replace_results", only_write)
    wrong = dict.fromkeys(("web", "worker", "sweeper"), "no rejections")
    history, _ = behind_after_revocations(start, open_sale, tamper=wrong)
    change_coupon(history.coupon_id, total_quantity=35)
    with pytest.raises(Broken):
        history.check()


# 19


def wiped_before(start, waiting: int, quota: int, newcomers: int) -> tuple[int, float]:
    """Wipe Redis while so many wait. The pages come back when they were told to, and newcomers click at once.

    No machine of ours carries so many pages, so the verbs are called in this process at the pages' times, by the
    functions that prescribe them, against a real Valkey and a real admission. Return the coupon, and by how much the
    slowest of these calls was late.
    """
    site = start(web_processes=1)
    coupon, users = make_coupon(quota=quota), make_users(waiting + newcomers)
    site.workers[0].signal(signal.SIGSTOP)
    tickets = [claims.claim(coupon, user) for user in users[:waiting]]
    rng = random.Random(waiting)
    pages = sorted((asked_at(ahead, waiting, rng) / 1000, ahead) for ahead in range(waiting))
    line_redis().flushall()
    site.workers[0].signal(signal.SIGCONT)
    epochs.ensure_open(coupon)
    opened, slowest = time.monotonic(), 0.0
    for user in users[waiting:]:
        claims.claim(coupon, user)
    for at, ahead in pages:
        time.sleep(max(0.0, opened + at - time.monotonic()))
        slowest = max(slowest, time.monotonic() - opened - at)
        claims.restore(coupon, users[ahead], number=tickets[ahead].number or 0, epoch=1)
    assert site.wait(lambda: len(winners(coupon)) == quota, within_s=30)
    return coupon, slowest


def winners(coupon: int) -> list[int]:
    mine = CouponIssue.coupon_id == coupon
    with db.engine.connect() as connection:
        if (connection.scalar(select(func.count()).where(mine)) or 0) == 0:
            return []
        return list(connection.scalars(select(CouponIssue.ticket_number).where(mine)))


@pytest.mark.parametrize(("waiting", "quota"), [(12_000, 4000), (50_000, 20_000)])
def test_19_a_wipe_with_thousands_of_open_pages(start, waiting, quota):
    coupon, slowest = wiped_before(start, waiting, quota, newcomers=quota // 4)
    passed_over = set(range(1, quota + 1)) - set(winners(coupon))
    assert not passed_over, f"{len(passed_over)} of the lowest {quota}; this machine was {slowest:.1f} s late"
    assert audit.run(coupon).ok


def test_19_control_the_wait_is_8_s(start, monkeypatch):
    monkeypatch.setattr(claims, "proved_grace_ms", lambda *_, **__: 8000)
    coupon, _ = wiped_before(start, 50_000, 20_000, newcomers=5000)
    assert set(range(1, 20_001)) - set(winners(coupon))


# 20


class Clock:
    """The clock of a site's Redis, which is started again with a clock that can be moved."""

    def __init__(self, site, *, ahead_s: int = 0) -> None:
        if FAKETIME is None:
            missing("libfaketime (Debian: faketime)")
        self.file = site.directory / "clock"
        self.move(ahead_s)
        faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(self.file)}
        faked |= {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        site.valkey.kill()
        site.kills += 1
        site.valkey.start(env=os.environ | faked)
        assert abs(line_redis().time()[0] - time.time() - ahead_s) < 5

    def move(self, seconds: int) -> None:
        self.file.write_text(f"{seconds:+d}s")


def set_right_in_the_wait(start, open_sale, **options) -> History:
    """Start Redis ten minutes fast, and have its clock set right while admission waits for receipts."""
    site = start(**options)
    history = open_sale(site, people=60, quota=40, opens_in=-HOUR)
    history.claim(range(30))
    assert site.wait(lambda: len(history.rows()) == 30, within_s=10)
    clock = Clock(site, ahead_s=AHEAD_S)
    history.claim(range(30, 45))
    assert min(history.numbers[index][0] for index in range(30, 45)) > epochs.EPOCH_STEP
    clock.move(0)
    history.claim(range(45, 60))
    return history


def test_20_ten_minutes_ahead_then_set_right(start, open_sale):
    history = set_right_in_the_wait(start, open_sale)
    history.check()
    assert len(history.rows()) == 40


def test_20_control_a_wait_as_far_away_as_it_says(start, open_sale):
    wrong = dict.fromkeys(("web", "worker", "sweeper"), "clock trusted")
    history = set_right_in_the_wait(start, open_sale, tamper=wrong)
    with pytest.raises(Broken, match="I5"):
        history.check()


def test_20_ten_minutes_back_in_mid_sale(start, open_sale):
    site = start()
    history = open_sale(site, people=400, quota=300, opens_in=-HOUR)
    clock = Clock(site)
    drive = history.drive(spread_s=4)
    assert wait_until(lambda: drive.answered > 150, wait_s=20)
    clock.move(-AHEAD_S)
    drive.end()
    history.check()
    assert len(history.rows()) == 300


def test_20_no_ticket_is_given_outside_of_the_period_by_redis_clock(start, open_sale):
    site = start()
    history = open_sale(site, people=20, quota=20, opens_in=AHEAD_S / 2)
    clock = Clock(site, ahead_s=AHEAD_S)
    history.claim(range(10))
    clock.move(0)
    history.claim(range(10, 20))
    assert len(history.numbers) == 10
    assert history.refused == {"not_open": 10}
    assert site.wait(lambda: len(history.rows()) == 10, within_s=10)
    assert audit.run(history.coupon_id).ok


# 22


def in_standby(history: History) -> int:
    return len(list(Line(line_redis(), history.coupon_id).standby()))


def raised_while_away(start, open_sale, **options) -> History:
    """Have 30 people want 20 coupons, and the quota raised while Redis is down; newcomers come when it is back."""
    site = start(valkey_options=["--appendfsync", "always"], **options)
    history = open_sale(site, people=50, quota=20)
    history.claim(range(30))
    assert site.wait(lambda: in_standby(history) == 10, within_s=10)
    site.valkey.kill()
    site.kills += 1
    with contextlib.suppress(redis.RedisError):
        change_coupon(history.coupon_id, total_quantity=25)
    site.valkey.start()
    history.claim(range(30, 50))
    return history


def test_22_a_quota_raised_while_redis_is_down_serves_standby_first(start, open_sale):
    history = raised_while_away(start, open_sale)
    history.check()
    assert [number for _, number, _ in history.rows()] == list(range(1, 26))


def test_22_control_standby_stays_where_it_is(start, open_sale):
    wrong = dict.fromkeys(("web", "worker", "sweeper"), "standby stays")
    history = raised_while_away(start, open_sale, tamper=wrong)
    with pytest.raises(Broken):
        history.check()


def revoked_8_days_after_the_end(start, open_sale, **options) -> History:
    """After the end Redis is killed, and a code is revoked as soon as it is back; two stand in standby."""
    site = start(valkey_options=["--appendfsync", "always"], **options)
    history = open_sale(site, people=12, quota=10)
    history.claim()
    assert site.wait(lambda: in_standby(history) == 2, within_s=10)
    ended = {"issue_start_at": utcnow() - timedelta(days=9), "issue_end_at": utcnow() - timedelta(days=8)}
    with db.engine.begin() as connection:
        connection.execute(update(Coupon).values(**ended, revision=Coupon.revision + 1))
    publishing.publish(history.coupon_id)
    crash(site)
    _user, _number, code = history.rows()[0]
    assert site.wait(lambda: line_redis().ping(), within_s=10)
    with contextlib.suppress(redis.RedisError):
        redeeming.revoke(code, None, "a mistake")
    history.ineligible = {index for index, numbers in history.numbers.items() if numbers[0] == 1}
    return history


def test_22_a_code_revoked_8_days_after_the_end(start, open_sale):
    """The coupon of the revoked code goes to the first in standby."""
    history = revoked_8_days_after_the_end(start, open_sale)
    history.check()
    assert [number for _, number, _ in history.rows()] == list(range(2, 12))
    assert Line(line_redis(), history.coupon_id).gate().sold_out


def test_22_control_a_sweeper_that_forgets_ended_lines(start, open_sale):
    wrong = dict.fromkeys(("web", "worker", "sweeper"), "forgetful sweeper")
    history = revoked_8_days_after_the_end(start, open_sale, tamper=wrong)
    assert not history.site.wait(lambda: len(history.rows()) == 10, within_s=10)
