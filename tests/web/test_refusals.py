"""Whoever came too late hears by how much, truly, and gets a signed receipt of the refusal."""

import re
import string
import time
from dataclasses import fields, replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from tests.builders import csrf_token, make_coupon, make_user, make_users, sign_in
from tests.conftest import on_sqlite
from tests.visits import (
    BROWSER,
    PROGRAM,
    assert_refused,
    both,
    nothing_changes,
    post,
    sentence_of,
    visit,
)
from webapp.line.line import Line
from webapp.models import CLOSED, PAUSED, User, utcnow
from webapp.sale import admission, claims, coupons, epochs, publishing, redeeming
from webapp.sale.outcomes import Refused
from webapp.sale.receipts import Receipt, Refusal, read, read_refusal, sign, sign_refusal
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

KOREAN, ENGLISH = {"Accept-Language": "ko"}, {"Accept-Language": "en"}
KEY = "k" * 32
VERIFY = "/receipts/verify"


def asked(quota: int, people: int) -> tuple[int, list[int]]:
    """Have people ask for a coupon, and decide."""
    coupon, users = make_coupon(quota=quota), make_users(people)
    for user in users:
        claims.claim(coupon, user)
    admission.admit(coupon)
    return coupon, users


def revoke(coupon: int, user: int) -> None:
    redeeming.revoke(claims.standing(coupon, user).code, None, "a test")
    admission.admit(coupon)


def block(user: int) -> None:
    with db.engine.begin() as connection:
        connection.execute(update(User).where(User.id == user).values(blocked_at=utcnow()))


def next_in_line(_monkeypatch) -> tuple[int, int]:
    coupon, users = asked(quota=3, people=4)
    return coupon, users[3]


def second_in_line(_monkeypatch) -> tuple[int, int]:
    coupon, users = asked(quota=3, people=5)
    return coupon, users[4]


def far(_monkeypatch) -> tuple[int, int]:
    coupon, users = asked(quota=1000, people=1203)
    return coupon, users[-1]


def after_the_quota_was_raised(_monkeypatch) -> tuple[int, int]:
    coupon, users = asked(quota=1, people=5)
    coupons.change_coupon(coupon, total_quantity=3)
    admission.admit(coupon)
    return coupon, users[4]


def after_one_was_taken_back(_monkeypatch) -> tuple[int, int]:
    coupon, users = asked(quota=2, people=4)
    revoke(coupon, users[0])
    return coupon, users[3]


def after_those_before_were_rejected(_monkeypatch) -> tuple[int, int]:
    """Numbers 2 and 3 are rejected when a coupon comes back, and number 4 is served: 5 is next, and not three away."""
    coupon, users = asked(quota=1, people=5)
    for user in users[1:3]:
        block(user)
    coupons.change_coupon(coupon, total_quantity=2)
    admission.admit(coupon)
    return coupon, users[4]


def in_a_new_epoch(monkeypatch) -> tuple[int, int]:
    """The line starts anew above a million, and the quota is lowered to what was issued before that."""
    monkeypatch.setattr(epochs, "GRACE_MS", 0)
    coupon, _users = asked(quota=2, people=1)
    coupons.change_coupon(coupon, status=PAUSED)
    Line(line_redis(), coupon).end_epoch()
    publishing.publish(coupon)
    users = make_users(3)
    for user in users:
        claims.claim(coupon, user)
    coupons.change_coupon(coupon, total_quantity=1)
    coupons.change_coupon(coupon, status="live")
    admission.admit(coupon)
    return coupon, users[1]


def after_a_number_that_nobody_has(_monkeypatch) -> tuple[int, int]:
    coupon, users = asked(quota=1, people=4)
    line = Line(line_redis(), coupon)
    line.redis.zrem(line.standby_key, users[1], users[2])
    return coupon, users[3]


def beside_a_place_that_was_found_again(monkeypatch) -> tuple[int, int]:
    """Number 4 was next; then number 2 is found again, and goes first."""
    monkeypatch.setattr(epochs, "GRACE_MS", 0)
    coupon, users = asked(quota=1, people=3)
    line = Line(line_redis(), coupon)
    line.redis.zrem(line.standby_key, users[1])
    claims.restore(coupon, users[1], number=2, epoch=1)
    return coupon, users[2]


def found_again_too_late(_monkeypatch) -> tuple[int, int]:
    coupon, users = asked(quota=1, people=3)
    line = Line(line_redis(), coupon)
    line.redis.zrem(line.standby_key, users[1])
    coupons.change_coupon(coupon, total_quantity=2)
    admission.admit(coupon)
    claims.restore(coupon, users[1], number=2, epoch=1)
    return coupon, users[1]


