"""Before a decision the operator reads what it will do to how many people, and afterwards that is what it has done."""

from datetime import timedelta

import pytest

from tests.builders import make_coupon, make_user, make_users, sign_in
from tests.web.test_admin import edit_form, post, row
from webapp.line.line import Line
from webapp.models import OPERATOR, utcnow
from webapp.sale import claims
from webapp.sale.admission import admit
from webapp.sale.consequences import of_close, of_end, of_quota
from webapp.sale.coupons import change_coupon, coupon_by_id
from webapp.stores.script_redis import line_redis

EN = {"Accept-Language": "en"}


def line(coupon: int):
    return Line(line_redis(), coupon).gate()


def sale(*, quota: int, admitted: int, waiting: int = 0, standby: int = 0) -> tuple[int, list[int]]:
    """Make a line in which so many were admitted, wait and stand in standby; return the coupon and its people."""
    coupon = make_coupon(quota=quota)
    users = make_users(admitted + waiting + standby)
    for user in users[: admitted + standby]:
        claims.claim(coupon, user)
    admit(coupon)
    for user in users[admitted + standby :]:
        claims.claim(coupon, user)
    return coupon, users


def told(coupon: int, quota: int | None) -> dict[str, int]:
    return dict(of_quota(coupon_by_id(coupon), line(coupon), quota))


def holders(coupon: int, users: list[int]) -> int:
    admit(coupon)
    return sum(claims.standing(coupon, user).state == "issued" for user in users)


@pytest.mark.usefixtures("app")
class TestQuota:
    @pytest.mark.parametrize(
        ("quota", "said", "holds"),
        [
            (3, {}, 3),
            (4, {"standby served": 1, "standby stays": 3}, 4),
            (7, {"standby served": 4}, 7),
            (9, {"standby served": 4, "open again": 2}, 7),
            (None, {"standby served": 4, "open again": 0}, 7),
        ],
    )
    def test_more_serves_standby_first(self, quota, said, holds):
        coupon, users = sale(quota=3, admitted=3, standby=4)
        if quota != 3:
            assert told(coupon, quota) == said
        change_coupon(coupon, total_quantity=quota)
        assert holders(coupon, users) == holds

    @pytest.mark.parametrize(
        ("quota", "said", "holds"),
        [
            (8, {}, 8),
            (6, {"waiting lose": 2}, 6),
            (2, {"waiting lose": 6, "sold out": 0}, 2),
            (12, {"waiting gain": 2}, 10),
            (9, {"waiting gain": 1}, 9),
        ],
    )
    def test_it_counts_those_who_wait(self, quota, said, holds):
        coupon, users = sale(quota=2, admitted=2)
        change_coupon(coupon, total_quantity=8)
        more = make_users(8)
        for user in more:
            claims.claim(coupon, user)
        if quota != 8:
            assert told(coupon, quota) == said
        change_coupon(coupon, total_quantity=quota)
        assert holders(coupon, [*users, *more]) == holds

    def test_what_touches_nobody_says_nothing(self):
        coupon = make_coupon(quota=5)
        claims.claim(coupon, make_users(1)[0])
        admit(coupon)
        assert told(coupon, 7) == {}
        assert told(coupon, 0) == {}
        assert of_quota(coupon_by_id(coupon), None, 1) == []
        draft = make_coupon(quota=5, status="draft")
        assert of_quota(coupon_by_id(draft), line(coupon), 1) == []


@pytest.mark.usefixtures("app")
def test_another_end_says_for_how_long():
    coupon = make_coupon(opens_in=-60, closes_in=600)
    found, now = coupon_by_id(coupon), utcnow()
    end = found.issue_end_at

    def said(then):
        return dict(of_end(found, None, then, now))

    assert said(end) == {}
    assert said(end + timedelta(minutes=10)) == {"longer": 10}
    assert said(end - timedelta(minutes=5)) == {"shorter": 5}
    assert said(now - timedelta(seconds=1)) == {"ends now": 0}
    over = coupon_by_id(make_coupon(opens_in=-600, closes_in=-60))
    assert dict(of_end(over, None, now + timedelta(minutes=3), now)) == {"comes again": 3}
    coming = coupon_by_id(make_coupon(opens_in=600, closes_in=900))
    assert of_end(coming, None, now + timedelta(hours=3), now) == []


@pytest.mark.usefixtures("app")
def test_closing_says_who_is_still_served():
    coupon, _users = sale(quota=1, admitted=1, standby=2)
    assert dict(of_close(line(coupon))) == {"nobody new": 0, "standby stays": 2}
    assert dict(of_close(None)) == {"nobody new": 0}


@pytest.fixture
def operator(client):
    sign_in(client, make_user(role=OPERATOR))
    client.environ_base["HTTP_ACCEPT_LANGUAGE"] = "en"
    return client


@pytest.mark.parametrize("form", ["quota", "edit"])
def test_the_page_says_it_before_the_button_and_changes_nothing_yet(operator, form):
    coupon, users = sale(quota=3, admitted=3, standby=4)
    path = f"/admin/coupons/{coupon}" + ("/quota" if form == "quota" else "")
    fields = {} if form == "quota" else edit_form(operator, coupon)
    asked = post(operator, path, **fields | {"total_quantity": "5"})
    assert asked.status_code == 200
    assert "2 in standby get a coupon now." in asked.text
    assert "2 stay in standby." in asked.text
    assert row(coupon).total_quantity == 3
    sure = fields | {"total_quantity": "5", "confirmed": "total_quantity=5"}
    assert post(operator, path, **sure).status_code == 303
    assert (row(coupon).total_quantity, holders(coupon, users)) == (5, 5)


def test_what_was_confirmed_is_that_change_and_no_other(operator):
    coupon, _users = sale(quota=3, admitted=3, standby=4)
    path = f"/admin/coupons/{coupon}/quota"
    answer = post(operator, path, total_quantity="6", confirmed="total_quantity=5")
    assert answer.status_code == 200
    assert "3 in standby get a coupon now." in answer.text
    assert row(coupon).total_quantity == 3


def test_the_page_brings_along_all_that_was_typed(operator):
    coupon, _users = sale(quota=3, admitted=3, standby=1)
    fields = edit_form(operator, coupon) | {"title": 'A "new" <title>', "total_quantity": "4"}
    page = post(operator, f"/admin/coupons/{coupon}", **fields).text
    assert 'name="title" value="A &#34;new&#34; &lt;title&gt;"' in page
    assert page.partition("<h1>")[2].count('name="csrf_token"') == 1
    assert 'name="confirmed" value="total_quantity=4"' in page


def test_a_longer_period_is_asked_about_too(operator):
    coupon = make_coupon(opens_in=-60, closes_in=600)
    fields = edit_form(operator, coupon) | {"issue_end_at": "2035-01-01T09:00"}
    page = post(operator, f"/admin/coupons/{coupon}", **fields)
    assert "minutes more." in page.text
    (mark,) = [part.partition('"')[0] for part in page.text.split('name="confirmed" value="')[1:]]
    assert post(operator, f"/admin/coupons/{coupon}", **fields | {"confirmed": mark}).status_code == 303


def test_a_change_that_touches_nobody_is_not_asked_about(operator):
    coupon = make_coupon(quota=5)
    assert post(operator, f"/admin/coupons/{coupon}/quota", total_quantity="7").status_code == 303


def test_closing_asks_with_the_numbers(operator):
    coupon, _users = sale(quota=1, admitted=1, standby=2)
    page = operator.get(f"/admin/coupons/{coupon}/close").text
    assert "Nobody gets a place any more." in page
    assert "2 stay in standby." in page
