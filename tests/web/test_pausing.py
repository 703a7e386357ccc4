"""Pausing and resuming in the console, and what everybody reads meanwhile, in both languages."""

import json
from datetime import UTC, datetime, timedelta
from html import unescape
from types import SimpleNamespace

import pytest
import redis
from flask_babel import force_locale
from sqlalchemy import update

from tests.builders import csrf_token, failing, make_coupon, make_user, sign_in
from tests.sale.test_pausing import paused_for, row, soon
from webapp.models import OPERATOR, PAUSED, Coupon, utcnow
from webapp.sale import claims, coupons
from webapp.sale.pause_message import PauseMessage
from webapp.sale.pausing import pause, resume
from webapp.stores.sql import db
from webapp.values.moments import SEOUL, write_moment
from webapp.web.admin.coupons import SAVED_ONLY
from webapp.web.pages import tickets
from webapp.web.pause_words import pause_words

KO, EN = {"Accept-Language": "ko"}, {"Accept-Language": "en"}
SAID = {
    KO["Accept-Language"]: "오류를 확인하고 있어요.",
    EN["Accept-Language"]: "We are looking at an error.",
}


@pytest.fixture
def operator(client):
    sign_in(client, make_user(role=OPERATOR))
    return client


def post(client, coupon: int, step: str, **form: str):
    sent = {"csrf_token": csrf_token(client), **form}
    return client.post(f"/admin/coupons/{coupon}/{step}", data=sent, headers=EN)


def page(client, coupon: int, headers=KO) -> str:
    return unescape(client.get(f"/coupons/{coupon}", headers=headers).text)


def serving(client, coupon: int) -> dict:
    tickets._kept_statuses.clear()
    return json.loads(client.get(f"/coupons/{coupon}/serving").data)


@pytest.mark.parametrize("where", ["scheduled", "anonymous", "paused", "waiting"])
@pytest.mark.parametrize("headers", [KO, EN], ids=["ko", "en"])
def test_every_page_says_why_and_until_when(client, where, headers):
    user, until = make_user(), soon()
    coupon = make_coupon(opens_in=600, closes_in=1200) if where == "scheduled" else make_coupon()
    if where != "anonymous":
        sign_in(client, user)
    if where == "waiting":
        claims.claim(coupon, user.id)
    assert SAID[headers["Accept-Language"]] not in page(client, coupon, headers)
    pause(coupon, PauseMessage("error", promised_at=until))
    text = page(client, coupon, headers)
    assert f'data-state="{where}"' in text
    assert SAID[headers["Accept-Language"]] in text
    assert f"{until.astimezone(SEOUL):%H:%M}" in text
    resume(coupon)
    assert SAID[headers["Accept-Language"]] not in page(client, coupon, headers)


def test_the_polls_hear_the_words_in_both_languages_and_nothing_without_a_pause(client):
    coupon = make_coupon()
    assert serving(client, coupon)["pause"] is None
    pause(coupon)
    assert serving(client, coupon)["pause"] == {"ko": "", "en": ""}
    pause(coupon, PauseMessage(ko="<b>점검</b>", promised_at=soon(10)))
    heard = serving(client, coupon)["pause"]
    assert heard["ko"].startswith("<b>점검</b>\n")
    assert "(약 10분 남음)" in heard["ko"]
    assert heard["en"].startswith("<b>점검</b>\nIt is planned to go on at ")
    assert "&lt;b&gt;점검&lt;/b&gt;" in client.get(f"/coupons/{coupon}").text


@pytest.mark.parametrize(
    ("minutes", "korean", "english"),
    [
        (0.5, "(약 1분 남음)", "(in 1 min)"),
        (59, "(약 59분 남음)", "(in 59 min)"),
        (60, "(약 1시간 0분 남음)", "(in 1 h 0 min)"),
        (662, "(약 11시간 2분 남음)", "(in 11 h 2 min)"),
    ],
)
def test_the_time_that_is_left_is_told_in_hours_and_minutes_rounded_up(app, minutes, korean, english):
    now_ms = 1_795_000_000_000
    until = datetime.fromtimestamp(now_ms / 1000, UTC) + timedelta(minutes=minutes)
    line = SimpleNamespace(now_ms=now_ms, pause=PauseMessage(promised_at=until))
    with app.test_request_context():
        assert korean in pause_words(line, "ko")
        assert english in pause_words(line, "en")


def test_a_promise_that_has_passed_is_said_honestly(client):
    coupon = make_coupon()
    pause(coupon, PauseMessage("error", promised_at=soon()))
    with db.engine.begin() as connection:
        passed = {"promised_at": utcnow() - timedelta(minutes=1)}
        connection.execute(update(Coupon).where(Coupon.id == coupon).values(**passed))
    pause(coupon)  # publishes the row
    assert "더 걸리고 있어요" in serving(client, coupon)["pause"]["ko"]
    assert "takes longer than we said" in serving(client, coupon)["pause"]["en"]
    assert "더 걸리고 있어요" in page(client, coupon)


def test_without_javascript_a_paused_page_loads_itself_again(client):
    coupon = make_coupon(status=PAUSED)
    assert '<meta http-equiv="refresh" content="15">' in page(client, coupon)


def test_one_click_pauses_and_says_nothing(operator):
    coupon = make_coupon()
    assert post(operator, coupon, "pause").status_code == 303
    assert (row(coupon).status, row(coupon).pause_template, row(coupon).promised_at) == (PAUSED, "", None)


