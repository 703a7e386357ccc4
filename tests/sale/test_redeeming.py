"""Codes at the till and codes that are taken back: the verbs, the pages, the commands, and the audit after them."""

import html
import re
import threading
from collections.abc import Callable, Iterator
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
from tests.builders import failing, make_coupon, make_user, make_users, sign_in
from tests.sale.test_codes import typed_in_korean, wide
from tests.visits import context_of, post, sentence_of, visit
from webapp.line.line import Line
from webapp.models import OPERATOR, Coupon, CouponIssue, LineEvent, Revocation, UndoneUse, User, utcnow
from webapp.sale import admission, claims, publishing, redeeming
from webapp.sale.audit import run as audit
from webapp.sale.codes import grouped
from webapp.sale.coupons import change_coupon
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db


def issued(user: int, coupon: int | None = None, **fields: Any) -> str:
    """Have the user get a coupon, and return its code."""
    coupon = coupon or make_coupon(**fields)
    claims.claim(coupon, user)
    admission.admit(coupon)
    return code_of(coupon, user)


def code_of(coupon: int, user: int) -> str:
    mine = (CouponIssue.coupon_id == coupon, CouponIssue.user_id == user)
    with db.engine.connect() as connection:
        return connection.execute(select(CouponIssue.code).where(*mine)).scalar_one()


def sold_out(quota: int, people: int) -> tuple[int, list[int]]:
    """Return a coupon that so many people asked for, and all that could be issued was."""
    coupon, users = make_coupon(quota=quota), make_users(people)
    for user in users:
        claims.claim(coupon, user)
    admission.admit(coupon)
    return coupon, users


def operator(client: FlaskClient) -> User:
    user = make_user(f"till{make_user().id}@example.com", role=OPERATOR)
    sign_in(client, user)
    return user


def block(user: int | User, moment: Any = None) -> None:
    number = user if isinstance(user, int) else user.id
    with db.engine.begin() as connection:
        connection.execute(update(User).where(User.id == number).values(blocked_at=moment or utcnow()))


def used_ago(span: timedelta) -> None:
    """Have all that is used been used so long ago."""
    with db.engine.begin() as connection:
        used = update(CouponIssue).where(CouponIssue.used_at.is_not(None))
        connection.execute(used.values(used_at=utcnow() - span))


def undone_uses() -> list[Any]:
    with db.engine.connect() as connection:
        return list(connection.execute(select(UndoneUse).order_by(UndoneUse.id)))


def at_once(app: Flask, *verbs: Callable[[], Any]) -> list[Any]:
    """Run the verbs at the same instant; return what each returns, or how it was refused."""
    ready = threading.Barrier(len(verbs))

    def run(verb: Callable[[], Any]) -> Any:
        with app.app_context():
            ready.wait(10)
            try:
                return verb()
            except redeeming.Unchanged as unchanged:
                return unchanged.code

    with ThreadPoolExecutor(len(verbs)) as pool:
        return list(pool.map(run, verbs))


@contextmanager
def nothing_settles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have Redis go away where a result would be written; that has to be noticed."""
    with monkeypatch.context() as patch:
        patch.setattr(Line, "settle", failing(redis.ConnectionError("away")))
        with pytest.raises(redis.ConnectionError):
            yield


def committed_and_not_settled(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Return a coupon, and somebody who has it by SQL and waits by Redis."""
    coupon, user = make_coupon(quota=5), make_user().id
    claims.claim(coupon, user)
    with nothing_settles(monkeypatch):
        admission.admit(coupon)
    return coupon, user


def form_of(client: FlaskClient, code: str, button: str = "Use it now") -> dict[str, str]:
    """Return what the form with that button sends."""
    page = visit(client, f"/admin/redeem?code={grouped(code)}").text
    (form,) = [form for form in re.findall(r"(?s)<form.*?</form>", page) if button in form]
    return dict(re.findall(r'<input[^>]*name="(code|click|although_blocked|used_at)" value="([^"]*)"', form))