def nobody_got_one(_monkeypatch) -> tuple[int, int]:
    coupon, user = make_coupon(quota=5, status=PAUSED), make_user().id
    claims.claim(coupon, user)
    coupons.change_coupon(coupon, total_quantity=0)
    coupons.change_coupon(coupon, status="live")
    admission.admit(coupon)
    return coupon, user


def when_the_event_is_over(_monkeypatch) -> tuple[int, int]:
    coupon, users = asked(quota=1, people=3)
    coupons.change_coupon(coupon, status=CLOSED)
    return coupon, users[2]


NEXT = ("아쉽게도 바로 앞에서 마감됐어요", "It ran out just before you")


def places(number: int) -> tuple[str, str]:
    return f"아쉽게도 {number}명 앞에서 마감됐어요", f"It ran out {number} places before yours"


MISSED = [
    (next_in_line, NEXT, "You 4, last 3"),
    (second_in_line, places(2), "You 5, last 3"),
    (far, places(203), "You 1,203, last 1,000"),
    (after_the_quota_was_raised, places(2), "You 5, last 3"),
    (after_one_was_taken_back, NEXT, "You 4, last 3"),
    (after_those_before_were_rejected, NEXT, "You 5, last 4"),
    (in_a_new_epoch, places(2), "You 1,000,002, last 1"),
    (after_a_number_that_nobody_has, NEXT, "You 4, last 1"),
    (beside_a_place_that_was_found_again, places(2), "You 3, last 1"),
    (
        found_again_too_late,
        (
            "순번을 되찾았을 때는 쿠폰이 모두 나간 뒤였어요",
            "All coupons were gone when your place was found again",
        ),
        "You 2, last 3",
    ),
    (nobody_got_one, ("준비한 쿠폰이 모두 나갔어요", "All coupons are gone"), "Your number was 1"),
    (when_the_event_is_over, places(2), "You 3, last 1"),
]


def row(page: str, name: str) -> str:
    return sentence_of(page.partition(f"<dt>{name}</dt>")[2].partition("</div>")[0])


def late_claim(client, coupon: int, accept: str) -> str:
    """Click too late, and return the text of the receipt."""
    headers = {"Accept": accept, "X-CSRFToken": csrf_token(client), "Accept-Language": "en"}
    answer = client.post(f"/coupons/{coupon}/claim", headers=headers)
    if accept == PROGRAM:
        return assert_refused(answer, 410, answer.get_json()["code"])["receipt"]
    assert answer.status_code == 303
    return re.search(r"[?&]refusal=([^&]+)", answer.location)[1]


@pytest.fixture
def me(client) -> int:
    user = make_user()
    sign_in(client, user)
    return user.id


def over(**fields_of_coupon: object) -> int:
    """A coupon whose period has ended, of which one was issued."""
    coupon, _users = asked(quota=9, people=1)
    coupons.change_coupon(coupon, issue_end_at=utcnow() - timedelta(milliseconds=1))
    return coupon


def closed_by_hand() -> int:
    coupon, _users = asked(quota=9, people=1)
    coupons.change_coupon(coupon, status=CLOSED)
    return coupon


def receipt_address(coupon: int, refusal: Refusal | str) -> str:
    text = refusal if isinstance(refusal, str) else sign_refusal(secret(), refusal)
    return f"/coupons/{coupon}/receipt?refusal={text}"


def secret() -> str:
    from flask import current_app

    return current_app.config["SECRET_KEY"]


def other_person(client, coupon: int, text: str) -> str:
    sign_in(client, make_user())
    return text


def other_coupon(client, coupon: int, text: str) -> str:
    return late_claim(client, make_coupon(quota=0), PROGRAM)


def ticket_receipt(client, coupon: int, text: str) -> str:
    return sign(secret(), Receipt(coupon, int(text.split(".")[2]), 1, 1))


# By how much a coupon was missed


@pytest.mark.parametrize(("story", "words", "numbers"), MISSED, ids=[row[0].__name__ for row in MISSED])
def test_who_missed_it_hears_by_how_much(client, monkeypatch, story, words, numbers):
    coupon, user = story(monkeypatch)
    sign_in(client, user)
    for headers, said in zip((KOREAN, ENGLISH), words, strict=True):
        page = visit(client, f"/coupons/{coupon}", headers=headers).text
        assert re.search(r"<h1[^>]*>([^<]*)", page)[1] == said
        assert f"<title>{said} · Coupon" in page
    assert numbers in sentence_of(page)


