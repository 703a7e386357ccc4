"""The pages of standby for who comes late: the offer, the place, the words; Flask and the fast path say the same."""

import re

import pytest

from tests.builders import csrf_token, make_coupon, make_user, make_users, sign_in
from tests.cli.test_checks import run  # noqa: F401
from tests.conftest import on_sqlite
from webapp.models import OPERATOR, Coupon
from webapp.sale import admission, claims, receipts
from webapp.stores.sql import db

pytestmark = on_sqlite


def sold_out(limit: int, waited: int = 0) -> int:
    coupon = make_coupon(quota=1, standby_limit=limit)
    for user in make_users(1 + waited):
        claims.claim(coupon, user)
    admission.admit(coupon)
    return coupon


def test_the_page_offers_a_place_and_a_plain_form_takes_it(client):
    coupon = sold_out(limit=5, waited=2)
    sign_in(client, make_user())
    page = client.get(f"/coupons/{coupon}").text
    assert "예비로 기다리기" in page
    assert f'action="/coupons/{coupon}/claim"' in page
    taken = client.post(f"/coupons/{coupon}/claim", data={"csrf_token": csrf_token(client)})
    assert (taken.status_code, taken.location) == (303, f"/coupons/{coupon}")
    page = client.get(f"/coupons/{coupon}").text
    assert re.search(r"<h1[^>]*>예비 3번째예요</h1>", page)
    assert "<title>예비 3번째예요" in page
    assert client.get(f"/coupons/{coupon}/receipt").status_code == 200


def test_whoever_is_not_signed_in_is_led_to_sign_in(client):
    coupon = sold_out(limit=5)
    assert "예비로 기다리기" in client.get(f"/coupons/{coupon}").text
    assert "/login?next=" in client.post(f"/coupons/{coupon}/claim").location


@pytest.mark.parametrize("fast", [True, False])
def test_a_place_has_a_number_and_a_receipt(app, changed, fast):
    client = changed(FAST_PATH=fast)
    coupon, user = sold_out(limit=5, waited=1), make_user()
    headers = {"X-CSRFToken": sign_in(client, user), "Accept": "application/json"}
    answer = client.post(f"/coupons/{coupon}/claim", headers=headers)
    assert answer.status_code == 200
    body = answer.get_json()
    assert (body["state"], body["number"], body["code"]) == ("sold_out", 3, None)
    receipt = receipts.read(app.config["SECRET_KEY"], body["receipt"])
    assert (receipt.coupon_id, receipt.user_id, receipt.number) == (coupon, user.id, 3)
    assert client.get(f"/coupons/{coupon}/ticket").get_json()["receipt"] == body["receipt"]


def test_when_standby_is_full_the_page_says_so_and_a_click_is_refused(client):
    coupon = sold_out(limit=1, waited=1)
    sign_in(client, make_user())
    page = client.get(f"/coupons/{coupon}").text
    assert "예비 자리도 모두 찼어요" in page
    assert "예비로 기다리기" not in page
    refused = client.post(f"/coupons/{coupon}/claim", data={"csrf_token": csrf_token(client)})
    assert "notice=sold_out" in refused.location


def test_a_campaign_without_standby_says_nothing_of_it(client):
    coupon = sold_out(limit=0)
    sign_in(client, make_user())
    assert "예비" not in client.get(f"/coupons/{coupon}").text


def test_the_operator_sets_the_limit_and_sees_who_stands_there(client):
    coupon = sold_out(limit=0, waited=2)
    sign_in(client, make_user(role=OPERATOR))
    page = client.get(f"/admin/coupons/{coupon}").text
    form = dict(
        re.findall(
            r'<input[^>]*name="(title|total_quantity|issue_\w+|discount_amount)"[^>]*value="([^"]*)"', page
        )
    )
    form |= {"csrf_token": csrf_token(client), "total_quantity": "1", "standby_limit": "1,000"}
    assert client.post(f"/admin/coupons/{coupon}", data=form).status_code == 303
    db.session.rollback()
    assert db.session.get_one(Coupon, coupon, populate_existing=True).standby_limit == 1000
    assert re.search(r"예비 대기</dt><dd>2 / 1,000", client.get(f"/admin/coupons/{coupon}").text)
    assert client.post(f"/admin/coupons/{coupon}", data=form | {"standby_limit": "many"}).status_code == 422


def test_the_commands_set_it(run):  # noqa: F811
    period = ("--opens-at", "2030-01-01T10:00", "--closes-at", "2030-01-02")
    coupon = int(run("coupon", "create", "--title", "T", *period, "--standby", 30).stdout)
    assert db.session.get_one(Coupon, coupon).standby_limit == 30
    assert run("coupon", "standby", coupon, 40).exit_code == 0
    assert db.session.get_one(Coupon, coupon, populate_existing=True).standby_limit == 40
    assert "standby        40" in run("coupon", "show", coupon).stdout
    assert run("coupon", "standby", coupon, "many").exit_code == 2
