"""Codes at the till and codes that are taken back: the verbs, the pages, the commands, and the audit after them."""

import html
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from jobs import sweeper
from tests.builders import make_coupon, make_user, make_users, sign_in
from tests.visits import context_of, post, sentence_of, visit
from webapp import issuing, redeeming
from webapp.audit import run as audit
from webapp.codes import grouped
from webapp.extensions import db, line_redis
from webapp.line import Line
from webapp.models import OPERATOR, Coupon, CouponIssue, LineEvent, Revocation, User, utcnow
from webapp.policy import change_coupon


def issued(user: int, coupon: int | None = None, **fields: Any) -> str:
    """Have the user get a coupon, and return its code."""
    coupon = coupon or make_coupon(**fields)
    issuing.claim(coupon, user)
    issuing.admit(coupon)
    return code_of(coupon, user)


def code_of(coupon: int, user: int) -> str:
    mine = (CouponIssue.coupon_id == coupon, CouponIssue.user_id == user)
    with db.engine.connect() as connection:
        return connection.execute(select(CouponIssue.code).where(*mine)).scalar_one()


def sold_out(quota: int, people: int) -> tuple[int, list[int]]:
    """Return a coupon that so many people asked for, and all that could be issued was."""
    coupon, users = make_coupon(quota=quota), make_users(people)
    for user in users:
        issuing.claim(coupon, user)
    issuing.admit(coupon)
    return coupon, users


def operator(client: FlaskClient) -> User:
    user = make_user(f"till{make_user().id}@example.com", role=OPERATOR)
    sign_in(client, user)
    return user


# Using


@pytest.mark.parametrize("typed", ["{0}", "{1}", " {2} ", "{3}", "https://x.kr/admin/redeem?code={1}"])
def test_a_code_is_used_however_it_is_typed(app, typed):
    code, till = issued(make_user().id), make_user(role=OPERATOR)
    forms = (code, grouped(code), grouped(code).lower(), code.replace("0", "O").replace("1", "l"))
    found, used_now = redeeming.use(typed.format(*forms), till.id)
    assert (found.state, used_now, found.by) == ("used", True, till.email)


def test_a_second_use_tells_of_the_first(app):
    code, first, second = issued(make_user().id), make_user(role=OPERATOR), make_user(role=OPERATOR)
    used, _ = redeeming.use(code, first.id)
    again, used_now = redeeming.use(code, second.id)
    assert (again, used_now) == (used, False)
    assert (again.by, abs(utcnow() - again.at) < timedelta(minutes=1)) == (first.email, True)


def test_two_tills_at_once_use_a_code_once(app: Flask):
    code, tills = issued(make_user().id), [make_user(role=OPERATOR).id for _ in range(8)]
    at_once = threading.Barrier(len(tills))

    def use(till: int) -> bool:
        with app.app_context():
            at_once.wait(10)
            return redeeming.use(code, till)[1]

    with ThreadPoolExecutor(len(tills)) as pool:
        assert sorted(pool.map(use, tills)) == [False] * 7 + [True]


def test_control_without_the_condition_the_last_till_wins(app, monkeypatch):
    """The condition of the UPDATE is the guard: with a code that looks usable to both, the second must not write."""
    code, first, second = issued(make_user().id), make_user(role=OPERATOR), make_user(role=OPERATOR)
    fresh = redeeming.look_up(code)
    redeeming.use(code, first.id)
    with monkeypatch.context() as patch:
        seen = iter([fresh])
        real = redeeming.look_up
        patch.setattr(redeeming, "look_up", lambda typed: next(seen, None) or real(typed))
        found, used_now = redeeming.use(code, second.id)
    assert (used_now, found.by) == (False, first.email)


def test_an_expired_a_revoked_and_an_unknown_code_are_not_used(app):
    late = issued(make_user().id, opens_in=-200, closes_in=-1 + 3600)
    with db.engine.begin() as connection:
        connection.execute(update(Coupon).values(valid_until=utcnow() - timedelta(seconds=1)))
    revoked = issued(make_user().id)
    redeeming.revoke(revoked, None, "a test")
    states = [redeeming.use(code, None) for code in (late, revoked)]
    assert [(found.state, used_now) for found, used_now in states] == [("expired", False), ("revoked", False)]
    assert redeeming.use("0000-0000-0000", None) == (None, False)
    with db.engine.connect() as connection:
        assert connection.scalars(select(CouponIssue.used_at)).all() == [None]


# Taking back