def followed(client: FlaskClient, address: str, **fields: str) -> str:
    """Send a form, and return the text of the page that it leads to."""
    answer = post(client, address, **fields)
    assert answer.status_code == 303
    return sentence_of(visit(client, answer.location).text)


# Using


@pytest.mark.parametrize(
    "typed",
    ["{code}", "{shown}", " {lower} ", "{misread}", "쿠폰: {wide}", "{link}&utm_source=kakao#top", "{jamo}"],
)
def test_a_code_is_used_however_it_is_typed(app, typed):
    code, till = issued(make_user().id), make_user(role=OPERATOR)
    forms = {
        "code": code,
        "shown": grouped(code),
        "lower": grouped(code).lower(),
        "misread": code.replace("0", "O").replace("1", "l"),
        "wide": wide(grouped(code)),
        "link": f"https://x.kr/admin/redeem?code={grouped(code)}",
        "jamo": typed_in_korean(grouped(code)),
    }
    found, used_now = redeeming.use(typed.format(**forms), till.id)
    assert (found.state, used_now, found.by) == ("used", True, till.email)


def test_two_codes_at_once_are_none(app):
    mine, other = issued(make_user().id), issued(make_user().id)
    assert redeeming.use(f"{grouped(mine)} {grouped(other)}", None) == (None, False)
    assert redeeming.look_up(mine).state == redeeming.look_up(other).state == "usable"


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


# A holder who is blocked


def test_the_code_of_a_blocked_holder_is_used_only_by_decision(app):
    holder = make_user()
    code = issued(holder.id)
    block(holder)
    found, used_now = redeeming.use(code, None)
    assert (found.state, used_now, found.blocked_at is not None) == ("usable", False, True)
    found, used_now = redeeming.use(code, None, although_blocked=True)
    assert (found.state, used_now) == ("used", True)


def test_the_page_says_that_the_holder_is_blocked(client):
    operator(client)
    holder = make_user()
    code = issued(holder.id)
    seen_before = form_of(client, code)
    block(holder)
    page = sentence_of(visit(client, f"/admin/redeem?code={code}").text)
    assert "The holder's account is blocked" in page
    assert "Blocked since" in page
    assert "This code can be used" not in page
    assert "Use it now" not in page
    assert "The holder's account is blocked" in followed(client, "/admin/redeem", **seen_before)
    assert redeeming.look_up(code).state == "usable"
    decided = form_of(client, code, "Use it all the same")
    used = followed(client, "/admin/redeem", **decided)
    assert "Used just now" in used
    assert "Blocked since" in used


def test_a_blocked_holder_is_told_of_in_every_state(client):
    operator(client)
    holders = [make_user().id for _ in range(3)]
    used, revoked, late = [issued(holder, make_coupon()) for holder in holders]
    redeeming.use(used, None)
    redeeming.revoke(revoked, None, "a test")
    with db.engine.begin() as connection:
        coupon = redeeming.look_up(late).coupon_id
        past = utcnow() - timedelta(seconds=1)
        connection.execute(update(Coupon).where(Coupon.id == coupon).values(valid_until=past))
    for holder in holders:
        block(holder)
    for code in (used, revoked, late):
        assert "Blocked since" in sentence_of(visit(client, f"/admin/redeem?code={code}").text)


# A use that is taken back


def test_a_use_is_taken_back_and_leaves_a_trace(app):
    code, till, boss = issued(make_user().id), make_user(role=OPERATOR), make_user(role=OPERATOR)
    used, _ = redeeming.use(code, till.id)
    assert redeeming.undo_use(grouped(code).lower(), boss.id, " the wrong\ncoupon ").state == "usable"
    (trace,) = undone_uses()
    assert (trace.code, trace.used_at, trace.used_by) == (code, used.at, till.id)
    assert (trace.undone_by, trace.reason) == (boss.id, "the wrong coupon")
    assert abs(utcnow() - trace.undone_at) < timedelta(minutes=1)
    assert redeeming.use(code, till.id)[1]
    assert audit(used.coupon_id).ok


