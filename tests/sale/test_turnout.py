"""The turnout: what web processes count of polls and refused clicks, and what Redis hears of it."""

from collections import Counter

import pytest
import redis

from deploy.processes import wait_until
from tests.builders import failing, make_coupon, make_user, make_users, sign_in
from tests.conftest import on_sqlite
from webapp.line.line import Line
from webapp.line.watching import FRESH_MS, tell_turnout, watch
from webapp.sale import claims, turnout
from webapp.sale.admission import admit
from webapp.sale.turnout import Turnout
from webapp.stores.script_redis import line_redis

pytestmark = on_sqlite
JSON = {"Accept": "application/json"}


@pytest.fixture
def coupon(app) -> int:
    made = make_coupon()
    claims.line_status(made)
    return made


@pytest.fixture
def process(app, monkeypatch) -> Turnout:
    """What one process counts, on a clock of its own, and it tells when the test says so."""
    counted = Turnout(app)
    counted.stopping.set()
    counted.process = "web"
    return counted


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(turnout.time, "monotonic", lambda: now[0])
    return now


def seen(coupon: int) -> tuple[int, int, dict[str, int]]:
    watched = watch(line_redis(), coupon)
    return watched.pages, watched.polls, watched.refused


def told(coupon: int, times: int, refused: dict[str, int], process: str = "web", pages: int = 0) -> bool:
    return tell_turnout(
        line_redis(), coupon, process=process, times=times, pages=pages, polls=pages, refused=refused
    )


def test_a_page_counts_until_it_was_told_to_ask_again(coupon, process, clock):
    for _ in range(30):
        process.polled(coupon, 4000)
    process.tell()
    assert seen(coupon)[:2] == (30, 30)
    clock[0] += 3
    process.tell()
    assert seen(coupon)[:2] == (30, 0)
    clock[0] += 2
    process.tell()
    assert seen(coupon)[0] == 0


def test_as_many_count_as_pages_poll(coupon, process, clock):
    """1,000 pages, each 4 s: 100 polls in each 0.4 s."""
    for _ in range(50):
        for _ in range(100):
            process.polled(coupon, 4000)
        clock[0] += 0.4
    process.tell()
    assert 900 <= seen(coupon)[0] <= 1100


def test_a_page_with_a_ticket_counts_once(coupon, process, clock):
    """Near the front it asks for both, and obeys what it hears of its ticket."""
    process.polled(coupon, 5000)
    process.asked_for_ticket(coupon, 1000, 5000)
    process.tell()
    assert seen(coupon)[0] == 1
    clock[0] += 1.2
    process.tell()
    assert seen(coupon)[0] == 0


def test_behind_a_cache_the_polls_for_tickets_count(coupon, process, clock):
    for _ in range(20):
        process.asked_for_ticket(coupon, 1000, 5000)
    process.tell()
    assert seen(coupon)[0] == 20


def test_all_processes_count_together_and_those_that_are_gone_do_not(coupon):
    for process in ("a", "b"):
        told(coupon, 1, {"sold_out": 2}, process, pages=10)
    assert seen(coupon) == (20, 20, {"sold_out": 4})
    line = Line(line_redis(), coupon)
    seconds, _us = line_redis().time()
    line_redis().hset(line.turnout_key, "b", f"1:{seconds * 1000 - 2 * FRESH_MS}:10:10")
    assert seen(coupon)[0] == 10
    told(coupon, 2, {}, "a", pages=10)
    assert line_redis().hkeys(line.turnout_key) == ["a"]
    assert 0 < line_redis().pttl(line.turnout_key) <= FRESH_MS


def test_a_word_that_is_repeated_adds_no_click_twice(coupon):
    told(coupon, 1, {"sold_out": 3})
    told(coupon, 1, {"sold_out": 3})
    assert seen(coupon)[2] == {"sold_out": 3}
    told(coupon, 2, {"sold_out": 1, "closed": 1})
    assert seen(coupon)[2] == {"sold_out": 4, "closed": 1}


def test_the_control_another_time_adds_them(coupon):
    told(coupon, 1, {"sold_out": 3})
    told(coupon, 2, {"sold_out": 3})
    assert seen(coupon)[2] == {"sold_out": 6}


