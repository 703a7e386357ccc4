"""Every form sent twice: what it makes is made once, and the second click is led to it."""

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from html import unescape
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import func, select

from tests.builders import csrf_token, failing, make_coupon, make_user, session_cookie, sign_in
from tests.sale.test_concurrency import at_once
from tests.visits import PROGRAM, page_token
from tests.web.test_admin import FORM, facts, only_coupon, row
from webapp.models import OPERATOR, Coupon, CouponIssue, Submission, User
from webapp.sale import admission, claims
from webapp.sale import coupons as sale_coupons
from webapp.sale.submissions import Sent
from webapp.stores.sql import db
from webapp.web.pages import accounts

NEW = "/admin/coupons/new"
CLICKS = 4
REGISTRATION = {"email": "minji@example.com", "name": "민지", "password": "correct horse battery"}

ONCE = {
    "tickets.claim": "one script: the same ticket",
    "receipts.verify": "changes nothing",
    "accounts.register": "one account; the second click is signed in to it",
    "accounts.login": "a session each time",
    "accounts.logout": "nobody is signed in",
    "admin.new": "one draft; the second click is led to it, and other contents ask",
    "admin.show": "the same fields; what stands already is no change",
    "admin.content": "the same texts",
    "admin.picture": "the same picture, by its hash",
    "admin.duplicate": "one draft; the second click is led to it",
    "admin.waves": "the same waves",
    "admin.put_aside": "archived once, or back once",
    "admin.quota": "the same quota",
    "admin.set_audience": "the same audience is no change",
    "admin.upload_people": "a file that counts for nothing until it is counted",
    "admin.count_people": "a file counts once",
    "admin.withdraw_people": "a file is withdrawn once",
    "admin.upload_codes": "a file that counts for nothing until it is counted",
    "admin.count_codes": "a file counts once",
    "admin.withdraw_codes": "a file is withdrawn once",
    "admin.add_person": "the person is on the list already",
    "admin.remove_person": "the person is on it no more",
    "admin.check_and_go_live": "the second click finds it live",
    "admin.rehearse": "one rehearsal; the second click is led to it",
    "admin.count_report": "asked for already",
    "admin.stop_rehearsal": "the same mark",
    "admin.take": "the same status",
    "admin.pause": "the same status and message",
    "admin.resume": "the same status; a pause extends once",
    "admin.use": "one UPDATE of a code that is unused",
    "admin.undo_use": "one UPDATE that names the use",
    "admin.revoke": "the row has moved; Redis is told again",
    "admin.revoke_list": "the second click finds the codes revoked",
    "admin.add_role": "the same role is no change",
    "admin.change_role": "the same role is no change, and another that was seen is refused",
    "admin.invite": "one invitation; the second click shows the same link",
    "admin.withdraw_invitation": "withdrawn once",
    "joining.take_invitation": "who has taken it has the role, and is led on",
    "admin.decide_proposal": "a proposal is decided once; the second click is told so",
    "admin.block_person": "blocked once, at the time of the first click, or let in again",
}
"""Every address that takes a POST, and why twice is once. The queue's dashboard looks after its own."""


def coupons() -> int:
    db.session.rollback()
    return db.session.scalar(select(func.count(Coupon.id)))


def hidden(page: str, name: str = "once") -> str:
    return unescape(re.search(rf'name="{name}"[^>]* value="([^"]*)"', page)[1])


@pytest.fixture
def operator(client):
    sign_in(client, make_user(role=OPERATOR))
    return client


def opened_form(client, path: str = NEW) -> dict[str, str]:
    page = client.get(path).text
    return FORM | {"once": hidden(page), "csrf_token": csrf_token(client)}


def clicks(app, form: dict[str, str]) -> list[Any]:
    """Click CLICKS times at once, as the same operator does on a slow link."""
    user = make_user(role=OPERATOR)
    clients = [app.test_client() for _ in range(CLICKS)]
    calls = []
    for client in clients:
        data = form | {"csrf_token": sign_in(client, user)}
        calls.append(lambda client=client, data=data: client.post(NEW, data=data))
    return at_once(app, calls)


def registrations(app, form: dict[str, str], headers: dict[str, str]) -> list[Any]:
    calls = []
    for client in [app.test_client() for _ in range(2)]:
        data = form | {"csrf_token": page_token(client, "/register")}
        calls.append(lambda client=client, data=data: client.post("/register", data=data, headers=headers))
    return at_once(app, calls)


def test_it_is_known_of_every_post_what_it_does_twice(app):
    posts = {rule.endpoint for rule in app.url_map.iter_rules() if "POST" in rule.methods}
    assert {endpoint for endpoint in posts if not endpoint.startswith("rq_dashboard.")} == set(ONCE)