def test_who_presses_pause_on_a_page_of_before_takes_no_message_away(operator):
    coupon = make_coupon()
    pause(coupon, PauseMessage("error"))
    empty = {"pause_template": "", "pause_ko": "", "pause_en": "", "promised_at": "", "seen_pause": ""}
    assert post(operator, coupon, "pause", **empty).status_code == 303
    assert row(coupon).pause_template == "error"
    post(operator, coupon, "pause", **empty | {"seen_pause": row(coupon).paused_at.isoformat()})
    assert row(coupon).pause_template == ""


def test_a_pause_with_a_message_is_shown_in_the_console_and_can_be_changed(operator):
    coupon, until = make_coupon(), soon(30).replace(second=0)
    form = {"pause_template": "error", "promised_at": write_moment(until)[:16]}
    assert post(operator, coupon, "pause", **form).status_code == 303
    assert (row(coupon).pause_template, row(coupon).promised_at) == ("error", until)
    shown = operator.get(f"/admin/coupons/{coupon}", headers=EN).text
    assert '<option selected value="error">' in shown
    seen = row(coupon).paused_at.isoformat()
    post(operator, coupon, "pause", seen_pause=seen, pause_ko="점검 중이에요")
    found = row(coupon)
    assert (found.pause_ko, found.pause_template, found.promised_at) == ("점검 중이에요", "", None)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"promised_at": "2020-01-01T10:00"}, "Promise a time to come"),
        ({"promised_at": "soon"}, "Give a date and time"),
        ({"pause_ko": "가" * 201}, "200 characters at most"),
        ({"pause_template": "nothing"}, "This message does not exist."),
    ],
)
def test_a_message_that_is_wrong_is_asked_for_again_and_the_sale_is_paused(operator, form, words):
    coupon = make_coupon()
    answer = post(operator, coupon, "pause", **form)
    assert answer.status_code == 422
    assert words in answer.text
    assert "It is paused. The message is not shown yet" in answer.text
    assert (row(coupon).status, row(coupon).pause_ko, row(coupon).promised_at) == (PAUSED, "", None)


def test_a_wrong_message_while_redis_is_away_is_told_with_both(operator, monkeypatch):
    coupon = make_coupon()
    monkeypatch.setattr(coupons, "publish", failing(redis.ConnectionError()))
    answer = post(operator, coupon, "pause", pause_template="nothing")
    assert "This message does not exist." in answer.text
    with force_locale("en"):
        assert str(SAVED_ONLY) in unescape(answer.text)
    assert row(coupon).status == PAUSED


@pytest.mark.parametrize(("headers", "words"), [(KO, SAID["ko"]), (EN, SAID["en"])])
def test_the_log_tells_a_message_in_words(operator, headers, words):
    coupon = make_coupon()
    pause(coupon, PauseMessage("error"))
    assert words in operator.get(f"/admin/coupons/{coupon}/log", headers=headers).text
    assert words in operator.get(f"/admin/coupons/{coupon}/report", headers=headers).text


def test_who_changes_the_message_of_a_pause_that_is_over_does_not_pause_again(operator):
    coupon = make_coupon()
    pause(coupon)
    seen = row(coupon).paused_at.isoformat()
    resume(coupon)
    answer = post(operator, coupon, "pause", seen_pause=seen, pause_template="error")
    assert "Another operator has resumed it" in operator.get(answer.location, headers=EN).text
    assert row(coupon).status == "live"


def test_who_resumes_a_pause_that_another_has_begun_anew_is_told(operator):
    coupon = make_coupon()
    pause(coupon)
    seen = row(coupon).paused_at.isoformat()
    resume(coupon)
    pause(coupon, PauseMessage("payment"))
    answer = post(operator, coupon, "resume", seen_pause=seen)
    assert "paused it anew" in operator.get(answer.location, headers=EN).text
    assert (row(coupon).status, row(coupon).pause_template) == (PAUSED, "payment")


def test_resuming_offers_to_extend_and_says_what_that_does(operator):
    coupon = paused_for(20)
    end = row(coupon).issue_end_at
    shown = operator.get(f"/admin/coupons/{coupon}", headers=EN).text
    assert "Extend the period by the length of the pause" in shown
    assert "People can come for 20 minutes more." in shown
    post(operator, coupon, "resume", extend="y", seen_pause=row(coupon).paused_at.isoformat())
    assert row(coupon).issue_end_at - end >= timedelta(minutes=20)
    assert "Extend the period" not in operator.get(f"/admin/coupons/{coupon}", headers=EN).text


def test_a_pause_of_seconds_is_offered_without_minutes(operator):
    coupon = make_coupon()
    pause(coupon)
    shown = operator.get(f"/admin/coupons/{coupon}", headers=EN).text
    assert "The pause has lasted less than a minute." in shown
    assert "minutes more" not in shown
    assert "1 minute" not in shown
    end = row(coupon).issue_end_at
    post(operator, coupon, "resume", extend="y")
    assert row(coupon).issue_end_at > end


def test_an_extension_that_cannot_be_is_refused_beside_the_box(operator):
    coupon = paused_for(20, valid_until=utcnow() + timedelta(hours=1, minutes=1), closes_in=3600)
    answer = post(operator, coupon, "resume", extend="y")
    assert answer.status_code == 422
    assert "Change until when it is valid first" in answer.text
    assert row(coupon).status == PAUSED