def test_a_revoked_coupon_goes_to_the_first_in_standby(app):
    coupon, users = sold_out(quota=2, people=4)
    redeeming.revoke(code_of(coupon, users[0]), None, "bought  by a\nbot")
    issuing.admit(coupon)
    states = [issuing.standing(coupon, user).state for user in users]
    assert states == ["rejected", "issued", "issued", "sold_out"]
    assert issuing.standing(coupon, users[0]).reason == "revoked: bought by a bot"
    with db.engine.connect() as connection:
        row = connection.execute(select(Revocation)).one()
        event = connection.execute(select(LineEvent)).one()
    assert (row.user_id, row.ticket_number, row.reason) == (users[0], 1, "bought by a bot")
    assert (event.kind, event.user_id, event.ticket_number) == ("rejected", users[0], 1)
    assert audit(coupon).ok


def test_who_was_revoked_gets_no_second_coupon(app):
    coupon, users = sold_out(quota=5, people=1)
    redeeming.revoke(code_of(coupon, users[0]), None, "a test")
    assert issuing.claim(coupon, users[0]).state == "rejected"
    line_redis().flushall()
    assert issuing.claim(coupon, users[0]).state == "rejected"
    assert audit(coupon).ok


@contextmanager
def nothing_settles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have Redis go away where a result would be written; that has to be noticed."""
    with monkeypatch.context() as patch:
        patch.setattr(Line, "settle", lambda *_: (_ for _ in ()).throw(redis.ConnectionError("away")))
        with pytest.raises(redis.ConnectionError):
            yield


def committed_and_not_settled(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Return a coupon, and somebody who has it by SQL and waits by Redis."""
    coupon, user = make_coupon(quota=5), make_user().id
    issuing.claim(coupon, user)
    with nothing_settles(monkeypatch):
        issuing.admit(coupon)
    return coupon, user


def test_a_ticket_whose_row_was_not_settled_yet_is_not_issued_again(app, monkeypatch):
    """A worker died between its commit and the settling, and the coupon is taken back before the next run."""
    coupon, user = committed_and_not_settled(monkeypatch)
    assert issuing.standing(coupon, user).state == "waiting"
    redeeming.revoke(code_of(coupon, user), None, "a test")
    assert issuing.admit(coupon).issued == 0
    assert issuing.standing(coupon, user).state == "rejected"
    assert audit(coupon).ok


def test_control_unsettled_it_would_be_issued_again(app, monkeypatch):
    monkeypatch.setattr(issuing, "settle_issue", lambda *_: None)
    coupon, user = committed_and_not_settled(monkeypatch)
    redeeming.revoke(code_of(coupon, user), None, "a test")
    assert issuing.admit(coupon).issued == 1


def test_nothing_is_taken_back_while_redis_is_away(app, monkeypatch):
    code = issued(make_user().id)
    with nothing_settles(monkeypatch):
        redeeming.revoke(code, None, "a test")
    assert redeeming.look_up(code).state == "usable"


def test_a_repeat_changes_nothing(app):
    coupon, users = sold_out(quota=2, people=2)
    code = code_of(coupon, users[0])
    redeeming.revoke(code, None, "first")
    redeeming.revoke(code, None, "second")
    with db.engine.connect() as connection:
        assert connection.scalars(select(Revocation.reason)).all() == ["first"]
        assert connection.scalar(select(Coupon.issued_quantity)) == 1
    assert audit(coupon).ok


@pytest.mark.parametrize(
    ("code", "reason", "why"),
    [("0000-0000-0000", "x", "unknown"), ("", "x", "unknown"), ("{code}", " \n", "no_reason")],
)
def test_what_cannot_be_revoked(app, code, reason, why):
    mine = issued(make_user().id)
    with pytest.raises(redeeming.CannotRevoke, match=why):
        redeeming.revoke(code.format(code=mine), None, reason)
    assert redeeming.look_up(mine).state == "usable"


def test_a_used_coupon_is_not_revoked(app):
    coupon, users = sold_out(quota=1, people=2)
    code = code_of(coupon, users[0])
    redeeming.use(code, None)
    with pytest.raises(redeeming.CannotRevoke, match="used"):
        redeeming.revoke(code, None, "too late")
    issuing.admit(coupon)
    assert issuing.standing(coupon, users[1]).state == "sold_out"
    assert audit(coupon).ok


