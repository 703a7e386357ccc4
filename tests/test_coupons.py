"""The list of coupons and the one page of every state: what they are given, and that they open."""

from datetime import timedelta

import pytest
from sqlalchemy import delete, update

from tests.builders import make_coupon, make_user, sign_in
from tests.visits import PROGRAM, assert_refused, context_of, nothing_changes, page_token, post, visit
from webapp import issuing
from webapp.codes import grouped
from webapp.extensions import db, line_redis
from webapp.models import CLOSED, DRAFT, LIVE, PAUSED, Coupon, User, utcnow
from webapp.policy import change_coupon
from webapp.receipts import Receipt, read

DAY = 24 * 3600
GROUPS = ("open", "coming", "ended")

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def listed(client) -> dict[str, list[int]]:
    context = context_of(client, "/")
    return {group: [offer.id for offer in context[group]] for group in GROUPS}


def page_of(client, coupon_id: int, query: str = "") -> dict:
    return context_of(client, f"/coupons/{coupon_id}{query}")


def give_out(coupon_id: int, count: int = 1) -> list[int]:
    users = [make_user().id for _ in range(count)]
    for user in users:
        issuing.claim(coupon_id, user)
    issuing.admit(coupon_id)
    return users


# The list


def test_the_list_is_in_three_groups(client):
    coming = make_coupon(opens_in=60)
    open_now = make_coupon(quota=None)
    paused = make_coupon(status=PAUSED)
    ended = make_coupon(opens_in=-7200, closes_in=-3600)
    sold_out = make_coupon(quota=1)
    give_out(sold_out)
    closed = make_coupon()
    change_coupon(closed, status=CLOSED)
    found = listed(client)
    assert sorted(found["open"]) == [open_now, paused]
    assert found["coming"] == [coming]
    assert sorted(found["ended"]) == [ended, sold_out, closed]


def test_drafts_rehearsals_and_old_coupons_are_not_listed(client):
    make_coupon(status=DRAFT)
    make_coupon(rehearsal=True)
    make_coupon(opens_in=-32 * DAY, closes_in=-31 * DAY)
    kept = make_coupon(opens_in=-30 * DAY, closes_in=-29 * DAY)
    assert listed(client) == {"open": [], "coming": [], "ended": [kept]}


def test_an_empty_list_opens(client):
    assert listed(client) == {"open": [], "coming": [], "ended": []}


def test_the_list_shows_what_is_left_and_escapes_titles(client):
    coupon = make_coupon(quota=1200, title="<i>치킨</i> 🍗")
    give_out(coupon, 3)
    (offer,) = context_of(client, "/")["open"]
    assert (offer.total_quantity, offer.left) == (1200, 1197)
    assert "&lt;i&gt;치킨&lt;/i&gt; 🍗" in visit(client, "/").text


def test_the_list_needs_no_redis(client):
    coupon = make_coupon()
    line_redis().flushall()
    assert listed(client)["open"] == [coupon]
    assert line_redis().keys() == []


# One coupon


def test_anonymous(client):
    context = page_of(client, coupon := make_coupon())
    assert (context["offer"].id, context["serving"].state) == (coupon, "open")
    assert (context["ticket"], context["receipt"], context["notice"]) == (None, None, None)
    assert f"/login?next=/coupons/{coupon}" in visit(client, f"/coupons/{coupon}").text.replace("%2F", "/")


def test_scheduled(client):
    coupon = make_coupon(opens_in=60, discount_amount=5000, min_available_amount=20_000)
    context = page_of(client, coupon)
    offer = context["offer"]
    assert (offer.state, offer.discount_amount, offer.min_available_amount) == ("scheduled", 5000, 20_000)
    assert offer.opens_at - utcnow() < timedelta(seconds=60) < offer.closes_at - utcnow()
    assert (context["poll"], context["refresh_s"]) == (True, 30)


def test_open_then_waiting_then_issued(app, client):
    coupon, user = make_coupon(quota=3), make_user()
    give_out(coupon, 1)
    sign_in(client, user)
    assert page_of(client, coupon)["ticket"].state == "none"
    issuing.claim(coupon, user.id)
    context = page_of(client, coupon)
    assert (context["ticket"].state, context["ticket"].number, context["ticket"].ahead) == ("waiting", 2, 0)
    assert read(app.config["SECRET_KEY"], context["receipt"]) == Receipt(coupon, user.id, 2, 1)
    assert context["offer"].left == 2
    assert context["poll"]
    issuing.admit(coupon)
    context = page_of(client, coupon)
    assert (context["ticket"].state, context["poll"], context["refresh_s"]) == ("issued", False, None)
    assert grouped(context["ticket"].code) in visit(client, f"/coupons/{coupon}").text


