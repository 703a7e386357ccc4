"""The receipt's page for winners and losers, and the page that verifies a receipt for anybody."""

import string
from datetime import datetime, timedelta

import pytest
from flask_babel import force_locale
from sqlalchemy import select, update

from tests.builders import make_coupon, make_user, make_users, sign_in
from tests.conftest import on_sqlite
from tests.visits import (
    BROWSER,
    PROGRAM,
    assert_refused,
    both,
    context_of,
    nothing_changes,
    page_token,
    post,
    sentence_of,
    visit,
)
from webapp.line.keys import BUCKET_MS
from webapp.line.line import Line
from webapp.models import Coupon, CouponIssue, User, utcnow
from webapp.sale import admission, claims, coupons, epochs, publishing
from webapp.sale.receipts import Receipt, read, sign
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.values.moments import SEOUL
from webapp.web.presenting import exact, moment

KOREAN = {"Accept-Language": "ko"}
VERIFY = "/receipts/verify"

WHY = {
    "issued": ("쿠폰을 받았어요.", "You got the coupon."),
    "sold_out": (
        "차례가 오기 전에 쿠폰이 모두 나갔어요.",
        "All coupons were gone before your number came up.",
    ),
    "waiting": ("아직 차례가 오지 않았어요. 앞에 2명", "Your number has not come up yet. 2 ahead"),
    "rejected": ("이용이 제한된 계정이에요.", "This account is blocked."),
}
each_state = pytest.mark.parametrize("state", WHY)


@pytest.fixture
def asked(client):
    """Have three people ask for a coupon, the client last, who ends in the state; return the coupon's id."""

    def asked(state: str) -> int:
        coupon, me = make_coupon(quota=1 if state == "sold_out" else 1234, title="치킨 <b>"), make_user()
        for user in (*make_users(2), me.id):
            claims.claim(coupon, user)
        sign_in(client, me)
        if state == "rejected":
            db.session.execute(update(User).where(User.id == me.id).values(blocked_at=utcnow()))
            db.session.commit()
        if state != "waiting":
            admission.admit(coupon)
        return coupon

    return asked


def receipt_page(coupon_id: int) -> str:
    return f"/coupons/{coupon_id}/receipt"


def row(page: str, name: str) -> str:
    """Return what stands beside a name in the list of facts."""
    return sentence_of(page.partition(f"<dt>{name}</dt>")[2].partition("</div>")[0])


def shown(moment: datetime) -> str:
    return exact(moment).striptags()


def checked(client, text: str) -> dict:
    """Ask as a program does, both ways, and return the one answer."""
    answer = visit(client, VERIFY, PROGRAM, query_string={"receipt": text})
    assert answer.status_code == 200
    assert post(client, VERIFY, PROGRAM, receipt=text).get_json() == answer.get_json()
    return answer.get_json()


@pytest.fixture
def receipt(client, asked) -> str:
    return context_of(client, receipt_page(asked("sold_out")))["receipt"]


# The own receipt


@each_state
def test_the_receipt_says_how_it_was_decided_in_both_languages(client, asked, state):
    coupon = asked(state)
    for headers, text in zip((KOREAN, {"Accept-Language": "en"}), WHY[state], strict=True):
        answer = visit(client, receipt_page(coupon), headers=headers)
        assert answer.status_code == 200
        assert text in sentence_of(answer.text)
        assert "치킨 &lt;b&gt;" in answer.text
    assert visit(client, receipt_page(coupon), headers=KOREAN).text.count("내 순번") == 1


@each_state
def test_the_receipt_tells_what_a_loser_and_a_winner_can_compare(app, client, asked, state):
    before = utcnow()
    coupon = asked(state)
    page = visit(client, receipt_page(coupon)).text
    context = context_of(client, receipt_page(coupon))
    assert before - timedelta(milliseconds=BUCKET_MS) < moment(context["arrived_ms"]) <= utcnow()
    assert row(page, "Your number") == "3"
    last = {"issued": "3", "sold_out": "1", "waiting": "None yet", "rejected": "2"}[state]
    assert row(page, "Last number issued").partition(" · arrived ")[0] == last
    assert row(page, "Quantity") == ("1" if state == "sold_out" else "1,234")
    assert row(page, "People who asked") == "3"
    assert ("Sold out" in page) == (state == "sold_out")
    receipt = read(app.config["SECRET_KEY"], context["receipt"])
    assert (receipt.coupon_id, receipt.number, receipt.epoch) == (coupon, 3, 1)
    assert f"{VERIFY}?receipt={context['receipt']}" in page


