"""The live board: each figure, the drift that is planted, and what it says while a store is away."""

import threading
from datetime import timedelta

import pytest
from flask import current_app
from sqlalchemy import event, insert, make_url

from tests.builders import at_work, make_coupon, make_user, make_users
from tests.conftest import on_sqlite
from webapp.accounts import blocking
from webapp.line.line import Line
from webapp.models import DRAFT, LIVE, PAUSED, LineSample, utcnow
from webapp.sale import admission, board, claims, drift, history, redeeming
from webapp.sale.admission import admit
from webapp.sale.board import Board, board_of
from webapp.sale.coupons import change_coupon
from webapp.sale.history import Sampler
from webapp.sale.outcomes import Refused
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(autouse=True)
def at_once(monkeypatch) -> None:
    """Have every look read the stores."""
    for name in ("FRESH_S", "HEALTH_S", "SALE_S"):
        monkeypatch.setattr(board, name, 0.0)
    monkeypatch.setattr(drift, "REST", 0)
    monkeypatch.setattr(drift, "SETTLED_S", 0.0)
    monkeypatch.setattr(history, "OFTEN", timedelta(0))


def come(coupon: int, count: int = 1) -> list[int]:
    users = make_users(count)
    for user in users:
        claims.claim(coupon, user)
    return users


def seen(coupon: int) -> Board:
    """Return the board of a second look, when what was decided before the first one has to stand in Redis."""
    board_of(coupon)
    return board_of(coupon)


# The figures


def test_the_figures_of_a_sale():
    coupon = make_coupon(quota=5, standby_limit=10)
    come(coupon, 3)
    admit(coupon)
    change_coupon(coupon, status=PAUSED)
    come(coupon, 4)
    figures = seen(coupon).figures
    assert (figures.state, figures.waiting, figures.issued, figures.quota) == ("paused", 4, 3, 5)
    assert (figures.came, figures.left, figures.in_standby, figures.standby_limit) == (7, 2, 0, 10)
    assert 0 <= figures.oldest_s < 60
    change_coupon(coupon, status=LIVE)
    admit(coupon)
    now = seen(coupon)
    assert (now.figures.state, now.figures.issued, now.figures.waiting) == ("sold_out", 5, 0)
    assert (now.figures.in_standby, now.figures.oldest_s, now.drift) == (2, None, 0)
    assert now.figures.sold_out_at is not None
    assert now.away == frozenset()


def test_the_oldest_wait_is_that_of_the_first_in_line():
    coupon = make_coupon()
    come(coupon, 2)
    line = Line(line_redis(), coupon)
    (bucket, *_rest) = line_redis().zrange(line.arrivals_key, 0, 0)
    line_redis().zrem(line.arrivals_key, bucket)
    line_redis().zadd(line.arrivals_key, {str(int(bucket) - 900): 1})
    assert 90 <= seen(coupon).figures.oldest_s < 150


def test_the_pace_and_the_end_that_follows_from_it():
    coupon = make_coupon(quota=1000)
    come(coupon, 30)
    admit(coupon)
    now = board_of(coupon).figures.at
    with db.engine.begin() as connection:  # as the sweeper would have seen it: 5 a second, in 6 s
        for second in range(7):
            sample = {"epoch": 1, "last_number": 5 * second, "came": 5 * second, "issued": 5 * second}
            rest = dict.fromkeys(("waiting", "in_standby", "refused", "pages"), 0)
            moment = now - timedelta(seconds=6 - second)
            row = {"coupon_id": coupon, "number": second + 1, "at": moment}
            connection.execute(insert(LineSample).values(row | sample | rest))
    current_board().clear()
    found = board_of(coupon)
    assert 3 < found.claims <= 5.5
    assert 3 < found.issued <= 5.5
    assert found.sells_out_s == pytest.approx(970 / (30 / 30), rel=0.1)  # by the pace of the last 30 s
    assert len(found.minute) == 60
    assert sum(each.claims for each in found.minute) == pytest.approx(30, abs=3)
    assert found.whole


