"""The page of the live board: what it says, to whom, in which words, and what it costs."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, make_url, update

from tests.builders import at_work, make_coupon, make_user, make_users, sign_in
from tests.conftest import on_sqlite
from webapp.accounts.sessions import end_sessions
from webapp.models import DRAFT, OPERATOR, USER, User
from webapp.sale import board, claims
from webapp.sale.admission import admit
from webapp.sale.history import Pace
from webapp.stores.sql import db
from webapp.web.admin.live import chart, lasting, pace

KO, EN = {"Accept-Language": "ko"}, {"Accept-Language": "en"}
BEGAN = datetime(2026, 11, 27, 11, tzinfo=UTC)


@pytest.fixture(autouse=True)
def at_once(monkeypatch) -> None:
    """Have every look read the stores."""
    for name in ("FRESH_S", "HEALTH_S", "SALE_S"):
        monkeypatch.setattr(board, name, 0.0)


@pytest.fixture
def operator(client):
    sign_in(client, make_user(role=OPERATOR))
    return client


def sold(quota: int = 2, came: int = 3, **fields) -> int:
    coupon = make_coupon(quota=quota, **fields)
    for user in make_users(came):
        claims.claim(coupon, user)
    admit(coupon)
    return coupon


def told(page: str) -> dict[str, str]:
    """Return the figures that the page shows, by their names."""
    pairs = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page, re.DOTALL)
    return {name: re.sub(r"<[^>]*>", "", value).strip() for name, value in pairs}


def test_the_board_tells_what_happens(operator):
    coupon = sold(title="금요일 쿠폰")
    with at_work():
        page = operator.get(f"/admin/coupons/{coupon}/live", headers=KO)
    assert page.status_code == 200
    shown = told(page.text)
    assert (shown["대기"], shown["발급"], shown["예비 대기"], shown["나간 순번"]) == ("0", "2 / 2", "1", "3")
    assert "쿠폰이 모두 나갔어요." in page.text
    assert page.text.count("<svg") == 2 + 1  # two charts, and the sign of the shop
    assert page.text.count("정상") == 4


def test_both_languages_are_kept_apart(operator, monkeypatch):
    monkeypatch.setattr(board, "FRESH_S", 1000.0)
    coupon = sold()
    for _ in range(2):
        assert "쿠폰이 모두 나갔어요." in operator.get(f"/admin/coupons/{coupon}/live/now", headers=KO).text
        assert "All coupons are gone." in operator.get(f"/admin/coupons/{coupon}/live/now", headers=EN).text


def test_the_part_that_changes_is_that_of_the_page(operator, monkeypatch):
    monkeypatch.setattr(board, "FRESH_S", 1000.0)
    coupon = sold()
    part = operator.get(f"/admin/coupons/{coupon}/live/now").text
    assert part in operator.get(f"/admin/coupons/{coupon}/live").text
    assert len(re.findall("data-part", part)) == 9
    assert "csrf" not in part
    assert "<form" not in part


def test_the_page_works_without_its_script(operator):
    coupon = sold()
    page = operator.get(f"/admin/coupons/{coupon}/live", headers=EN).text
    assert f'href="/admin/coupons/{coupon}/live">Show the latest numbers' in page
    assert f'href="/admin/coupons/{coupon}#steps"' in page
    assert re.search(r"<table.*<caption>The last minute</caption>", page, re.DOTALL)
    assert "style=" not in page


@pytest.mark.parametrize("address", ["live", "live/now"])
def test_for_others_there_is_no_board(client, operator, address):
    coupon = sold()
    assert operator.get(f"/admin/coupons/999/{address}").status_code == 404
    stranger = client.application.test_client()
    assert stranger.get(f"/admin/coupons/{coupon}/{address}").status_code == 404
    sign_in(stranger, make_user(role=USER))
    assert stranger.get(f"/admin/coupons/{coupon}/{address}").status_code == 404


def test_who_is_no_operator_any_more_reads_nothing(operator):
    coupon = sold()
    address = f"/admin/coupons/{coupon}/live/now"
    assert operator.get(address).status_code == 200
    db.session.execute(update(User).values(role=USER))
    db.session.commit()
    assert operator.get(address).status_code == 403


def test_a_draft_and_a_line_without_an_end_have_a_board(operator):
    draft, unlimited = make_coupon(status=DRAFT), make_coupon(quota=None)
    assert "Draft: nobody sees it yet." in operator.get(f"/admin/coupons/{draft}/live", headers=EN).text
    shown = told(operator.get(f"/admin/coupons/{unlimited}/live", headers=EN).text)
    assert shown["Issued"] == "0 / Unlimited"
    assert shown["Sold out, at this pace"] == "–"


def test_a_title_is_shown_as_it_is_written(operator):
    coupon = make_coupon(title="<b>x</b>")
    assert "<b>x</b>" not in operator.get(f"/admin/coupons/{coupon}/live").text


# A store that is away


def test_with_redis_away_the_figures_are_marked_as_old_and_it_goes_on(redis_proxy, changed):
    coupon = sold()
    client = changed(REDIS_URL=f"redis://127.0.0.1:{redis_proxy.port}")
    sign_in(client, make_user(role=OPERATOR))
    address = f"/admin/coupons/{coupon}/live"
    assert "Old figures" not in client.get(address, headers=EN).text
    redis_proxy.refuse()
    away = client.get(address, headers=EN)
    assert away.status_code == 200
    assert "The lines' Redis does not answer" in away.text
    assert "Old figures, of" in away.text
    assert told(away.text)["Issued"] == "2 / 2"
    redis_proxy.heal()
    assert "Old figures" not in client.get(address, headers=EN).text


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
@pytest.mark.parametrize("address", ["live", "live/now"])
def test_with_sql_away_operators_go_on_reading(sql_proxy, changed, database_url, address):
    """Others do not, and other pages do not either."""
    coupon = sold()
    url = make_url(database_url).set(port=sql_proxy.port).render_as_string(hide_password=False)
    client = changed(SQLALCHEMY_DATABASE_URI=url)
    sign_in(client, make_user(role=OPERATOR).id)
    stranger = client.application.test_client()
    sign_in(stranger, make_user().id)
    path = f"/admin/coupons/{coupon}/{address}"
    assert client.get(path).status_code == 200
    sql_proxy.refuse()
    away = client.get(path, headers=EN)
    assert away.status_code == 200
    assert "The database does not answer." in away.text
    assert told(away.text)["Issued"] == "2 / 2"
    assert stranger.get(path).status_code == 404
    for other in (f"/admin/coupons/{coupon}", "/admin/coupons/new", "/admin/rq/"):
        assert client.get(other).status_code == 503
    sql_proxy.heal()
    assert "The database does not answer." not in client.get(path, headers=EN).text


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_with_sql_away_a_campaign_that_was_never_seen_has_its_figures_all_the_same(
    sql_proxy, changed, database_url
):
    coupon = sold()
    url = make_url(database_url).set(port=sql_proxy.port).render_as_string(hide_password=False)
    client = changed(SQLALCHEMY_DATABASE_URI=url)
    sign_in(client, make_user(role=OPERATOR).id)
    client.get("/")  # this process knows which sessions have ended
    sql_proxy.refuse()
    page = client.get(f"/admin/coupons/{coupon}/live", headers=EN)
    assert (page.status_code, told(page.text)["Issued"]) == (200, "2 / 2")


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_the_control_with_sql_away_an_ended_session_reads_nothing(sql_proxy, changed, database_url):
    coupon, boss = sold(), make_user(role=OPERATOR).id
    url = make_url(database_url).set(port=sql_proxy.port).render_as_string(hide_password=False)
    client = changed(SQLALCHEMY_DATABASE_URI=url)
    sign_in(client, boss)
    assert client.get(f"/admin/coupons/{coupon}/live").status_code == 200
    end_sessions(boss, role=USER)
    client.application.extensions["ended_sessions"].good_until = 0.0
    sql_proxy.refuse()
    assert client.get(f"/admin/coupons/{coupon}/live").status_code == 403


# What it costs


@on_sqlite
def test_ten_operators_cost_the_stores_what_one_does(operator, monkeypatch):
    """But for the one row that says who each of them is."""
    monkeypatch.setattr(board, "FRESH_S", 1000.0)
    coupon = sold()
    operator.get(f"/admin/coupons/{coupon}/live/now")
    asked: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    for _ in range(10):
        operator.get(f"/admin/coupons/{coupon}/live/now")
    assert len(asked) == 10
    assert all("FROM users" in statement for statement in asked)


# The drawing


def test_a_chart_has_a_point_for_each_part_and_a_table():
    found = chart([Pace(BEGAN + timedelta(seconds=n), 2.0 * n, float(n)) for n in range(60)])
    assert (found.width, found.top, len(found.rows)) == (60, "118", 6)
    points = [tuple(map(float, each.split(","))) for each in found.claims.split()]
    assert (points[0], points[-1]) == ((0.5, 100.0), (59.5, 0.0))
    assert (found.rows[0].claims, found.rows[1].claims) == ("9.0", "29")
    assert found.until == BEGAN + timedelta(minutes=1)
    assert chart([]) is None


def test_a_chart_in_which_nothing_happened_is_flat():
    found = chart([Pace(BEGAN + timedelta(seconds=n), 0.0, 0.0) for n in range(60)])
    assert {each.split(",")[1] for each in found.claims.split()} == {"100.0"}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (90_061, "1 d 1 h"),
    ],
)
def test_times_in_words(app, seconds, words):
    with app.test_request_context(headers=EN):
        assert lasting(seconds) == words


@pytest.mark.parametrize(("a_second", "shown"), [(0, "0"), (0.25, "0.2"), (9.96, "10.0"), (1234.5, "1,234")])
def test_paces_in_figures(a_second, shown):
    assert pace(a_second) == shown