def test_a_repeat_undoes_nothing_more(app):
    code = issued(make_user().id)
    used, _ = redeeming.use(code, None)
    for reason in ("first", "second"):
        assert redeeming.undo_use(code, None, reason, which=used.at.isoformat()).state == "usable"
        assert redeeming.undo_use(code, None, reason).state == "usable"
    assert [trace.reason for trace in undone_uses()] == ["first"]


def test_a_late_repeat_leaves_the_use_that_came_meanwhile(app):
    """Somebody clicks twice, and in between the code was used at another till."""
    code = issued(make_user().id)
    first, _ = redeeming.use(code, None)
    redeeming.undo_use(code, None, "a test", which=first.at.isoformat())
    redeeming.use(code, None)
    assert redeeming.undo_use(code, None, "a test", which=first.at.isoformat()).state == "used"
    assert len(undone_uses()) == 1


@pytest.mark.parametrize(
    ("ago", "state"),
    [(0, "usable"), (1, "usable"), (9.9, "usable"), (10, "used"), (10.1, "used"), (60 * 24, "used")],
)
def test_a_use_is_taken_back_within_ten_minutes(app, ago, state):
    code = issued(make_user().id)
    redeeming.use(code, None)
    used_ago(timedelta(minutes=ago))
    if state == "used":
        with pytest.raises(redeeming.Unchanged, match="late"):
            redeeming.undo_use(code, None, "a test")
    else:
        redeeming.undo_use(code, None, "a test")
    assert redeeming.look_up(code).state == state
    assert len(undone_uses()) == (state == "usable")


def test_control_the_limit_stands_in_the_update(app, monkeypatch):
    """Whoever read the use before the ten minutes were over must not undo it after."""
    code = issued(make_user().id)
    redeeming.use(code, None)
    with db.engine.connect() as connection:
        read_before = connection.execute(select(CouponIssue).where(CouponIssue.code == code)).one()
    now = utcnow()
    monkeypatch.setattr(redeeming, "utcnow", lambda: now + redeeming.UNDONE_WITHIN)
    assert not redeeming._undone(read_before, None, "a test")
    assert redeeming.look_up(code).state == "used"
    assert undone_uses() == []


@pytest.mark.parametrize(
    ("code", "reason", "which", "why"),
    [
        ("0000-0000-0000", "x", None, "unknown"),
        ("", "x", None, "unknown"),
        ("{used}", " \n", None, "no_reason"),
        ("{unused}", "x", None, "unused"),
        ("{revoked}", "x", None, "unused"),
        ("{used}", "x", "2026-01-01T00:00:00+00:00", "unused"),
        ("{used}", "x", "", "unused"),
        ("{used}", "x", "no time", "unused"),
        ("{used}", "x", "\0", "unused"),
    ],
)
def test_what_cannot_be_undone(app, code, reason, which, why):
    codes = {
        "used": issued(make_user().id),
        "unused": issued(make_user().id),
        "revoked": issued(make_user().id),
    }
    redeeming.use(codes["used"], None)
    redeeming.revoke(codes["revoked"], None, "a test")
    with pytest.raises(redeeming.Unchanged, match=why):
        redeeming.undo_use(code.format(**codes), None, reason, which=which)
    assert redeeming.look_up(codes["used"]).state == "used"
    assert undone_uses() == []


def test_two_who_undo_at_once_undo_once(app: Flask):
    code = issued(make_user().id)
    redeeming.use(code, None)
    states = at_once(app, *[lambda: redeeming.undo_use(code, None, "a test").state] * 6)
    assert (states, len(undone_uses())) == (["usable"] * 6, 1)


