"""The list of coupons and the one page of every state: what they are given, and that they open."""

from datetime import timedelta

import pytest
from sqlalchemy import delete, event, update

from tests.builders import make_coupon, make_user, sign_in
from tests.conftest import on_sqlite
from tests.visits import PROGRAM, assert_refused, context_of, nothing_changes, page_token, post, visit
from webapp.accounts.sessions import ended_sessions
from webapp.models import CLOSED, DRAFT, LIVE, PAUSED, Coupon, CouponIssue, User, utcnow
from webapp.sale import admission, claims
from webapp.sale.codes import grouped
from webapp.sale.coupons import change_coupon
from webapp.sale.receipts import Receipt, read
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.web.pages.coupons import MOST_SHOWN

DAY = 24 * 3600
GROUPS = ("open", "coming", "ended")


def listed(client) -> dict[str, list[int]]:
    context = context_of(client, "/")
    return {group: [offer.id for offer in context[group]] for group in GROUPS}


def page_of(client, coupon_id: int, query: str = "") -> dict:
    return context_of(client, f"/coupons/{coupon_id}{query}")


def give_out(coupon_id: int, count: int = 1) -> list[int]:
    users = [make_user().id for _ in range(count)]
    for user in users:
        claims.claim(coupon_id, user)
    admission.admit(coupon_id)
    return users


def table(*rows: tuple[str, dict]) -> dict[str, int]:
    """Create coupons in an order that is none of the list's, and return their ids by name."""
    return {
        name: make_coupon(title=name, **fields) for name, fields in sorted(rows, key=lambda row: row[0][::-1])
    }


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


HOUR = 3600


def test_the_order_of_the_list(client):
    ids = table(
        ("ends in an hour", {"opens_in": -9 * DAY, "closes_in": HOUR}),
        ("ends in two hours", {"opens_in": -60, "closes_in": 2 * HOUR}),
        ("ends in a year", {"opens_in": -1, "closes_in": 365 * DAY, "quota": None}),
        ("paused, ends in three", {"closes_in": 3 * HOUR, "status": PAUSED}),
        ("opens in a minute", {"opens_in": 60, "closes_in": DAY}),
        ("opens in an hour", {"opens_in": HOUR, "closes_in": 2 * HOUR}),
        ("opens next month", {"opens_in": 30 * DAY, "closes_in": 31 * DAY, "status": PAUSED}),
        ("ended an hour ago", {"opens_in": -DAY, "closes_in": -HOUR}),
        ("ended yesterday", {"opens_in": -2 * DAY, "closes_in": -DAY}),
        ("began last, ended first", {"opens_in": -2 * DAY + 1, "closes_in": -2 * DAY + 2, "status": PAUSED}),
        ("gone, for an hour more", {"quota": 0, "closes_in": HOUR}),
        ("gone and over", {"quota": 0, "opens_in": -2 * DAY, "closes_in": -2 * HOUR}),
        ("closed before the start", {"opens_in": HOUR, "closes_in": 2 * HOUR, "status": CLOSED}),
    )
    found = {
        group: [name for each in ids_of for name in ids if ids[name] == each]
        for group, ids_of in listed(client).items()
    }
    assert found == {
        "open": ["ends in an hour", "ends in two hours", "paused, ends in three", "ends in a year"],
        "coming": ["opens in a minute", "opens in an hour", "opens next month"],
        "ended": [
            "closed before the start",
            "gone, for an hour more",
            "ended an hour ago",
            "gone and over",
            "ended yesterday",
            "began last, ended first",
        ],
    }


@pytest.mark.parametrize("group", ["open", "coming", "ended"])
def test_of_the_same_time_the_latest_is_first(client, group):
    now = utcnow()
    opens, closes = {"open": (-1, 1), "coming": (1, 2), "ended": (-2, -1)}[group]
    period = {"issue_start_at": now + timedelta(hours=opens), "issue_end_at": now + timedelta(hours=closes)}
    ids = [make_coupon(**period) for _ in range(4)]
    assert listed(client)[group] == ids[::-1]


@on_sqlite
@pytest.mark.parametrize(
    "others",
    [{"opens_in": DAY, "closes_in": 2 * DAY}, {"opens_in": -DAY, "closes_in": -1}, {"quota": 0}, {}],
    ids=["coming", "ended", "gone", "open"],
)
def test_nothing_open_ever_falls_off_the_list(client, others, monkeypatch):
    """The oldest open coupon of all, and more than a hundred others that began later."""
    kept = make_coupon(opens_in=-300 * DAY, closes_in=300 * DAY)
    now = utcnow()
    fields = {"opens_in": -60, "closes_in": HOUR, "quota": 5} | others
    for number in range(MOST_SHOWN + 1):
        row = {
            "title": f"Coupon {number}",
            "total_quantity": fields["quota"],
            "issue_start_at": now + timedelta(seconds=fields["opens_in"]),
            "issue_end_at": now + timedelta(seconds=fields["closes_in"]),
        }
        db.session.add(Coupon(**row))
    db.session.commit()
    found = listed(client)
    assert kept in found["open"]
    assert len(found["open"]) == (MOST_SHOWN + 2 if not others else 1)
    assert sum(map(len, found.values())) == (MOST_SHOWN + 2 if not others else MOST_SHOWN + 1)