def test_what_redis_may_have_heard_is_sent_once_more_and_counts_once(coupon, process, monkeypatch):
    process.refused(coupon, "sold_out")
    tell = turnout.tell_turnout

    def lost(*args, **fields):
        tell(*args, **fields)
        raise redis.ConnectionError

    monkeypatch.setattr(turnout, "tell_turnout", lost)
    with pytest.raises(redis.ConnectionError):
        process.tell()
    monkeypatch.setattr(turnout, "tell_turnout", tell)
    process.refused(coupon, "sold_out")
    process.tell()
    process.tell()
    assert seen(coupon)[2] == {"sold_out": 2}


def test_what_redis_did_not_hear_is_told_later(coupon, process, monkeypatch):
    process.refused(coupon, "sold_out")
    tell = turnout.tell_turnout
    monkeypatch.setattr(turnout, "tell_turnout", failing(redis.ConnectionError()))
    with pytest.raises(redis.ConnectionError):
        process.tell()
    monkeypatch.setattr(turnout, "tell_turnout", tell)
    process.refused(coupon, "closed")
    process.tell()
    process.tell()
    assert seen(coupon)[2] == {"sold_out": 1, "closed": 1}


def test_refused_clicks_leave_redis_as_results_do(coupon):
    told(coupon, 1, {"sold_out": 3})
    line = Line(line_redis(), coupon)
    assert line_redis().pexpiretime(line.refused_key) > line_redis().time()[0] * 1000
    line.forget()
    assert line_redis().keys("*coupon*") == []


def test_without_a_gate_nothing_is_written(app):
    assert not told(99, 1, {"sold_out": 3})
    assert line_redis().keys("*") == []


def test_malformed_words_are_passed_over(coupon):
    line = Line(line_redis(), coupon)
    line_redis().hset(line.turnout_key, mapping={"x": "rubbish", "y": "1:2:3", "z": "-1:0:5:5"})
    told(coupon, 1, {}, pages=3)
    assert seen(coupon)[0] == 3
    line_redis().hset(line.refused_key, "sold_out", "many")
    assert watch(line_redis(), coupon) is None


def test_a_process_forgets_what_nobody_polls(coupon, process, clock):
    process.polled(coupon, 1000)
    process.tell()
    clock[0] += 2
    process.tell()
    assert not process.counted


# What requests are counted


@pytest.fixture(params=[True, False], ids=["fast path", "Flask alone"])
def visitor(request, changed):
    client = changed(FAST_PATH=request.param)
    client.application.extensions["turnout"].stopping.set()
    sign_in(client, make_user())
    return client


def counted(client, coupon: int):
    return client.application.extensions["turnout"].counted[coupon]


def claim(client, coupon: int, headers: dict[str, str]):
    token = sign_in(client, make_user())
    return client.post(f"/coupons/{coupon}/claim", headers=headers, data={"csrf_token": token})


def test_each_poll_is_counted_and_asks_nothing_more_of_redis(coupon, visitor):
    claims.claim(coupon, make_user().id)
    before = line_redis().info("commandstats")
    visitor.get(f"/coupons/{coupon}/serving")
    visitor.get(f"/coupons/{coupon}/ticket", headers=JSON)
    after = line_redis().info("commandstats")
    assert counted(visitor, coupon).polls == 2
    writes = ("cmdstat_hset", "cmdstat_pexpire", "cmdstat_hincrby")
    assert [after.get(name) for name in writes] == [before.get(name) for name in writes]


@pytest.mark.parametrize("headers", [JSON, {"Accept": "text/html"}], ids=["JSON", "page"])
def test_each_refused_click_is_counted_once_by_its_reason(app, visitor, headers):
    gone = make_coupon(quota=1)
    for user in make_users(2):
        claims.claim(gone, user)
    admit(gone)
    early, over = make_coupon(opens_in=60), make_coupon(opens_in=-60, closes_in=-1)
    for coupon, why in ((gone, "sold_out"), (early, "not_open"), (over, "closed")):
        for _ in range(3):
            claim(visitor, coupon, headers)
        assert counted(visitor, coupon).refused == Counter({why: 3})


def test_coupons_that_do_not_exist_take_no_memory(app, visitor):
    for coupon in range(1000, 1010):
        claim(visitor, coupon, JSON)
        visitor.get(f"/coupons/{coupon}/serving")
    assert not visitor.application.extensions["turnout"].counted


def test_a_process_tells_by_itself(changed):
    coupon, client = make_coupon(opens_in=600), changed()
    client.get(f"/coupons/{coupon}/serving")
    assert wait_until(lambda: seen(coupon)[0] == 1, wait_s=30)