def test_undoing_and_using_at_once_leave_one_use_at_most(app: Flask):
    for _ in range(4):
        code = issued(make_user().id)
        redeeming.use(code, None)
        before = len(undone_uses())
        _, *used = at_once(
            app,
            lambda code=code: redeeming.undo_use(code, None, "a test"),
            *[lambda code=code: redeeming.use(code, None)[1]] * 3,
        )
        assert sum(used) <= 1
        assert redeeming.look_up(code).state == ("used" if any(used) else "usable")
        assert len(undone_uses()) == before + 1


def test_undoing_and_revoking_at_once_lose_nothing(app: Flask):
    for _ in range(4):
        coupon, users = sold_out(quota=1, people=1)
        code = code_of(coupon, users[0])
        redeeming.use(code, None)
        _, revoked = at_once(
            app,
            lambda code=code: redeeming.undo_use(code, None, "a test"),
            lambda code=code: redeeming.revoke(code, None, "a test").state,
        )
        assert redeeming.look_up(code).state == ("usable" if revoked == "used" else "revoked")
        assert audit(coupon).ok


def test_an_expired_code_whose_use_is_undone_is_expired(app):
    code = issued(make_user().id)
    redeeming.use(code, None)
    with db.engine.begin() as connection:
        connection.execute(update(Coupon).values(valid_until=utcnow() - timedelta(seconds=1)))
    assert redeeming.undo_use(code, None, "a test").state == "expired"


def test_undoing_on_the_page(client):
    till = operator(client)
    code = issued(make_user().id)
    followed(client, "/admin/redeem", **form_of(client, code))
    form = form_of(client, code, "Take the use back")
    refused = post(client, "/admin/unuse", **form, reason=" ")
    assert (refused.status_code, "Give a reason." in refused.text) == (422, True)
    page = followed(client, "/admin/unuse", **form, reason="the <wrong> coupon")
    assert "The use was taken back." in page
    assert "This code can be used" in page
    assert f"by {till.email}: the <wrong> coupon" in page
    again = followed(client, "/admin/unuse", **form, reason="once more")
    assert "The use was taken back." in again
    assert "once more" not in again
    assert "This code is not used." in followed(client, "/admin/unuse", code=code, used_at="x", reason="x")
    assert "No such code" in followed(client, "/admin/unuse", code="0000-0000-0000", reason="x")


def test_after_ten_minutes_the_page_offers_no_undoing(client):
    operator(client)
    code = issued(make_user().id)
    redeeming.use(code, None)
    used_ago(redeeming.UNDONE_WITHIN)
    assert "Take the use back" not in visit(client, f"/admin/redeem?code={code}").text
    assert "more than 10 minutes ago" in followed(client, "/admin/unuse", code=code, reason="x")


# Taking back


def test_a_revoked_coupon_goes_to_the_first_in_standby(app):
    coupon, users = sold_out(quota=2, people=4)
    redeeming.revoke(code_of(coupon, users[0]), None, "bought  by a\nbot")
    admission.admit(coupon)
    states = [claims.standing(coupon, user).state for user in users]
    assert states == ["rejected", "issued", "issued", "sold_out"]
    assert claims.standing(coupon, users[0]).reason == "revoked: bought by a bot"
    with db.engine.connect() as connection:
        row = connection.execute(select(Revocation)).one()
        event = connection.execute(select(LineEvent)).one()
    assert (row.user_id, row.ticket_number, row.reason) == (users[0], 1, "bought by a bot")
    assert (event.kind, event.user_id, event.ticket_number) == ("rejected", users[0], 1)
    assert audit(coupon).ok


def test_who_was_revoked_gets_no_second_coupon(app):
    coupon, users = sold_out(quota=5, people=1)
    redeeming.revoke(code_of(coupon, users[0]), None, "a test")
    assert claims.claim(coupon, users[0]).state == "rejected"
    line_redis().flushall()
    assert claims.claim(coupon, users[0]).state == "rejected"
    assert audit(coupon).ok


