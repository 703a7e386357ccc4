"""What an open page says while it waits: how many are ahead, how long, and that it asks as it is told."""

import re
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import update

from tests.browser.pages import heading, mislead, next_poll, offer, on_sqlite, paused, stop_clock
from tests.browser.test_resilience import forget, polls, stand_in_line
from tests.builders import make_user
from webapp.line.line import Line
from webapp.models import CLOSED, LIVE, PAUSED, Coupon, utcnow
from webapp.sale import claims, publishing
from webapp.sale.coupons import change_coupon
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

pytestmark = on_sqlite
ISSUED = "축하해요! 쿠폰을 받았어요"
PRESCRIBED_MS = 7000


def stand_behind(page: Page, user: int, many: int) -> int:
    """Return a coupon in whose line the user waits behind so many others, who are only numbers, with the page open."""
    coupon = offer(status=PAUSED, quota=None)
    claims.line_status(coupon)
    line = Line(line_redis(), coupon)
    if many:
        line_redis().zadd(line.line_key, {f"other {number}": number for number in range(1, many + 1)})
        line_redis().hset(line.gate_key, "last", many)
    claims.claim(coupon, user)
    page.goto(f"/coupons/{coupon}")
    heading(page, re.compile(rf"{many + 1:,}\s*번"))
    return coupon


def facts(page: Page) -> dict[str, str]:
    return page.evaluate("() => ({ ...document.getElementById('coupon').dataset })")


def tell(page: Page, address: str, **said: Any) -> None:
    def answer(route: Route) -> None:
        route.fulfill(json=route.fetch().json() | said)

    page.route(f"**/{address}", answer)


def wait_until_told(page: Page, coupon: int, state: str) -> None:
    """Return when no copy on the way to the page says anything else: the server keeps one, and the browser another."""
    address = f"/coupons/{coupon}/serving"
    page.wait_for_function(
        f"async () => (await (await fetch('{address}', {{ cache: 'reload' }})).json()).state === '{state}'"
    )


def test_whoever_is_far_back_sees_number_and_time_move_with_every_poll(person, system):
    page, user = person()
    stop_clock(page)
    stand_behind(page, user, 30_000)
    start_ms = int(facts(page)["nowMs"])
    ahead, band = page.locator("[data-field=ahead]"), page.locator("[data-field=band]")
    expect(ahead).to_have_text("30,000")
    heard = [
        (10, 10, "29,990", "30분 이상"),
        (20, 600, "29,400", "약 17분"),
        (30, 9000, "21,000", "약 2분"),
        (40, 20_000, "10,000", "약 20초"),
        (50, 29_000, "1,000", "곧"),
        (200, 29_999, "1", "곧"),
        (210, 30_000, "0", "곧"),
    ]
    for seconds, served, so_many, so_long in heard:
        mislead(page, state="open", serving=served, now_ms=start_ms + seconds * 1000)
        next_poll(page, within_ms=19_000)
        expect(ahead).to_have_text(so_many)
        expect(band).to_have_text(so_long)
        expect(page).to_have_title(re.compile(rf"^\({so_many}\) "))


def test_a_line_that_does_not_move_says_that_it_cannot_tell(person, system):
    page, user = person()
    stop_clock(page)
    stand_behind(page, user, 30_000)
    mislead(page, state="open")
    next_poll(page, within_ms=19_000)
    expect(page.locator("[data-field=band]")).to_have_text("계산 중")
    mislead(page, state="open", serving=-5)
    next_poll(page, within_ms=19_000)
    expect(page.locator("[data-field=band]")).to_have_text("계산 중")


@pytest.mark.parametrize(("before", "moving"), [(0, "곧"), (1, "계산 중")])
def test_a_pause_that_begins_and_ends_is_said_on_the_open_page(person, system, before, moving):
    page, user = person()
    stop_clock(page)
    stand_behind(page, user, before)
    band, notice = page.locator("[data-field=band]"), page.locator("#paused")
    for state, said in (("paused", "멈춤"), ("open", moving), ("paused", "멈춤"), ("closed", moving)):
        mislead(page, state=state, pause={"ko": "잠시만요", "en": ""} if state == "paused" else None)
        next_poll(page)
        expect(band).to_have_text(said)
        expect(notice).to_be_visible(visible=state == "paused")


def test_the_page_says_the_same_before_the_first_poll(visitor, person, system):
    page, user = person(java_script_enabled=False)
    coupon = stand_behind(page, user, 0)
    expect(page.locator("#paused")).to_be_visible()
    expect(page.locator("[data-field=band]")).to_have_text("멈춤")
    change_coupon(coupon, status=LIVE)
    page.goto(f"/coupons/{coupon}")
    said = page.locator("[data-field=band]").or_(page.get_by_role("heading", name=ISSUED))
    expect(said).to_have_text(re.compile(f"곧|{ISSUED}"))