def test_the_time_of_issue_is_that_of_sql(client, asked):
    coupon = asked("issued")
    page = visit(client, receipt_page(coupon)).text
    issued_at = db.session.scalars(select(CouponIssue.issued_at).order_by(CouponIssue.id.desc())).first()
    tenths = issued_at.astimezone(SEOUL).strftime("%H:%M:%S.%f")[:10]
    assert row(page, "Issued").endswith(f"{tenths} KST")
    assert "Issued<" not in visit(client, receipt_page(asked("sold_out"))).text


def test_a_loser_sees_when_the_last_winner_came(client, asked):
    coupon = asked("sold_out")
    line = Line(line_redis(), coupon)
    bucket = context_of(client, receipt_page(coupon))["arrived_ms"] // BUCKET_MS
    line.redis.delete(line.arrivals_key)
    line.redis.zadd(line.arrivals_key, {str(bucket - 7): 1, str(bucket + 3): 3})
    page = visit(client, receipt_page(coupon)).text
    first, mine = (line.arrival(number) for number in (1, 3))
    assert mine - first == 10 * BUCKET_MS
    with force_locale("en"):
        assert row(page, "Last number issued") == f"1 · arrived {shown(moment(first))}"
        assert row(page, "Arrived") == shown(moment(mine))


def test_a_receipt_carries_no_code(client, asked):
    coupon = asked("issued")
    code = claims.standing(coupon, db.session.scalars(select(User.id).order_by(User.id.desc())).first()).code
    page = visit(client, receipt_page(coupon)).text
    assert code not in page.replace("-", "")


def test_an_unlimited_coupon_has_a_receipt(client):
    coupon, me = make_coupon(quota=None), make_user()
    sign_in(client, me)
    claims.claim(coupon, me.id)
    assert row(visit(client, receipt_page(coupon)).text, "Quantity") == "Unlimited"


def test_lost_times_of_arrival_are_told(client, asked):
    coupon = asked("sold_out")
    line_redis().delete(Line(line_redis(), coupon).arrivals_key)
    assert "the times of arrival were lost" in row(visit(client, receipt_page(coupon)).text, "Arrived")
    korean = visit(client, receipt_page(coupon), headers=KOREAN).text
    assert "도착 시각 기록이 사라져서 알 수 없어요" in row(korean, "도착 시각")


def test_after_a_restart_the_number_and_its_time_stand_and_no_count_is_made_up(client, asked):
    coupon = asked("sold_out")
    arrived_ms = context_of(client, receipt_page(coupon))["arrived_ms"]
    Line(line_redis(), coupon).end_epoch()
    publishing.publish(coupon)
    page = visit(client, receipt_page(coupon)).text
    assert row(page, "Your number") == "3"
    assert "The line was restarted after you came" in page
    assert "People who asked" not in page
    assert context_of(client, receipt_page(coupon))["arrived_ms"] == arrived_ms


def test_a_place_that_was_found_again_too_late_says_so(client, monkeypatch):
    monkeypatch.setattr(epochs, "GRACE_MS", 0)
    coupon, me = make_coupon(quota=1), make_user()
    sign_in(client, me)
    ticket = claims.claim(coupon, me.id)
    line_redis().flushall()
    claims.claim(coupon, make_user().id)
    admission.admit(coupon)
    claims.restore(coupon, me.id, number=ticket.number, epoch=ticket.epoch)
    page = visit(client, receipt_page(coupon)).text
    assert "found again only after all coupons were gone" in page
    assert "before your number came up" not in page
    assert "the times of arrival were lost" in row(page, "Arrived")


@both
def test_without_a_ticket_there_is_no_receipt(client, accept, asked):
    coupon = asked("sold_out")
    sign_in(client, make_user())
    answer = visit(client, receipt_page(coupon), accept)
    assert_refused(answer, 404, "no_ticket")
    assert "no request of yours got a number" in answer.text