# The receipt of a refusal


@both
def test_a_click_after_the_last_coupon_gets_a_receipt_of_what_had_happened(app, client, me, accept):
    coupon, users = asked(quota=2, people=5)
    line = Line(line_redis(), coupon)
    began = claims.line_status(coupon)
    with nothing_changes():
        text = late_claim(client, coupon, accept)
    refusal = read_refusal(app.config["SECRET_KEY"], text)
    assert began.now_ms <= refusal.arrived_ms <= claims.line_status(coupon).now_ms
    assert refusal == Refusal(
        code="sold_out",
        coupon_id=coupon,
        user_id=me,
        arrived_ms=refusal.arrived_ms,
        ended_ms=began.sold_out_at_ms,
        last_issued=2,
        last_arrived_ms=line.arrival(2),
        issued=2,
        waiting=3,
    )
    assert refusal.before == len(users)
    assert refusal.last_arrived_ms <= refusal.ended_ms <= refusal.arrived_ms


@both
@pytest.mark.parametrize("story", [over, closed_by_hand])
def test_a_click_after_the_end_gets_one_too(app, client, me, accept, story):
    coupon = story()
    refusal = read_refusal(app.config["SECRET_KEY"], late_claim(client, coupon, accept))
    serving = claims.line_status(coupon)
    ended_ms = serving.closes_at_ms if story is over else None
    assert (refusal.code, refusal.ended_ms, refusal.issued, refusal.waiting) == ("closed", ended_ms, 1, 0)
    assert refusal.last_issued == 1


def test_a_quota_of_nothing_has_no_last_number(app, client, me):
    coupon = make_coupon(quota=0)
    refusal = read_refusal(app.config["SECRET_KEY"], late_claim(client, coupon, PROGRAM))
    assert (refusal.last_issued, refusal.last_arrived_ms, refusal.before) == (None, None, 0)
    assert visit(client, f"/coupons/{coupon}/receipt", query_string={"refusal": "x"}).status_code == 404


def test_the_last_number_is_one_that_was_issued_and_not_one_that_was_rejected(app, client, me):
    coupon, users = make_coupon(quota=9), make_users(3)
    for user in users:
        claims.claim(coupon, user)
    block(users[2])
    admission.admit(coupon)
    coupons.change_coupon(coupon, total_quantity=2)
    assert claims.line_status(coupon).now_serving == 3
    assert read_refusal(app.config["SECRET_KEY"], late_claim(client, coupon, PROGRAM)).last_issued == 2


def test_after_a_restart_it_knows_from_sql_what_was_issued(app, client, me):
    coupon, _users = asked(quota=2, people=2)
    line_redis().flushall()
    publishing.publish(coupon)
    refusal = read_refusal(app.config["SECRET_KEY"], late_claim(client, coupon, PROGRAM))
    assert (refusal.last_issued, refusal.last_arrived_ms, refusal.issued, refusal.waiting) == (2, None, 2, 0)
    Line(line_redis(), coupon).end_epoch()
    publishing.publish(coupon)
    assert read_refusal(app.config["SECRET_KEY"], late_claim(client, coupon, PROGRAM)).last_issued == 2


def test_while_a_batch_is_not_settled_the_last_number_is_not_claimed_to_be_known(
    app, client, me, monkeypatch
):
    """SQL is committed and published, and the worker has not told Redis yet who won."""
    coupon = make_coupon(quota=2)
    for user in make_users(3):
        claims.claim(coupon, user)
    with monkeypatch.context() as patched:
        patched.setattr(Line, "settle", lambda *_: 0)
        patched.setattr(Line, "to_standby", lambda *_: 0)
        batch = admission._admit_batch(coupon, Line(line_redis(), coupon))
        assert len(batch.issues) == 2
        publishing.publish(coupon)
    refusal = read_refusal(app.config["SECRET_KEY"], late_claim(client, coupon, PROGRAM))
    assert (refusal.last_issued, refusal.waiting, refusal.before) == (None, None, None)
    assert "Before you" not in visit(client, receipt_address(coupon, refusal)).text
    admission.admit(coupon)
    assert read_refusal(app.config["SECRET_KEY"], late_claim(client, coupon, PROGRAM)).last_issued == 2