# A new coupon


def test_the_same_form_twice_makes_one_coupon_and_leads_to_it(operator):
    form = opened_form(operator)
    first, second = (operator.post(NEW, data=form) for _ in range(2))
    assert (first.status_code, second.status_code) == (303, 303)
    assert first.location == second.location == f"/admin/coupons/{only_coupon().id}"


def test_clicks_at_one_instant_make_one_coupon(app, operator):
    answers = clicks(app, opened_form(operator))
    assert {answer.status_code for answer in answers} == {303}
    assert {answer.location for answer in answers} == {f"/admin/coupons/{only_coupon().id}"}


def test_control_without_the_record_each_click_makes_one(app, operator, monkeypatch):
    monkeypatch.setattr(sale_coupons, "record_sent", lambda *_: None)
    clicks(app, opened_form(operator))
    assert coupons() == CLICKS


@pytest.mark.parametrize(
    "token", [None, "", "x", "0" * 31, "G" * 32, "0" * 33, "' OR 1=1", "\0" * 32, "가" * 32]
)
def test_without_a_token_of_ours_the_contents_tell(app, operator, token):
    form = opened_form(operator) | {"once": token}
    form = {name: text for name, text in form.items() if text is not None}
    answers = clicks(app, form)
    assert {answer.location for answer in answers} == {f"/admin/coupons/{only_coupon().id}"}
    assert operator.post(NEW, data=form | {"title": "Another"}).status_code == 303
    assert coupons() == 2


@pytest.mark.parametrize(
    "change",
    [
        {"title": "다른 쿠폰"},
        {"total_quantity": "2,000"},
        {"total_quantity": "", "unlimited": "y"},
        {"discount_amount": "6000"},
        {"issue_start_at": "2030-01-01T10:01"},
        {"valid_until": "2031-01-01T00:00"},
    ],
)
def test_a_form_that_was_changed_after_it_had_made_one_asks_and_then_makes_another(operator, change):
    form = opened_form(operator)
    first = operator.post(NEW, data=form)
    asked = operator.post(NEW, data=form | change)
    assert (asked.status_code, coupons()) == (409, 1)
    assert f'href="{first.location}"' in asked.text
    again = form | change | {"once": hidden(asked.text)}
    second, third = (operator.post(NEW, data=again) for _ in range(2))
    assert second.location == third.location != first.location
    assert coupons() == 2


@pytest.mark.parametrize(
    "change", [{"title": " 가을  쿠폰\u200b"}, {"total_quantity": "1000"}, {"min_available_amount": "0"}]
)
def test_the_same_contents_in_another_spelling_are_the_same(operator, change):
    form = opened_form(operator)
    assert operator.post(NEW, data=form).location == operator.post(NEW, data=form | change).location
    assert coupons() == 1


def test_a_form_that_was_refused_is_not_used_up(operator):
    form = opened_form(operator)
    refused = operator.post(NEW, data=form | {"title": ""})
    assert hidden(refused.text) == form["once"]
    assert operator.post(NEW, data=form).status_code == 303


def test_a_second_page_makes_a_second_coupon_of_the_same_contents(operator):
    locations = {operator.post(NEW, data=opened_form(operator)).location for _ in range(2)}
    assert len(locations) == coupons() == 2


def test_the_coupon_and_its_record_are_one_transaction(operator, monkeypatch):
    form = opened_form(operator)
    with monkeypatch.context() as patched:
        patched.setattr(sale_coupons, "record_sent", failing(RuntimeError("in between")))
        with pytest.raises(RuntimeError):
            operator.post(NEW, data=form)
    assert coupons() == 0
    assert operator.post(NEW, data=form).status_code == 303


def test_two_clicks_over_http_reach_whichever_process_and_make_one(installation):
    with installation.app.app_context():
        cookie, token = session_cookie(installation.app, make_user(role=OPERATOR))
        before = coupons()

        def ask(method: str, body: str | None = None) -> tuple[int, str | None, str]:
            headers = {"Cookie": f"session={cookie}", "Content-Type": "application/x-www-form-urlencoded"}
            with closing(HTTPConnection("127.0.0.1", installation.port, timeout=20)) as connection:
                connection.request(method, NEW, body, headers)
                answer = connection.getresponse()
                return answer.status, answer.getheader("Location"), answer.read().decode()

        form = FORM | {"once": hidden(ask("GET")[2]), "csrf_token": token}
        with ThreadPoolExecutor(CLICKS) as pool:
            answers = set(pool.map(lambda _: ask("POST", urlencode(form))[:2], range(CLICKS)))
        assert len(answers) == 1
        assert answers.pop()[0] == 303
        assert coupons() == before + 1
        db.session.remove()