@both
def test_there_is_no_receipt_of_nothing(client, accept):
    sign_in(client, make_user())
    draft = make_coupon(status="draft")
    for coupon in (draft, draft + 1):
        assert_refused(visit(client, receipt_page(coupon), accept), 404, "not_found")
    assert_refused(visit(client, "/coupons/0/receipt", accept), 404, "not_found")


def test_a_receipt_is_for_people_who_are_signed_in(client):
    coupon = make_coupon()
    answer = visit(client, receipt_page(coupon))
    assert (answer.status_code, answer.location) == (303, f"/login?next=/coupons/{coupon}/receipt")
    assert_refused(visit(client, receipt_page(coupon), PROGRAM), 401, "unauthenticated")


def test_looking_changes_nothing(client, asked):
    coupon = asked("sold_out")
    receipt = context_of(client, receipt_page(coupon))["receipt"]
    with nothing_changes():
        visit(client, receipt_page(coupon))
        post(client, VERIFY, receipt=receipt)


@each_state
def test_the_coupons_page_leads_to_the_receipt(client, asked, state):
    coupon = asked(state)
    link = f'href="{receipt_page(coupon)}"'
    assert visit(client, f"/coupons/{coupon}").text.count(link) == 1
    sign_in(client, make_user())
    assert link not in visit(client, f"/coupons/{coupon}").text


@on_sqlite
def test_exact_times_are_korean_and_rounded_down_to_a_tenth(app):
    with force_locale("ko"):
        for tenth in range(10):
            at = datetime(2026, 12, 4, 23, 59, 59, tenth * 100_000 + 99_999, SEOUL)
            assert shown(at) == f"2026년 12월 4일 (금) 23:59:59.{tenth} KST"
    with force_locale("en"):
        assert shown(at) == "Dec 4, 2026 (Fri), 23:59:59.9 KST"


# Verifying


def test_a_receipt_of_ours_is_verified_for_anybody(app, receipt):
    anybody = app.test_client()
    coupon = db.session.scalars(select(Coupon)).one()
    arrived_ms = claims.arrival(coupon.id, 3)
    user_id = receipt.split(".")[1]
    assert checked(anybody, receipt) == {
        "valid": True,
        "coupon_id": coupon.id,
        "coupon": "치킨 <b>",
        "number": 3,
        "epoch": 1,
        "account": f"••{user_id[-2:]}",
        "arrived_at_ms": arrived_ms,
    }


def test_the_page_says_it_in_both_languages(app, receipt):
    anybody = app.test_client()
    for page in (
        visit(anybody, f"{VERIFY}?receipt={receipt}").text,
        post(anybody, VERIFY, receipt=receipt).text,
    ):
        assert "This receipt is ours, and unaltered." in page
        assert row(page, "Coupon") == "치킨 <b>"
        assert row(page, "Number") == "3"
        assert "not the result" in page
    korean = visit(anybody, f"{VERIFY}?receipt={receipt}", headers=KOREAN).text
    assert "저희가 서명한 접수증이 맞고, 바뀐 곳이 없어요." in korean
    assert "결과를 증명하지는 않아요" in korean


def test_verifying_tells_nothing_of_the_person(app):
    coupon, anybody = make_coupon(), app.test_client()
    me = make_user("somebody@example.com", name="민지", id=987_654)
    ticket = claims.claim(coupon, me.id)
    admission.admit(coupon)
    text = sign(app.config["SECRET_KEY"], Receipt(coupon, me.id, ticket.number, ticket.epoch))
    page = visit(anybody, VERIFY, query_string={"receipt": text}).text.replace(text, "")
    answer = str(checked(anybody, text))
    for shown in (page, answer):
        assert "••54" in shown
        for secret in ("somebody", "민지", "987", claims.standing(coupon, me.id).code):
            assert secret not in shown


@on_sqlite
def test_every_single_altered_character_fails(client, receipt):
    for place, right in enumerate(receipt):
        wrong = next(character for character in "1A0" if character != right)
        page = visit(client, VERIFY, query_string={"receipt": receipt[:place] + wrong + receipt[place + 1 :]})
        assert (page.status_code, "This is no receipt of ours" in page.text) == (200, True), place
        assert "unaltered" not in page.text
    assert checked(client, receipt)["valid"]