def test_it_costs_no_further_round_trip(client, me, monkeypatch):
    coupon, _users = asked(quota=1, people=2)
    sent: list[str] = []
    run = Line._run
    monkeypatch.setattr(Line, "_run", lambda line, name, *args: sent.append(name) or run(line, name, *args))
    late_claim(client, coupon, BROWSER)
    assert sent == ["claim"]


# What becomes of it


WORDS = {
    "sold_out": (
        "마지막 쿠폰이 나간 뒤에 신청이 도착했어요.",
        "Your request arrived after the last coupon had gone.",
    ),
    "closed": ("이벤트가 끝난 뒤에 신청이 도착했어요.", "Your request arrived after this event had ended."),
}


@pytest.mark.parametrize("code", WORDS)
def test_the_page_says_it_and_leads_to_the_receipt_which_leads_to_its_verification(client, me, code):
    coupon = asked(quota=2, people=5)[0] if code == "sold_out" else over()
    text = late_claim(client, coupon, BROWSER)
    link = f'href="/coupons/{coupon}/receipt?refusal={text}"'
    for headers, words in zip((KOREAN, ENGLISH), WORDS[code], strict=True):
        page = visit(client, f"/coupons/{coupon}?notice={code}&refusal={text}", headers=headers).text
        assert words in sentence_of(page)
        assert link in page
        receipt = visit(client, f"/coupons/{coupon}/receipt?refusal={text}", headers=headers)
        assert receipt.status_code == 200
        assert words in sentence_of(receipt.text)
        assert f"{VERIFY}?receipt={text}" in receipt.text
    if code == "sold_out":
        assert row(receipt.text, "Last number issued").startswith("2 · arrived ")
        assert row(receipt.text, "Before you") == "2 got the coupon, 3 more stood in line"
    for name in ("Arrived", {"sold_out": "Sold out", "closed": "Ended"}[code]):
        assert row(receipt.text, name).endswith("KST")
    verified = visit(client, f"{VERIFY}?receipt={text}")
    assert "This receipt is ours, and unaltered." in verified.text
    assert "not the result" not in verified.text
    assert row(verified.text, "Arrived") == row(receipt.text, "Arrived")


def test_a_program_verifies_it_with_no_more_of_the_person_than_two_digits(app, client, me):
    coupon, _users = asked(quota=2, people=5)
    text = late_claim(client, coupon, PROGRAM)
    refusal = read_refusal(app.config["SECRET_KEY"], text)
    anybody = app.test_client()
    answer = post(anybody, VERIFY, PROGRAM, receipt=text).get_json()
    assert answer == {
        "valid": True,
        "refused": "sold_out",
        "coupon_id": coupon,
        "coupon": "Coupon",
        "account": f"••{str(me)[-2:]}",
        "arrived_at_ms": refusal.arrived_ms,
        "ended_at_ms": refusal.ended_ms,
        "last_issued": 2,
        "last_arrived_at_ms": refusal.last_arrived_ms,
        "issued": 2,
        "waiting": 3,
    }


NOT_MINE = [
    other_person,
    other_coupon,
    ticket_receipt,
    lambda client, coupon, text: text[:-1] + ("A" if text[-1] != "A" else "B"),
    lambda client, coupon, text: text.replace("sold_out", "closed"),
    lambda client, coupon, text: text + ".",
    lambda client, coupon, text: "." + text,
    lambda client, coupon, text: "",
    lambda client, coupon, text: "undefined",
    lambda client, coupon, text: "%00" * 10,
    lambda client, coupon, text: "한글." * 400,
    lambda client, coupon, text: "<script>alert(1)</script>",
]


@on_sqlite
@pytest.mark.parametrize("change", NOT_MINE, ids=range(len(NOT_MINE)))
def test_what_is_not_this_visitors_refusal_of_this_coupon_says_nothing(client, me, change):
    coupon, _users = asked(quota=1, people=1)
    text = change(client, coupon, late_claim(client, coupon, PROGRAM))
    page = visit(client, f"/coupons/{coupon}", query_string={"refusal": text})
    receipt = visit(client, f"/coupons/{coupon}/receipt", query_string={"refusal": text})
    assert (page.status_code, receipt.status_code) == (200, 404)
    for answer in (page, receipt):
        assert "after the last coupon had gone" not in answer.text
        assert "data-refusal" not in answer.text
        assert "<script>alert" not in answer.text