def test_nobody_has_come_yet():
    coupon = make_coupon(quota=None, opens_in=600)
    claims.line_status(coupon)
    found = seen(coupon)
    assert (found.figures.state, found.figures.came, found.figures.quota) == ("scheduled", 0, None)
    assert (found.whole, found.sells_out_s, found.drift) == ([], None, 0)


def test_a_line_that_is_not_open():
    for coupon, state in ((make_coupon(status=DRAFT), "draft"), (make_coupon(), "open")):
        Line(line_redis(), coupon).forget()
        found = board_of(coupon)
        assert (found.figures.state, found.figures.waiting, found.drift) == (state, 0, None)
        assert abs(found.figures.at - utcnow()) < timedelta(minutes=1)


def test_a_coupon_that_does_not_exist():
    with pytest.raises(Refused, match="not_found"):
        board_of(999)
    assert 999 not in current_board()


def test_why_numbers_got_no_coupon():
    coupon = make_coupon(quota=5)
    users = come(coupon, 4)
    for user in users[:2]:
        blocking.block(user, by=None)
    admit(coupon)
    code = claims.standing(coupon, users[2]).code
    redeeming.revoke(code, make_user().id, "a mistake")
    found = seen(coupon)
    assert found.rejected == {"blocked": 2, "revoked": 1}
    assert found.drift == 0


def test_the_parts():
    coupon = make_coupon()
    assert [each.level for each in board_of(coupon).health] == ["blocking", "ok", "ok", "ok"]
    with at_work():
        assert {each.level for each in board_of(coupon).health} == {"ok"}


def current_board() -> dict[int, object]:
    return current_app.extensions["boards"]


# The drift


@pytest.fixture
def settled(app) -> int:
    coupon = make_coupon(quota=5)
    come(coupon, 4)
    admit(coupon)
    assert seen(coupon).drift == 0
    return coupon


def test_a_row_without_a_result_is_drift(settled):
    line = Line(line_redis(), settled)
    line_redis().hdel(line.results_key, line_redis().hkeys(line.results_key)[0])
    assert seen(settled).drift == 1


def test_results_without_a_row_are_drift(settled):
    line = Line(line_redis(), settled)
    line_redis().hset(line.results_key, mapping={"900": "issued:900:X", "901": "issued:901:Y"})
    assert seen(settled).drift == 2


def test_rows_that_redis_has_not_heard_of_are_drift_only_once_they_are_old(settled, monkeypatch):
    """What was committed just now may be on its way; the control above is told at once that it is old."""
    monkeypatch.setattr(drift, "SETTLED_S", 1000.0)
    current_board().clear()
    line = Line(line_redis(), settled)
    line_redis().hdel(line.results_key, line_redis().hkeys(line.results_key)[0])
    assert seen(settled).drift is None


def test_a_batch_on_its_way_is_no_drift_until_it_is_old(settled, monkeypatch):
    monkeypatch.setattr(Line, "settle", lambda *_: 0)
    come(settled)
    admission._try_batch(settled, Line(line_redis(), settled), trusting=True)
    monkeypatch.setattr(drift, "SETTLED_S", 1000.0)
    assert board_of(settled).drift == 0
    monkeypatch.setattr(drift, "SETTLED_S", 0.0)
    assert seen(settled).drift == 1


# One reading for all


@on_sqlite
def test_all_who_ask_within_a_second_share_one_reading(app, monkeypatch):
    monkeypatch.setattr(board, "FRESH_S", 1000.0)
    coupon = make_coupon()
    come(coupon)
    first = board_of(coupon)
    asked: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    calls = line_redis().info("stats")["total_commands_processed"]
    assert all(board_of(coupon) is first for _ in range(10))
    assert line_redis().info("stats")["total_commands_processed"] == calls + 1  # that INFO itself
    assert asked == []


@on_sqlite
def test_the_control_without_it_each_asks_the_stores(app):
    coupon = make_coupon()
    come(coupon)
    assert board_of(coupon) is not board_of(coupon)