def test_using_and_revoking_at_once_end_in_one_of_them(app: Flask):
    for _ in range(5):
        coupon, users = sold_out(quota=1, people=1)
        code, at_once = code_of(coupon, users[0]), threading.Barrier(2)

        def use(code=code, at_once=at_once) -> bool:
            with app.app_context():
                at_once.wait(10)
                return redeeming.use(code, None)[1]

        def revoke(code=code, at_once=at_once) -> bool:
            with app.app_context():
                at_once.wait(10)
                try:
                    redeeming.revoke(code, None, "a test")
                except redeeming.CannotRevoke:
                    return False
                return True

        with ThreadPoolExecutor(2) as pool:
            used, revoked = pool.submit(use), pool.submit(revoke)
            assert [used.result(), revoked.result()] in ([True, False], [False, True])
        assert redeeming.look_up(code).state == ("used" if used.result() else "revoked")
        assert audit(coupon).ok


def test_the_sweeper_tells_a_redis_that_did_not_answer(app, monkeypatch):
    coupon, users = sold_out(quota=1, people=2)
    code = code_of(coupon, users[0])

    def away(*_: object) -> None:
        raise redis.ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(Line, "take_back", away)
        with pytest.raises(redis.ConnectionError):
            redeeming.revoke(code, None, "a test")
    assert issuing.standing(coupon, users[0]).state == "issued"
    sweeper.sweep()
    assert issuing.standing(coupon, users[0]).state == "rejected"
    issuing.admit(coupon)
    assert issuing.standing(coupon, users[1]).state == "issued"
    assert audit(coupon).ok


def test_reconcile_tells_of_a_revocation_too(app):
    coupon, users = sold_out(quota=1, people=1)
    code = code_of(coupon, users[0])
    line = Line(line_redis(), coupon)
    before = line_redis().hget(line.results_key, users[0])
    redeeming.revoke(code, None, "a test")
    line_redis().hset(line.results_key, users[0], before)
    assert not audit(coupon).ok
    issuing.reconcile(coupon)
    assert issuing.standing(coupon, users[0]).state == "rejected"
    assert audit(coupon).ok


def test_taking_back_leaves_any_other_result(app):
    line = Line(line_redis(), make_coupon())
    line_redis().hset(line.results_key, 7, "issued:1:NEW")
    assert not line.take_back(7, "issued:1:OLD", "rejected:1:revoked: x")
    assert line_redis().hget(line.results_key, 7) == "issued:1:NEW"


# The pages of operators


def test_checking_a_code_uses_nothing(client):
    operator(client)
    code = issued(make_user().id, title="치킨 <b>")
    found = context_of(client, f"/admin/redeem?code={grouped(code)}")["found"]
    assert (found.state, redeeming.look_up(code).state) == ("usable", "usable")
    page = visit(client, f"/admin/redeem?code={grouped(code)}").text
    assert "치킨 &lt;b&gt;" in page
    assert "Use it now" in page


def test_using_a_code_on_the_page_and_once_more(client):
    till = operator(client)
    code = issued(make_user().id)
    assert "Used just now" in post(client, "/admin/redeem", code=grouped(code).lower()).text
    again = sentence_of(post(client, "/admin/redeem", code=code).text)
    assert "This code was used before" in again
    assert f"by {till.email}" in again
    assert "Use it now" not in again


def test_an_unknown_code_gets_a_plain_answer(client):
    operator(client)
    for answer in (
        visit(client, "/admin/redeem?code=<script>"),
        post(client, "/admin/redeem", code="ZZZZ-ZZZZ-ZZZZ"),
        post(client, "/admin/redeem", code="\0"),
    ):
        assert answer.status_code == 200
        assert "No such code" in answer.text
        assert "<script>" not in answer.text


def test_the_codes_of_somebody_are_found_by_e_mail(client):
    operator(client)
    holder = make_user(f"hana{make_user().id}@example.com")
    code = issued(holder.id)
    assert grouped(code) in visit(client, f"/admin/redeem?code={holder.email.upper()}").text


def test_revoking_on_the_page(client):
    till = operator(client)
    coupon, users = sold_out(quota=1, people=2)
    code = code_of(coupon, users[0])
    refused = post(client, "/admin/revoke", code=code, reason=" ")
    assert (refused.status_code, "Give a reason." in refused.text) == (422, True)
    answer = post(client, "/admin/revoke", code=code, reason="bought by a <bot>")
    assert (answer.status_code, answer.location) == (303, f"/admin/redeem?code={grouped(code)}")
    page = visit(client, answer.location).text
    assert "This code was taken back" in page
    assert "bought by a &lt;bot&gt;" in page
    assert till.email in page
    again = post(client, "/admin/revoke", code="0000-0000-0000", reason="x")
    assert "No such code" in visit(client, again.location).text