def test_a_ticket_whose_row_was_not_settled_yet_is_not_issued_again(app, monkeypatch):
    """A worker died between its commit and the settling, and the coupon is taken back before the next run."""
    coupon, user = committed_and_not_settled(monkeypatch)
    assert claims.standing(coupon, user).state == "waiting"
    redeeming.revoke(code_of(coupon, user), None, "a test")
    assert admission.admit(coupon).issued == 0
    assert claims.standing(coupon, user).state == "rejected"
    assert audit(coupon).ok


def test_control_unsettled_and_without_a_look_for_rejections_it_would_be_issued_again(app, monkeypatch):
    monkeypatch.setattr(publishing, "settle_issue", lambda *_: None)
    coupon, user = committed_and_not_settled(monkeypatch)
    redeeming.revoke(code_of(coupon, user), None, "a test")
    monkeypatch.setattr(admission, "rejected_among", lambda *_: {})
    assert admission.admit(coupon).issued == 1


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
    with pytest.raises(redeeming.Unchanged, match=why):
        redeeming.revoke(code.format(code=mine), None, reason)
    assert redeeming.look_up(mine).state == "usable"


def test_a_used_coupon_is_not_revoked(app):
    coupon, users = sold_out(quota=1, people=2)
    code = code_of(coupon, users[0])
    redeeming.use(code, None)
    with pytest.raises(redeeming.Unchanged, match="used"):
        redeeming.revoke(code, None, "too late")
    admission.admit(coupon)
    assert claims.standing(coupon, users[1]).state == "sold_out"
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
                except redeeming.Unchanged:
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
        patch.setattr(Line, "revoke", away)
        with pytest.raises(redis.ConnectionError):
            redeeming.revoke(code, None, "a test")
    assert claims.standing(coupon, users[0]).state == "issued"
    sweeper.sweep()
    assert claims.standing(coupon, users[0]).state == "rejected"
    admission.admit(coupon)
    assert claims.standing(coupon, users[1]).state == "issued"
    assert audit(coupon).ok


def test_reconcile_tells_of_a_revocation_too(app):
    coupon, users = sold_out(quota=1, people=1)
    code = code_of(coupon, users[0])
    line = Line(line_redis(), coupon)
    before = line_redis().hget(line.results_key, users[0])
    redeeming.revoke(code, None, "a test")
    line_redis().hset(line.results_key, users[0], before)
    assert not audit(coupon).ok
    publishing.reconcile(coupon)
    assert claims.standing(coupon, users[0]).state == "rejected"
    assert audit(coupon).ok


def test_taking_back_leaves_any_other_result(app):
    line = Line(line_redis(), make_coupon())
    line_redis().hset(line.results_key, 7, "issued:1:NEW")
    assert not line.revoke(7, "issued:1:OLD", "rejected:1:revoked: x")
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
    assert "Used just now" in followed(client, "/admin/redeem", **form_of(client, code))
    again = followed(client, "/admin/redeem", code=grouped(code).lower())
    assert "This code was used before" in again
    assert f"by {till.email}" in again
    assert "Use it now" not in again


def test_the_second_of_two_clicks_hears_the_same_as_the_first(client):
    """On a slow link the first answer is on its way when the button is pressed again."""
    operator(client)
    form = form_of(client, issued(make_user().id))
    first, second = (post(client, "/admin/redeem", **form) for _ in range(2))
    assert first.location == second.location
    for _ in range(2):
        assert "Used just now" in visit(client, second.location).text


def test_clicks_at_the_same_instant_all_hear_it_and_use_once(app: Flask):
    code, click, till = issued(make_user().id), "of-one-form", make_user(role=OPERATOR).id
    at_once = threading.Barrier(6)

    def use(_: int) -> tuple[bool, bool]:
        with app.app_context():
            at_once.wait(10)
            found, used_now = redeeming.use(code, till, click=click)
            return used_now, found.used_just_now(click)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(use, range(6)))
    assert sorted(used_now for used_now, _ in answers) == [False] * 5 + [True]
    assert all(just_now for _, just_now in answers)