def test_without_any_receipt_the_page_still_says_what_happened(client, me):
    coupon, _users = asked(quota=1, people=1)
    answer = visit(client, f"/coupons/{coupon}/receipt")
    assert answer.status_code == 404
    page = sentence_of(answer.text.partition("<main")[2])
    assert "You have no number here" in page
    assert "404" not in page
    assert row(answer.text, "Sold out").endswith("KST")
    assert_refused(visit(client, f"/coupons/{coupon}/receipt", PROGRAM), 404, "no_ticket")


def test_who_signs_in_on_the_way_to_the_receipt_comes_back_to_it(client, me):
    coupon, _users = asked(quota=1, people=1)
    text = late_claim(client, coupon, PROGRAM)
    client.delete_cookie("session")
    answer = visit(client, f"/coupons/{coupon}/receipt?refusal={text}")
    assert (answer.status_code, answer.location) == (
        303,
        f"/login?next=/coupons/{coupon}/receipt?refusal%3D{text}",
    )


def test_coupons_that_came_back_are_offered_and_no_refusal_stands_in_the_way(client, me):
    coupon, _users = asked(quota=1, people=1)
    text = late_claim(client, coupon, PROGRAM)
    coupons.change_coupon(coupon, total_quantity=2)
    page = visit(client, f"/coupons/{coupon}?notice=sold_out&refusal={text}").text
    assert "Get the coupon" in page
    assert "after the last coupon had gone" not in page
    assert visit(client, f"/coupons/{coupon}/receipt?refusal={text}").status_code == 200


@pytest.mark.parametrize("code", ["not_open", "not_found"])
def test_who_is_not_too_late_gets_no_receipt(client, me, code):
    coupon = make_coupon(opens_in=60) if code == "not_open" else 10**9
    answer = client.post(
        f"/coupons/{coupon}/claim", headers={"Accept": PROGRAM, "X-CSRFToken": csrf_token(client)}
    )
    assert answer.get_json()["code"] == code
    assert "receipt" not in answer.get_json()
    with pytest.raises(Refused) as refused:
        claims.claim(coupon, me)
    assert refused.value.refusal is None


@on_sqlite
def test_three_thousand_refusals_take_no_time_to_speak_of(app, me):
    """A bound and no figure: what a refusal adds is a signature and a few words."""
    coupon, _users = asked(quota=1, people=1)
    began = time.perf_counter()
    for user in range(3000):
        with pytest.raises(Refused) as refused:
            claims.claim(coupon, 10_000 + user)
        sign_refusal(KEY, refused.value.refusal)
    assert time.perf_counter() - began < 30


# The signature


REFUSAL = Refusal("sold_out", 3, 12, 1_764_846_000_000, 1_764_846_000_123, 1000, 1_764_845_999_900, 1000, 203)
UNKNOWN = replace(REFUSAL, ended_ms=None, last_issued=None, last_arrived_ms=None, issued=None, waiting=None)


@pytest.mark.parametrize(
    "refusal",
    [REFUSAL, UNKNOWN, replace(REFUSAL, code="closed", ended_ms=0, issued=0, waiting=0)]
    + [replace(REFUSAL, **{each.name: None}) for each in fields(Refusal) if "None" in str(each.type)],
)
def test_a_refusal_reads_back(refusal):
    assert read_refusal(KEY, sign_refusal(KEY, refusal)) == refusal


@pytest.mark.parametrize("name", [each.name for each in fields(Refusal)])
def test_no_fact_can_be_altered(name):
    value = getattr(REFUSAL, name)
    other = replace(REFUSAL, **{name: "closed" if name == "code" else value + 1})
    facts, signature = (
        sign_refusal(KEY, each).rpartition(".")[part] for each, part in ((other, 0), (REFUSAL, 2))
    )
    assert read_refusal(KEY, f"{facts}.{signature}") is None


def test_no_character_can_be_altered_added_or_left_out():
    text = sign_refusal(KEY, REFUSAL)
    for place in range(len(text) + 1):
        head, tail = text[:place], text[place:]
        for character in string.printable:
            assert read_refusal(KEY, head + character + tail) is None
            if tail and character != tail[0]:
                assert read_refusal(KEY, head + character + tail[1:]) is None
        if tail:
            assert read_refusal(KEY, head + tail[1:]) is None


def test_neither_kind_passes_for_the_other():
    assert read(KEY, sign_refusal(KEY, REFUSAL)) is None
    assert read_refusal(KEY, sign(KEY, Receipt(3, 12, 345, 1))) is None
    assert read_refusal("j" * 32, sign_refusal(KEY, REFUSAL)) is None