@pytest.mark.parametrize("address", ["/admin/redeem", "/admin/revoke"])
def test_operators_only(client, address):
    code = issued(make_user().id)
    sign_in(client, make_user())
    assert visit(client, address).status_code == 404
    assert post(client, address, token="x", code=code, reason="x").status_code == 404
    assert redeeming.look_up(code).state == "usable"


def test_a_code_that_is_scanned_while_signed_out_comes_back_after_the_sign_in(client):
    till = make_user(role=OPERATOR, password="a long password")
    code = grouped(issued(make_user().id))
    address = f"/admin/redeem?code={code}"
    page = visit(client, address)
    (link,) = re.findall(r'<a href="(/login\?next=[^"]+)">', page.text)
    answer = post(client, html.unescape(link), email=till.email, password="a long password")
    assert (page.status_code, answer.location) == (404, address)
    assert "Use it now" in visit(client, answer.location).text


def test_a_page_that_is_not_found_offers_no_sign_in_to_who_is_signed_in(client):
    assert "/login?next=/nothing" in html.unescape(visit(client, "/nothing").text)
    sign_in(client, make_user())
    assert "/login" not in visit(client, "/nothing").text


def test_a_form_without_its_token_does_nothing(client):
    operator(client)
    code = issued(make_user().id)
    for address in ("/admin/redeem", "/admin/revoke"):
        assert post(client, address, token="wrong", code=code, reason="x").status_code == 400
    assert redeeming.look_up(code).state == "usable"


# What the holder sees


def test_the_page_for_the_till_shows_a_qr_code_to_its_holder_alone(client):
    holder = make_user()
    code = issued(holder.id, title="치킨", valid_until=utcnow() + timedelta(days=3))
    sign_in(client, holder)
    issue = context_of(client, "/wallet")["issues"][0].id
    page = visit(client, f"/wallet/{issue}").text
    assert grouped(code) in page
    assert '<svg viewBox="0 0' in page
    assert visit(client, f"/wallet/{issue + 1000}").status_code == 404
    sign_in(client, make_user())
    assert visit(client, f"/wallet/{issue}").status_code == 404


def test_a_used_and_an_expired_coupon_show_no_qr_code(client):
    holder = make_user()
    code = issued(holder.id)
    sign_in(client, holder)
    issue = context_of(client, "/wallet")["issues"][0].id
    with db.engine.begin() as connection:
        connection.execute(update(Coupon).values(valid_until=utcnow() - timedelta(seconds=1)))
    late = visit(client, f"/wallet/{issue}").text
    assert "It could be used until" in late
    with db.engine.begin() as connection:
        connection.execute(update(Coupon).values(valid_until=None))
    redeeming.use(code, None)
    db.session.rollback()
    used = visit(client, f"/wallet/{issue}").text
    assert "Used" in sentence_of(used)
    assert "viewBox" not in late.partition("<main")[2]
    assert "viewBox" not in used.partition("<main")[2]


def test_the_holder_of_a_revoked_coupon_is_told_why(client):
    coupon, users = sold_out(quota=1, people=1)
    sign_in(client, users[0])
    redeeming.revoke(code_of(coupon, users[0]), None, "paid with a <stolen> card")
    for address in (f"/coupons/{coupon}", f"/coupons/{coupon}/receipt"):
        page = visit(client, address).text
        assert "Your coupon was taken back" in page
        assert "paid with a &lt;stolen&gt; card" in page
    assert "paid with a &lt;stolen&gt; card" in visit(client, "/wallet").text


def test_a_quota_can_be_lowered_after_a_revocation(app):
    coupon, users = sold_out(quota=2, people=2)
    redeeming.revoke(code_of(coupon, users[0]), None, "a test")
    change_coupon(coupon, total_quantity=1)
    assert issuing.serving(coupon).state == "sold_out"
    assert audit(coupon).ok


# The commands


def test_the_commands(app):
    run = app.test_cli_runner().invoke
    code, other = issued(make_user().id), issued(make_user().id)
    used = run(args=["coupon", "redeem", grouped(code)])
    assert (used.exit_code, used.stdout) == (0, f"used {grouped(code)}: Coupon\n")
    again = run(args=["coupon", "redeem", code])
    assert (again.exit_code, "this code is used since" in again.stderr) == (1, True)
    assert run(args=["coupon", "revoke", code, "--reason", "x"]).exit_code == 1
    assert run(args=["coupon", "revoke", other, "--reason", "x"]).stdout == f"revoked {grouped(other)}\n"
    assert "no such code" in run(args=["coupon", "redeem", "1"]).stderr
    assert redeeming.look_up(other).state == "revoked"