@on_sqlite
def test_while_one_reads_the_others_take_the_last_one(app, monkeypatch):
    coupon = make_coupon()
    come(coupon)
    last, reading, read_on = board_of(coupon), threading.Event(), threading.Event()
    watch = board.watch

    def slow(*args):
        reading.set()
        read_on.wait(30)
        return watch(*args)

    monkeypatch.setattr(board, "watch", slow)
    flask = app

    def read() -> None:
        with flask.app_context():
            board_of(coupon)

    reader = threading.Thread(target=read)
    reader.start()
    assert reading.wait(30)
    assert board_of(coupon) is last
    read_on.set()
    reader.join()
    assert board_of(coupon) is not last


# A store that is away


def test_while_redis_is_away_the_last_figures_stand_and_are_marked(redis_proxy, changed):
    coupon = make_coupon(quota=5)
    come(coupon, 3)
    client = changed(REDIS_URL=f"redis://127.0.0.1:{redis_proxy.port}")
    with client.application.app_context():
        known = board_of(coupon)
        redis_proxy.refuse()
        found = board_of(coupon)
        assert (found.away, found.is_old) == ({"redis"}, True)
        assert found.figures == known.figures
        assert found.drift is None
        assert [each.level for each in found.health] == ["blocking", "blocking", "blocking", "ok"]
        redis_proxy.heal()
        come_back = board_of(coupon)
        assert (come_back.away, come_back.is_old) == (frozenset(), False)
        assert come_back.figures.at > known.figures.at


def test_a_process_that_never_saw_the_line_shows_what_sql_knows(redis_proxy, changed):
    coupon = make_coupon(quota=5)
    come(coupon, 3)
    Sampler().look()
    redis_proxy.refuse()
    client = changed(REDIS_URL=f"redis://127.0.0.1:{redis_proxy.port}")
    with client.application.app_context():
        found = board_of(coupon)
    assert found.is_old
    assert (found.figures.waiting, found.figures.came, found.figures.quota) == (3, 3, 5)
    assert (found.figures.oldest_s, found.figures.pages) == (None, None)


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_while_sql_is_away_the_line_goes_on(sql_proxy, changed, database_url):
    coupon = make_coupon(quota=5, title="Friday")
    come(coupon, 3)
    url = make_url(database_url).set(port=sql_proxy.port).render_as_string(hide_password=False)
    client = changed(SQLALCHEMY_DATABASE_URI=url)
    with client.application.app_context():
        board_of(coupon)
        sql_proxy.refuse()
        claims.claim(coupon, 424242)
        found = board_of(coupon)
        assert (found.away, found.is_old) == ({"sql"}, False)
        assert (found.figures.waiting, found.coupon.title, found.drift) == (4, "Friday", None)
        assert [each.level for each in found.health][-1] == "blocking"
        sql_proxy.heal()
        assert board_of(coupon).away == frozenset()


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_with_both_away_and_nothing_known_it_says_so(sql_proxy, redis_proxy, changed, database_url):
    coupon = make_coupon()
    url = make_url(database_url).set(port=sql_proxy.port).render_as_string(hide_password=False)
    sql_proxy.refuse(), redis_proxy.refuse()
    client = changed(SQLALCHEMY_DATABASE_URI=url, REDIS_URL=f"redis://127.0.0.1:{redis_proxy.port}")
    with client.application.app_context():
        found = board_of(coupon)
        assert (found.coupon, found.figures, found.away) == (None, None, {"redis", "sql"})
        sql_proxy.heal(), redis_proxy.heal()
        assert board_of(coupon).figures.state == "open"


def test_malformed_data_of_a_line_are_no_error():
    coupon = make_coupon()
    come(coupon)
    line_redis().hset(Line(line_redis(), coupon).gate_key, "last", "many")
    assert board_of(coupon).figures.waiting == 0
    line_redis().delete(Line(line_redis(), coupon).gate_key)
    line_redis().set(Line(line_redis(), coupon).results_key, "rubbish")
    assert board_of(coupon).away == frozenset()