def test_two_tills_are_told_apart(client):
    """Each has a form of its own, as has the same operator with a second person's copy of the code."""
    first = operator(client)
    code = issued(make_user().id)
    forms = [form_of(client, code) for _ in range(2)]
    assert forms[0]["click"] != forms[1]["click"]
    assert "Used just now" in followed(client, "/admin/redeem", **forms[0])
    assert "This code was used before" in followed(client, "/admin/redeem", **forms[1])
    operator(client)
    assert f"by {first.email}" in followed(client, "/admin/redeem", **forms[1])


@pytest.mark.parametrize("click", ["", "x", "0" * 5000, "\0", "한글 <b>", "' OR 1=1 --", "%00", "🎟" * 22])
def test_whatever_the_form_is_called_it_is_used_once(client, click):
    operator(client)
    code = issued(make_user().id)
    assert "Used just now" in followed(client, "/admin/redeem", code=code, click=click)
    assert "This code was used before" in followed(client, "/admin/redeem", code=code)


def test_just_now_is_over_after_a_minute(client):
    operator(client)
    code = issued(make_user().id)
    answer = post(client, "/admin/redeem", **form_of(client, code))
    used_ago(redeeming.JUST_NOW)
    assert "This code was used before" in visit(client, answer.location).text


def test_a_use_without_a_click_is_nobodys_just_now(client):
    operator(client)
    code = issued(make_user().id)
    redeeming.use(code, None)
    for click in ("", "&click=", "&click=None", "&click=x"):
        assert "This code was used before" in visit(client, f"/admin/redeem?code={code}{click}").text


def test_the_second_click_on_taking_back_hears_the_same(client):
    operator(client)
    coupon, users = sold_out(quota=1, people=1)
    code = code_of(coupon, users[0])
    pages = [followed(client, "/admin/revoke", code=code, reason="a test") for _ in range(2)]
    assert pages[0] == pages[1]
    assert "This code was taken back" in pages[1]
    with db.engine.connect() as connection:
        assert len(connection.scalars(select(Revocation.id)).all()) == 1


def test_an_unknown_code_gets_a_plain_answer(client):
    operator(client)
    for answer in (
        visit(client, "/admin/redeem?code=<script>"),
        visit(client, post(client, "/admin/redeem", code="ZZZZ-ZZZZ-ZZZZ").location),
        visit(client, post(client, "/admin/redeem", code="\0").location),
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


@pytest.mark.parametrize("address", ["/admin/redeem", "/admin/revoke", "/admin/unuse"])
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
    for address in ("/admin/redeem", "/admin/revoke", "/admin/unuse"):
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
    assert claims.line_status(coupon).state == "sold_out"
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
    assert "no such code" in run(args=["coupon", "unuse", "1", "--reason", "x"]).stderr
    assert redeeming.look_up(other).state == "revoked"


def test_the_command_that_takes_a_use_back(app):
    run = app.test_cli_runner().invoke
    code = issued(make_user().id)
    unuse = ["coupon", "unuse", grouped(code).lower(), "--reason", "the wrong coupon"]
    assert "this code is not used" in run(args=unuse).stderr
    redeeming.use(code, None)
    for _ in range(2):
        undone = run(args=unuse)
        assert (undone.exit_code, undone.stdout) == (0, f"usable again {grouped(code)}: Coupon\n")
    redeeming.use(code, None)
    used_ago(redeeming.UNDONE_WITHIN)
    late = run(args=unuse)
    assert (late.exit_code, "more than 10 minutes ago" in late.stderr) == (1, True)


def test_the_command_asks_for_a_decision_when_the_holder_is_blocked(app):
    run = app.test_cli_runner().invoke
    holder = make_user()
    code = issued(holder.id)
    block(holder)
    refused = run(args=["coupon", "redeem", code])
    assert (refused.exit_code, "--although-blocked" in refused.stderr) == (1, True)
    assert redeeming.look_up(code).state == "usable"
    assert run(args=["coupon", "redeem", code, "--although-blocked"]).exit_code == 0
    again = run(args=["coupon", "redeem", code])
    assert "this code is used since" in again.stderr