# What decides something


@pytest.mark.parametrize(
    ("status", "step"),
    [("live", "pause"), ("paused", "resume"), ("live", "close"), ("closed", "resume")],
)
def test_a_step_taken_twice_is_saved_twice_and_complains_of_nothing(operator, status, step):
    coupon = make_coupon(status=status)
    operator.get("/language/en")
    data = {"csrf_token": csrf_token(operator)}
    states = []
    for _ in range(2):
        page = operator.post(f"/admin/coupons/{coupon}/{step}", data=data, follow_redirects=True).text
        assert re.findall(r'class="notice"[^>]*>([^<]+)<', page) == ["Saved."]
        states.append(row(coupon).status)
    assert states[0] == states[1] != status


def test_quota_and_edit_twice_are_the_same(operator):
    coupon = make_coupon(quota=5, opens_in=3000)
    token = csrf_token(operator)
    sent = [
        (f"/admin/coupons/{coupon}/quota", {"total_quantity": "9"}),
        (f"/admin/coupons/{coupon}", FORM),
    ]
    for path, form in sent:
        page = operator.get(f"/admin/coupons/{coupon}").text
        shown = {"shown": hidden(page.split('id="edit"')[1], "shown")} if form is FORM else {}
        found = []
        for _ in range(2):
            assert operator.post(path, data=form | shown | {"csrf_token": token}).status_code == 303
            found.append(facts(coupon))
        assert found[0] == found[1]


def test_a_code_is_taken_back_once(operator):
    coupon, holder = make_coupon(quota=1), make_user()
    claims.claim(coupon, holder.id)
    admission.admit(coupon)
    code = db.session.scalar(select(CouponIssue.code))
    form = {"csrf_token": csrf_token(operator), "code": code, "reason": "잘못\u200b 발급\n했어요"}
    answers = [operator.post("/admin/revoke", data=form) for _ in range(2)]
    assert answers[0].location == answers[1].location
    assert (row(coupon).issued_quantity, claims.standing(coupon, holder.id).reason) == (
        0,
        "revoked: 잘못 발급 했어요",
    )


# Registering


def test_registering_twice_makes_one_account_and_signs_both_clicks_in(app, client):
    form = REGISTRATION | {"once": hidden(client.get("/register").text)}
    answers = registrations(app, form, {})
    assert [(answer.status_code, answer.location) for answer in answers] == [(303, "/")] * 2
    assert db.session.scalar(select(func.count(User.id))) == 1
    ids = {answer.get_json()["id"] for answer in registrations(app, form, {"Accept": PROGRAM})}
    assert ids == {db.session.scalar(select(User.id))}


def test_control_without_the_record_the_second_click_is_told_that_the_address_is_taken(
    app, client, monkeypatch
):
    monkeypatch.setattr(accounts, "record", lambda *_: None)
    form = REGISTRATION | {"once": hidden(client.get("/register").text)}
    assert sorted(answer.status_code for answer in registrations(app, form, {})) == [303, 409]


@pytest.mark.parametrize(
    "change",
    [{"once": "x"}, {"once": ""}, {"password": "another password"}, {"once": None}],
    ids=["another page", "no page", "another password", "not sent"],
)
def test_an_address_that_is_taken_signs_nobody_in_but_by_the_form_that_took_it(app, client, change):
    form = REGISTRATION | {
        "once": hidden(client.get("/register").text),
        "csrf_token": page_token(client, "/register"),
    }
    assert client.post("/register", data=form).status_code == 303
    other = app.test_client()
    sent = form | change | {"csrf_token": page_token(other, "/register")}
    sent = {name: text for name, text in sent.items() if text is not None}
    assert other.post("/register", data=sent).status_code == 409
    assert db.session.scalar(select(func.count(User.id))) == 1


def test_another_address_typed_into_the_same_page_is_another_account(app, client):
    form = REGISTRATION | {"once": hidden(client.get("/register").text)}
    for address in ("minji@example.com", "jun@example.com"):
        visitor = app.test_client()
        sent = form | {"email": address, "csrf_token": page_token(visitor, "/register")}
        assert visitor.post("/register", data=sent).status_code == 303
    assert db.session.scalar(select(func.count(User.id))) == 2


def test_nothing_of_a_password_is_in_what_is_kept_of_a_form(client):
    form = REGISTRATION | {"once": hidden(client.get("/register").text)}
    client.post("/register", data=form | {"csrf_token": page_token(client, "/register")})
    kept = db.session.scalars(select(Submission)).one()
    assert kept.digest == Sent.of(None, {"page": form["once"], "email": form["email"]}).digest