def test_what_opens_while_the_list_is_read_is_on_it_once(client, monkeypatch):
    """Each group is one statement: a quota is raised between the ended and the open ones."""
    coupon, raised = make_coupon(quota=0), []

    def raise_the_quota(*args: object) -> None:
        if "LIMIT" in str(args[2]) and not raised:
            raised.append(coupon)
            with db.engine.begin() as connection:
                connection.execute(update(Coupon).values(total_quantity=7))

    event.listen(db.engine, "after_cursor_execute", raise_the_quota)
    context = context_of(client, "/")
    event.remove(db.engine, "after_cursor_execute", raise_the_quota)
    assert raised
    assert [(offer.id, offer.state, offer.left) for offer in context["open"]] == [(coupon, "open", 7)]
    assert context["ended"] == []


def test_a_coupon_that_was_closed_before_its_end_did_not_end_at_its_end(client):
    make_coupon(status=CLOSED, closes_in=DAY)
    assert "Ended <time" not in visit(client, "/").text
    make_coupon(opens_in=-2, closes_in=-1)
    assert "Ended <time" in visit(client, "/").text


MARKS = {
    "usable": ({}, "이미 받은 쿠폰이에요", "You already have this coupon"),
    "used": ({"used_at": utcnow()}, "이미 사용한 쿠폰이에요", "This coupon was used"),
    "expired": ({}, "기한이 지난 쿠폰이에요", "This coupon has expired"),
}


@pytest.mark.parametrize("state", MARKS)
def test_the_list_marks_what_i_have_for_me_alone(client, state):
    fields, *words = MARKS[state]
    coupon, others, me = make_coupon(quota=9), make_coupon(), make_user()
    for each, user in ((coupon, me.id), (others, make_user().id)):
        claims.claim(each, user)
        admission.admit(each)
    with db.engine.begin() as connection:
        if fields:
            connection.execute(update(CouponIssue).values(**fields))
        if state == "expired":
            connection.execute(update(Coupon).values(valid_until=utcnow() - timedelta(seconds=1)))
    sign_in(client, me)
    for language, said in zip(("ko", "en"), words, strict=True):
        page = visit(client, "/", headers={"Accept-Language": language}).text
        assert page.count(said) == 1
        assert page.index(said) > page.index(f"/coupons/{coupon}")
    assert context_of(client, "/")["mine"].keys() == {coupon}
    sign_in(client, make_user())
    assert context_of(client, "/")["mine"] == {}
    client.delete_cookie("session")
    assert context_of(client, "/")["mine"] == {}


def test_the_list_asks_sql_once_for_each_group_and_once_for_what_i_have(client):
    for _ in range(5):
        make_coupon()
    sign_in(client, make_user())
    ended_sessions().has_ended(0, 0)  # what a process knows of them is read by now
    statements: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    visit(client, "/")
    assert len(statements) == 4
    statements.clear()
    client.delete_cookie("session")
    visit(client, "/")
    assert len(statements) == 3


# One coupon


def test_anonymous(client):
    context = page_of(client, coupon := make_coupon())
    assert (context["offer"].id, context["line"].state) == (coupon, "open")
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
    claims.claim(coupon, user.id)
    context = page_of(client, coupon)
    assert (context["ticket"].state, context["ticket"].number, context["ticket"].ahead) == ("waiting", 2, 0)
    assert read(app.config["SECRET_KEY"], context["receipt"]) == Receipt(coupon, user.id, 2, 1)
    assert context["offer"].left == 2
    assert context["poll"]
    admission.admit(coupon)
    context = page_of(client, coupon)
    assert (context["ticket"].state, context["poll"], context["refresh_s"]) == ("issued", False, None)
    assert grouped(context["ticket"].code) in visit(client, f"/coupons/{coupon}").text


def test_sold_out_without_a_ticket(client):
    coupon = make_coupon(quota=1)
    give_out(coupon)
    sign_in(client, make_user())
    context = page_of(client, coupon)
    assert (context["line"].state, context["ticket"].state, context["offer"].left) == (
        "sold_out",
        "none",
        0,
    )
    assert context["line"].sold_out_at_ms is not None
    assert context["poll"], "coupons may come back"


def test_missed(client):
    coupon, user = make_coupon(quota=2), make_user()
    give_out(coupon, 1)
    claims.claim(coupon, make_user().id)
    claims.claim(coupon, user.id)
    admission.admit(coupon)
    sign_in(client, user)
    context = page_of(client, coupon)
    assert (context["ticket"].state, context["ticket"].number, context["line"].now_serving) == (
        "sold_out",
        3,
        2,
    )
    change_coupon(coupon, total_quantity=3)
    admission.admit(coupon)
    assert page_of(client, coupon)["ticket"].state == "issued"


def test_paused_keeps_the_ticket(client):
    coupon, user = make_coupon(), make_user()
    sign_in(client, user)
    claims.claim(coupon, user.id)
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
    claims.claim(coupon, user.id)
    change_coupon(coupon, status=CLOSED)
    assert page_of(client, coupon)["poll"]
    assert not page_of(client.application.test_client(), coupon)["poll"]


@pytest.mark.parametrize("fate", ["blocked", "deleted"])
def test_rejected(client, fate):
    coupon, user = make_coupon(), make_user()
    sign_in(client, user)
    claims.claim(coupon, user.id)
    change = update(User).values(blocked_at=utcnow()) if fate == "blocked" else delete(User)
    db.session.execute(change.where(User.id == user.id))
    db.session.commit()
    admission.admit(coupon)
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
    claims.claim(coupon, user.id)
    with nothing_changes():
        page_of(client, coupon)
        context_of(client, "/")
        visit(client, f"/coupons/{coupon}", PROGRAM)


def test_a_page_brings_back_the_line_that_redis_lost(client):
    coupon = make_coupon()
    line_redis().flushall()
    assert page_of(client, coupon)["line"].epoch == 2
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