@on_sqlite
def test_no_character_can_be_altered_added_or_left_out(app, receipt):
    key = app.config["SECRET_KEY"]
    for place in range(len(receipt) + 1):
        head, tail = receipt[:place], receipt[place:]
        for character in string.printable:
            assert read(key, head + character + tail) is None
            if tail and character != tail[0]:
                assert read(key, head + character + tail[1:]) is None
        if tail:
            assert read(key, head + tail[1:]) is None


def test_a_receipt_of_another_coupon_is_told_by_its_own_title_and_cannot_be_moved(client, receipt):
    other, me = make_coupon(title="피자"), make_user()
    sign_in(client, me)
    claims.claim(other, me.id)
    theirs = context_of(client, receipt_page(other))["receipt"]
    assert checked(client, theirs)["coupon"] == "피자"
    assert checked(client, f"{other}.{receipt.partition('.')[2]}") == {"valid": False}


STRANGE = [
    ".",
    "....",
    "1.2.3.4.",
    "1.2.3.4.5",
    "\x00\x01\x02",
    "한글.한글",
    "🎟" * 50,
    "<script>alert(1)</script>",
    "9" * 2000,
    "1." * 1000,
]


@on_sqlite
@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
def test_anything_else_gets_a_plain_answer(client, text):
    assert checked(client, text) == {"valid": False}
    for answer in (visit(client, VERIFY, query_string={"receipt": text}), post(client, VERIFY, receipt=text)):
        assert answer.status_code == 200
        assert "This is no receipt of ours, or it was altered." in answer.text
        assert "<script>alert" not in answer.text
        assert len(answer.data) < 10_000


@on_sqlite
def test_bytes_that_are_no_text_get_a_plain_answer(client):
    assert visit(client, f"{VERIFY}?receipt=%ff%fe%00", PROGRAM).get_json() == {"valid": False}
    body = {"csrf_token": page_token(client, VERIFY), "receipt": (b"\xff\x00" * 50).decode("latin-1")}
    assert client.post(VERIFY, data=body).status_code == 200
    raw = f"csrf_token={body['csrf_token']}&receipt=".encode() + b"\xff\xfe\x80"
    headers = {"Accept": BROWSER, "Content-Type": "application/x-www-form-urlencoded"}
    assert_refused(client.post(VERIFY, data=raw, headers=headers), 400, "bad_csrf")


@on_sqlite
def test_nothing_pasted_is_asked_for_again(client):
    for answer in (
        visit(client, VERIFY),
        visit(client, f"{VERIFY}?receipt="),
        post(client, VERIFY, receipt=" "),
    ):
        assert answer.status_code == 200
        assert "no receipt of ours" not in answer.text
        assert '<input id="receipt" name="receipt" value=""' in answer.text
    assert visit(client, VERIFY, PROGRAM).get_json() == {"valid": False}


@on_sqlite
def test_a_form_needs_its_token_and_a_book_is_too_large(client):
    for accept in (BROWSER, PROGRAM):
        assert_refused(post(client, VERIFY, accept, token="", receipt="x"), 400, "bad_csrf")
    assert post(client, VERIFY, receipt="x" * 70_000).status_code == 413


@on_sqlite
def test_line_breaks_of_a_mail_do_no_harm(client, receipt):
    assert checked(client, f"  {receipt[:20]}\r\n {receipt[20:]}\n")["valid"]


def test_a_receipt_outlives_its_coupon(app, client):
    text = sign(app.config["SECRET_KEY"], Receipt(coupon_id=4711, user_id=7, number=12_345, epoch=2))
    found = checked(client, text)
    assert (found["valid"], found["coupon"], found["arrived_at_ms"], found["account"]) == (
        True,
        None,
        None,
        "••7",
    )
    page = visit(client, f"{VERIFY}?receipt={text}").text
    assert row(page, "Coupon") == "A coupon that does not exist any more"
    assert row(page, "Number") == "12,345"


def test_a_change_of_quota_after_the_drop_is_told_as_it_is_now(client, asked):
    coupon = asked("sold_out")
    coupons.change_coupon(coupon, total_quantity=3)
    admission.admit(coupon)
    page = visit(client, receipt_page(coupon)).text
    assert "You got the coupon." in page
    assert row(page, "Quantity") == "3"
    assert row(page, "Last number issued").startswith("3 · ")
