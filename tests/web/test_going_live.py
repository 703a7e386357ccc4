"""The page of checks: a draft goes live only there, with every warning confirmed; else it says what is in the way."""

import re
from html import unescape

import pytest
import redis

from tests.builders import at_work, csrf_token, failing, live_form, make_coupon, make_user, sign_in
from tests.conftest import on_sqlite
from webapp.models import OPERATOR, Coupon
from webapp.sale import coupons
from webapp.sale.coupons import change_coupon
from webapp.stores.sql import db
from webapp.web.admin.coupons import SAVED_ONLY

pytestmark = on_sqlite


@pytest.fixture
def operator(client):
    sign_in(client, make_user(role=OPERATOR))
    with at_work():
        yield client


def status(coupon: int) -> str:
    db.session.rollback()
    return db.session.get_one(Coupon, coupon, populate_existing=True).status


def page_of(client, coupon: int, **query) -> str:
    answer = client.get(f"/admin/coupons/{coupon}/check", query_string=query)
    assert answer.status_code == 200
    return answer.text


def send(client, coupon: int, **fields):
    return client.post(f"/admin/coupons/{coupon}/check", data={"csrf_token": csrf_token(client), **fields})


def test_a_draft_goes_live_from_the_page_with_every_warning_confirmed(operator):
    coupon = make_coupon(status="draft", opens_in=3600, closes_in=7200)
    form = live_form(page_of(operator, coupon))
    assert {"validity", "benefit"} <= set(form["confirm"])
    assert send(operator, coupon, **form).location == f"/admin/coupons/{coupon}"
    assert status(coupon) == "live"
    assert "공개했어요" in operator.get(f"/admin/coupons/{coupon}").text
    assert send(operator, coupon, **form).status_code == 303
    assert "이미 공개된" in operator.get(f"/admin/coupons/{coupon}").text


def test_a_warning_that_is_not_confirmed_keeps_the_draft_and_the_ticks(operator):
    coupon = make_coupon(status="draft", opens_in=3600, closes_in=7200)
    form = live_form(page_of(operator, coupon))
    answer = send(operator, coupon, **form | {"confirm": ["validity"]})
    assert answer.status_code == 422
    assert "확인할 것이 남았어요" in answer.text
    assert re.findall(r'value="(\w+)" checked', answer.text) == ["validity"]
    assert status(coupon) == "draft"


@pytest.mark.parametrize("fields", [{"quota": 0}, {"closes_in": -30}], ids=["no quota", "over"])
def test_what_blocks_leaves_no_button_and_a_sent_form_changes_nothing(operator, fields):
    coupon = make_coupon(status="draft", **fields)
    page = page_of(operator, coupon)
    assert "아직 공개할 수 없어요" in page
    assert "공개하기</button>" not in page
    assert 'name="confirm"' not in page
    every = ["period", "quota", "validity", "title", "benefit", "reach", "cost", "capacity"]
    assert send(operator, coupon, **live_form(page) | {"confirm": every}).status_code == 422
    assert status(coupon) == "draft"


def test_the_second_operator_sees_what_the_first_changed(operator):
    coupon = make_coupon(status="draft", opens_in=3600, closes_in=7200, quota=20)
    form = live_form(page_of(operator, coupon))
    change_coupon(coupon, total_quantity=2000)
    answer = send(operator, coupon, **form)
    assert answer.status_code == 409
    assert "다른 운영자가 내용을 바꿨어요" in answer.text
    assert "수량: 20 → <b>2,000</b>" in answer.text
    assert status(coupon) == "draft"
    again = live_form(answer.text)
    assert send(operator, coupon, **again).status_code == 303
    assert status(coupon) == "live"


@pytest.mark.parametrize("seen", [None, "", "[]", "x", '{"title": 5}', "[" * 9000])
def test_a_form_that_does_not_say_what_it_showed_does_not_go_live(operator, seen):
    coupon = make_coupon(status="draft", opens_in=3600, closes_in=7200)
    form = live_form(page_of(operator, coupon)) | ({} if seen is None else {"seen": seen})
    if seen is None:
        del form["seen"]
    assert send(operator, coupon, **form).status_code == 409
    assert status(coupon) == "draft"


@pytest.mark.parametrize("then", ["paused", "closed"])
def test_a_step_of_another_operator_meanwhile_stands(operator, then):
    coupon = make_coupon(status="draft", opens_in=3600, closes_in=7200)
    form = live_form(page_of(operator, coupon))
    change_coupon(coupon, step="publish")
    change_coupon(coupon, status=then)
    assert send(operator, coupon, **form).status_code == 303
    assert status(coupon) == then


def test_when_redis_goes_away_after_the_commit_it_is_live_and_the_page_says_that_the_line_follows(
    operator, app, monkeypatch
):
    coupon = make_coupon(status="draft", opens_in=3600, closes_in=7200)
    form = live_form(page_of(operator, coupon))
    monkeypatch.setattr(coupons, "publish", failing(redis.ConnectionError()))
    assert send(operator, coupon, **form).status_code == 303
    assert status(coupon) == "live"
    with app.test_request_context():
        assert str(SAVED_ONLY) in unescape(operator.get(f"/admin/coupons/{coupon}").text)


def test_no_other_address_of_the_console_publishes_a_draft(operator):
    coupon = make_coupon(status="draft")
    token = csrf_token(operator)
    answer = operator.post(f"/admin/coupons/{coupon}/publish", data={"csrf_token": token})
    assert answer.status_code in (404, 405)
    for step in ("pause", "resume", "close"):
        operator.post(f"/admin/coupons/{coupon}/{step}", data={"csrf_token": token})
    assert status(coupon) == "draft"


def test_the_expected_people_are_asked_for_and_kept(operator):
    coupon = make_coupon(status="draft", opens_in=3600, closes_in=7200)
    page = page_of(operator, coupon, people="5,000,000", seconds="1")
    assert "5,000,000명이 1초 안에 오면 이 설비로는 벅차요" in page
    hidden = dict(re.findall(r'<input type="hidden" name="(people|seconds)" value="(\d*)"', page))
    assert hidden == {"people": "5000000", "seconds": "1"}
    assert "capacity" in live_form(page)["confirm"]


@pytest.mark.parametrize("typed", ["0", "-1", "many", "1e9", "9" * 40, "2000000000"])
def test_expected_people_that_cannot_be_are_blamed(operator, typed):
    page = page_of(operator, make_coupon(status="draft"), people=typed, seconds=typed)
    assert re.findall(r'class="error" id="([a-z]+)-error"', page) == ["people", "seconds"]


def test_a_coupon_that_is_live_shows_its_checks_and_no_button(operator):
    page = page_of(operator, make_coupon())
    assert "공개하기</button>" not in page
    assert "이미 공개된 쿠폰이에요" in page


def test_an_unknown_coupon_is_not_found(operator):
    assert operator.get("/admin/coupons/999999/check").status_code == 404
    assert send(operator, 999999).status_code == 404