def test_sold_out_without_a_ticket(client):
    coupon = make_coupon(quota=1)
    give_out(coupon)
    sign_in(client, make_user())
    context = page_of(client, coupon)
    assert (context["serving"].state, context["ticket"].state, context["offer"].left) == (
        "sold_out",
        "none",
        0,
    )
    assert context["serving"].sold_out_at_ms is not None
    assert context["poll"], "coupons may come back"


def test_missed(client):
    coupon, user = make_coupon(quota=2), make_user()
    give_out(coupon, 1)
    issuing.claim(coupon, make_user().id)
    issuing.claim(coupon, user.id)
    issuing.admit(coupon)
    sign_in(client, user)
    context = page_of(client, coupon)
    assert (context["ticket"].state, context["ticket"].number, context["serving"].serving) == (
        "sold_out",
        3,
        2,
    )
    change_coupon(coupon, total_quantity=3)
    issuing.admit(coupon)
    assert page_of(client, coupon)["ticket"].state == "issued"


def test_paused_keeps_the_ticket(client):
    coupon, user = make_coupon(), make_user()
    sign_in(client, user)
    issuing.claim(coupon, user.id)
    change_coupon(coupon, status=PAUSED)
    context = page_of(client, coupon)
    assert (context["offer"].state, context["ticket"].state, context["ticket"].number) == (
        "paused",
        "waiting",
        1,
    )
    assert context["poll"]


def test_closed_waits_on_for_whoever_has_a_ticket(client):
    coupon, user = make_coupon(), make_user()
    sign_in(client, user)
    issuing.claim(coupon, user.id)
    change_coupon(coupon, status=CLOSED)
    assert page_of(client, coupon)["poll"]
    assert not page_of(client.application.test_client(), coupon)["poll"]


@pytest.mark.parametrize("fate", ["blocked", "deleted"])
def test_rejected(client, fate):
    coupon, user = make_coupon(), make_user()
    sign_in(client, user)
    issuing.claim(coupon, user.id)
    change = update(User).values(blocked_at=utcnow()) if fate == "blocked" else delete(User)
    db.session.execute(change.where(User.id == user.id))
    db.session.commit()
    issuing.admit(coupon)
    context = page_of(client, coupon)
    assert (context["ticket"].state, context["ticket"].reason, context["poll"]) == ("rejected", fate, False)


@on_sqlite
def test_only_our_own_notices_are_shown(client):
    coupon = make_coupon()
    for notice in ("not_open", "already", "bad_csrf"):
        assert page_of(client, coupon, f"?notice={notice}")["notice"] == notice
    for query in (
        "",
        "?notice=",
        "?notice=busy",
        "?notice=<script>",
        "?notice=%ff%00",
        "?notice=x&notice=already",
    ):
        assert page_of(client, coupon, query)["notice"] is None


def test_looking_changes_nothing(client):
    coupon, user = make_coupon(), make_user()
    sign_in(client, user)
    issuing.claim(coupon, user.id)
    with nothing_changes():
        page_of(client, coupon)
        context_of(client, "/")
        visit(client, f"/coupons/{coupon}", PROGRAM)


def test_a_page_brings_back_the_line_that_redis_lost(client):
    coupon = make_coupon()
    line_redis().flushall()
    assert page_of(client, coupon)["serving"].epoch == 2
    db.session.rollback()
    assert db.session.get_one(Coupon, coupon).epoch == 2


def test_a_draft_is_shown_to_nobody_until_it_is_published(client):
    coupon = make_coupon(status=DRAFT)
    assert_refused(visit(client, f"/coupons/{coupon}"), 404, "not_found")
    change_coupon(coupon, status=LIVE)
    assert page_of(client, coupon)["offer"].state == "open"


def test_the_token_of_the_page_claims(client):
    coupon = make_coupon()
    sign_in(client, make_user())
    token = page_token(client, f"/coupons/{coupon}")
    assert post(client, f"/coupons/{coupon}/claim", token=token).status_code == 303
    assert page_of(client, coupon)["ticket"].state == "waiting"


# The language


@on_sqlite
@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("en", "en"),
        ("ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("en-GB", "en"),
        ("fr", "ko"),
        ("", "ko"),
        (";;q=\xff,*", "ko"),
    ],
)
def test_the_language_that_the_browser_asks_for(client, header, language):
    page = client.get("/", headers={"Accept-Language": header}).text
    assert f'<html lang="{language}"' in page


def test_a_chosen_language_stays(client):
    answer = client.get("/language/en?next=/login")
    assert (answer.status_code, answer.location) == (303, "/login")
    assert '<html lang="en"' in client.get("/", headers={"Accept-Language": "ko"}).text
    client.get("/language/ko")
    assert '<html lang="ko"' in visit(client, "/").text


@on_sqlite
@pytest.mark.parametrize("code", ["fr", "..", "%00", "EN"])
def test_an_unknown_language_is_nothing(client, code):
    assert client.get(f"/language/{code}").status_code == 404