@pytest.mark.parametrize("before", [0, 30, 600])
def test_a_page_asks_when_it_is_told_to_near_the_front_too(person, system, before):
    page, user = person()
    stop_clock(page)
    for address in ("serving", "ticket"):
        tell(page, address, next_ms=PRESCRIBED_MS)
    stand_behind(page, user, before)
    next_poll(page, within_ms=1000)
    for _ in range(3):
        asking = polls(page)
        page.clock.run_for(PRESCRIBED_MS * 0.75)
        assert asking == []
        next_poll(page, within_ms=PRESCRIBED_MS)


def test_control_whoever_is_told_to_ask_each_second_does(person, system):
    page, user = person()
    stop_clock(page)
    stand_in_line(page, user, before=30)
    next_poll(page)
    asking = polls(page)
    next_poll(page)
    assert asking


def test_near_the_front_of_a_long_line_the_ticket_says_when_to_ask(person, system):
    page, user = person()
    stop_clock(page)
    tell(page, "serving", next_ms=15_000)
    stand_in_line(page, user, before=30)
    next_poll(page)
    for _ in range(6):
        next_poll(page)


# After the end


@pytest.mark.parametrize("end", ["closed", "over", "sold out"])
def test_a_missed_page_that_was_opened_after_the_end_hears_of_a_quota_that_is_raised(person, system, end):
    page, user = person()
    stop_clock(page)
    coupon = offer(quota=1)
    with paused(coupon):
        for each in (make_user().id, user):
            claims.claim(coupon, each)
    page.goto(f"/coupons/{coupon}")
    page.clock.resume()
    heading(page, re.compile("마감됐어요"))
    if end == "closed":
        change_coupon(coupon, status=CLOSED)
    if end == "over":
        db.session.execute(
            update(Coupon).where(Coupon.id == coupon).values(issue_end_at=utcnow() - timedelta(minutes=1))
        )
        db.session.commit()
        publishing.publish(coupon)
    wait_until_told(page, coupon, "sold_out" if end == "sold out" else "closed")
    stop_clock(page)
    page.goto(f"/coupons/{coupon}")
    heading(page, re.compile("마감됐어요"))
    next_poll(page, within_ms=1000)
    change_coupon(coupon, total_quantity=2)
    asking = polls(page)
    page.clock.run_for(7000 if end == "sold out" else 18_000)
    assert asking == []
    page.clock.run_for(12_000)
    page.clock.resume()
    heading(page, ISSUED)


def test_a_page_that_looks_on_is_told_nothing_of_a_place(person, system, complaints):
    page, _user = person()
    page.goto(f"/coupons/{offer()}")
    page.context.set_offline(True)
    expect(page.locator("#offline")).to_have_text("연결이 끊겼어요. 자동으로 다시 연결할게요")
    expect(page.locator("#offline")).to_be_visible()
    expect(page.get_by_role("link", name="최신 상태 보기")).to_be_visible()
    page.context.set_offline(False)
    expect(page.locator("#offline")).to_be_hidden()
    expect(page.get_by_role("link", name="최신 상태 보기")).to_be_hidden()
    forget(complaints, "ERR_INTERNET_DISCONNECTED")


# The countdown


def test_a_countdown_over_a_day_shows_the_days(person, system):
    page, _user = person()
    stop_clock(page)
    page.goto(f"/coupons/{offer(opens_in=49 * 3600, closes_in=60 * 3600)}")
    countdown = page.locator("[data-field=countdown]")
    expect(countdown).to_have_text(re.compile(r"^2일 0[01]:\d\d:\d\d$"))
    for hours, shown in (
        (2, r"^1일 2[23]:\d\d:\d\d$"),
        (22, r"^1일 0[01]:\d\d:\d\d$"),
        (2, r"^2[23]:\d\d:\d\d$"),
    ):
        page.clock.fast_forward(hours * 3600 * 1000)
        page.clock.run_for(1100)
        expect(countdown).to_have_text(re.compile(shown))


def test_a_start_that_is_moved_moves_the_countdown(person, system):
    page, _user = person()
    stop_clock(page)
    coupon = offer(opens_in=3 * 3600, closes_in=60 * 3600)
    page.goto(f"/coupons/{coupon}")
    change_coupon(coupon, issue_start_at=utcnow() + timedelta(hours=5))
    next_poll(page, within_ms=5000)
    expect(page.locator("[data-field=countdown]")).to_have_text(re.compile(r"^0[45]:\d\d:\d\d$"))


@pytest.mark.parametrize(
    ("zone", "named"),
    [
        *(("Asia/Seoul", False), ("Asia/Tokyo", False), ("Asia/Pyongyang", False), ("Asia/Shanghai", True)),
        *(("Europe/Berlin", True), ("America/New_York", True), ("Asia/Kolkata", True), ("UTC", True)),
        *(("Pacific/Auckland", True), ("Australia/Darwin", True), ("Asia/Jayapura", False)),
    ],
)
def test_the_zone_is_named_where_the_visitors_is_another(person, system, zone, named):
    page, _user = person(timezone_id=zone)
    page.goto(f"/coupons/{offer(opens_in=600)}")
    expect(page.get_by_role("timer")).to_have_text(re.compile(r"^00:0"))
    page.wait_for_function("() => document.querySelector('.live')")
    shown = page.locator("dd time").first.text_content()
    assert ("KST (현지" in shown) == ("KST" in shown) == named
