"""What people see: from the countdown to the code, and every other way that a claim can end."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from playwright.sync_api import Page, expect
from sqlalchemy import update

from tests.browser.pages import (
    DESKTOP,
    POLL_MS,
    SHOWN_CODE,
    claim_button,
    give_place_away,
    heading,
    mislead,
    next_poll,
    offer,
    on_sqlite,
    paused,
    register,
    stop_clock,
)
from tests.builders import make_user, make_users
from webapp.line.line import Line
from webapp.models import CLOSED, PAUSED, User, utcnow
from webapp.sale import claims, epochs
from webapp.sale.coupons import change_coupon
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db


@contextmanager
def first_in_line(page: Page, coupon: int) -> Iterator[None]:
    """Claim, and wait with number 1 until the block ends."""
    page.goto(f"/coupons/{coupon}")
    with paused(coupon):
        claim_button(page).click()
        heading(page, re.compile(r"1\s*번"))
        yield


def test_from_registering_to_the_wallet(visitor, system):
    page = visitor()
    offer(), offer(title="피자 3,000원 할인", discount_amount=3000, opens_in=3000)
    register(page)
    coupon = offer(opens_in=10)
    page.goto(f"/coupons/{coupon}")
    expect(page.get_by_role("timer")).to_be_visible()
    expect(claim_button(page)).to_be_disabled()
    page.evaluate("document.body.dataset.sameDocument = 'yes'")
    expect(claim_button(page)).to_be_enabled()
    assert page.evaluate("document.body.dataset.sameDocument") == "yes", "the button opened without a reload"

    with paused(coupon):
        claim_button(page).click()
        heading(page, re.compile(r"1\s*번"))
        expect(page.get_by_text("잠시 멈췄어요. 순번은 그대로예요")).to_be_visible()
        page.reload()
        heading(page, re.compile(r"1\s*번"))

    heading(page, "축하해요! 쿠폰을 받았어요")
    expect(page.locator("h1")).to_be_focused()
    code = page.locator("#code")
    expect(code).to_have_text(SHOWN_CODE)
    shown = code.inner_text()
    page.get_by_role("main").get_by_role("link", name="내 쿠폰").click()
    page.wait_for_url("**/wallet")
    expect(page.get_by_text(shown)).to_be_visible()


@on_sqlite
def test_the_same_without_javascript(visitor, system):
    page = visitor(java_script_enabled=False)
    register(page)
    coupon = offer(opens_in=10)
    page.goto(f"/coupons/{coupon}")
    claim_button(page).click()
    expect(page.get_by_role("status")).to_contain_text("조금 일찍 누르셨어요")
    expect(page.get_by_role("timer")).to_be_visible()
    heading(page, "지금 받을 수 있어요")
    with paused(coupon):
        claim_button(page).click()
        heading(page, re.compile(r"1\s*번"))
    heading(page, "축하해요! 쿠폰을 받았어요")
    expect(page.locator("#code")).to_have_text(SHOWN_CODE)
    page.get_by_role("main").get_by_role("link", name="내 쿠폰").click()
    page.wait_for_url("**/wallet")


@on_sqlite
def test_whoever_waits_too_far_back_sees_it_run_out(person, system):
    coupon = offer(quota=2)
    page, _user = person()
    page.goto(f"/coupons/{coupon}")
    expect(claim_button(page)).to_be_enabled()
    with paused(coupon):
        for other in make_users(3):
            claims.claim(coupon, other)
        claim_button(page).click()
        heading(page, re.compile(r"4\s*번"))
        expect(page.locator("[data-honest]")).to_be_visible()
    heading(page, "아쉽게도 2명 앞에서 마감됐어요")
    expect(page.get_by_role("main")).to_contain_text("내 순번 4, 마지막 2")
    change_coupon(coupon, total_quantity=4)
    heading(page, "축하해요! 쿠폰을 받았어요")


@on_sqlite
def test_whoever_comes_after_the_end_sees_when_it_was(person, system):
    coupon = offer(quota=1)
    page, _user = person()
    page.goto(f"/coupons/{coupon}")
    expect(claim_button(page)).to_be_enabled()
    with paused(coupon):
        claims.claim(coupon, make_user().id)
    heading(page, "준비한 쿠폰이 모두 나갔어요")
    expect(claim_button(page)).to_have_count(0)


@on_sqlite
def test_the_answer_that_says_the_latest_time_sets_the_countdown(person, system):
    page, _user = person()
    now = stop_clock(page)
    page.goto(f"/coupons/{offer(opens_in=20 * 3600, closes_in=101 * 3600)}")
    countdown = page.locator("[data-field=countdown]")
    expect(countdown).to_have_text(re.compile("^(19:59|20:00)"))
    for minutes, shown in ((30, "^19:(29|30)"), (20, "^19:(29|30)"), (50, "^19:(09|10)")):
        mislead(page, now_ms=int((now + timedelta(minutes=minutes)).timestamp() * 1000))
        next_poll(page, within_ms=5000)
        page.clock.run_for(1000)
        expect(countdown).to_have_text(re.compile(shown))


@on_sqlite
def test_a_click_is_not_lost_in_a_reload_that_was_planned(person, system, complaints):
    page, _user = person()
    stop_clock(page)
    coupon = offer()
    page.goto(f"/coupons/{coupon}")
    next_poll(page)
    mislead(page, state="paused")
    page.route("**/claim", lambda route: route.abort())
    with page.expect_event("requestfinished", lambda request: "/serving" in request.url):
        page.clock.run_for(POLL_MS)
    claim_button(page).click()
    retrying = page.get_by_role("button", name="접속이 많아요")
    expect(retrying).to_be_disabled()
    page.clock.run_for(10_000)
    expect(retrying).to_be_disabled()
    page.unroute("**/claim")
    page.clock.resume()
    heading(page, "축하해요! 쿠폰을 받았어요")
    assert all("ERR_FAILED" in said for said in complaints)
    complaints.clear()


@on_sqlite
def test_a_click_is_not_lost_in_a_reload_that_has_begun(person, system):
    page, _user = person()
    coupon = offer()
    page.goto(f"/coupons/{coupon}")
    for address in (f"**/coupons/{coupon}", "**/claim"):
        page.route(address, lambda route: None)  # never answered
    with page.expect_event("requestfailed", lambda request: request.is_navigation_request()):
        page.evaluate(
            """() => setTimeout(() => {
                location.replace(location.href);
                setTimeout(() => document.querySelector("[data-claim] button").click(), 300);
            })"""
        )
    expect(page.get_by_role("button", name="접수하는 중이에요")).to_be_disabled()


@on_sqlite
def test_two_tabs_have_one_ticket(person, system):
    coupon = offer()
    first, user = person()
    with paused(coupon):
        claims.claim(coupon, make_user().id)
        first.goto(f"/coupons/{coupon}")
        second = first.context.new_page()
        second.goto(f"/coupons/{coupon}")
        claim_button(first).click()
        heading(first, re.compile(r"2\s*번"))
        heading(second, re.compile(r"2\s*번"))
        assert Line(line_redis(), coupon).gate().last == 2
    for tab in (first, second):
        heading(tab, "축하해요! 쿠폰을 받았어요")
    code = first.locator("#code").inner_text()
    expect(second.locator("#code")).to_have_text(code)
    assert claims.standing(coupon, user).number == 2


@on_sqlite
def test_a_loser_reads_prints_and_verifies_the_receipt(person, visitor, system):
    coupon = offer(quota=1)
    page, user = person()
    with paused(coupon):
        claims.claim(coupon, make_user().id)
        claims.claim(coupon, user)
        page.goto(f"/coupons/{coupon}")
        heading(page, re.compile(r"2\s*번"))
    heading(page, "아쉽게도 바로 앞에서 마감됐어요")
    page.get_by_role("link", name="접수증 보기").click()
    expect(page.get_by_text("차례가 오기 전에 쿠폰이 모두 나갔어요.")).to_be_visible()
    page.emulate_media(media="print")
    expect(page.get_by_role("navigation")).to_be_hidden()
    expect(page.locator("code")).to_be_visible()
    receipt = page.locator("code").inner_text()
    stranger = visitor()
    stranger.goto("/receipts/verify")
    stranger.get_by_label("접수증").fill(receipt)
    stranger.get_by_role("button", name="확인하기").click()
    expect(stranger.get_by_role("status")).to_have_text("저희가 서명한 접수증이 맞고, 바뀐 곳이 없어요.")


@on_sqlite
def test_back_and_a_click_too_early_do_no_harm(person, system, complaints):
    coupon = offer()
    page, _user = person()
    page.goto("/")
    page.goto(f"/coupons/{coupon}")
    claim_button(page).click()
    heading(page, "축하해요! 쿠폰을 받았어요")
    page.go_back()
    page.go_forward()
    heading(page, "축하해요! 쿠폰을 받았어요")
    later = offer(opens_in=600)
    page.goto(f"/coupons/{later}")
    claim_button(page).evaluate("button => { button.disabled = false; button.click(); }")
    expect(page.get_by_role("status").first).to_contain_text("조금 일찍 누르셨어요")
    expect(claim_button(page)).to_be_disabled()
    assert [("status of 409" in said) for said in complaints] == [True]
    complaints.clear()


@on_sqlite
def test_signing_in_on_the_way_leads_back_to_the_coupon(visitor, system, complaints):
    coupon, page = offer(), visitor()
    user = make_user(f"jun{os.urandom(4).hex()}@example.com", password="correct horse")
    page.goto(f"/coupons/{coupon}")
    page.get_by_role("main").get_by_role("link", name="로그인").click()
    page.get_by_label("이메일").fill(user.email)
    page.get_by_label("비밀번호").fill("wrong")
    page.get_by_role("main").get_by_role("button").click()
    expect(page.get_by_label("이메일")).to_have_value(user.email)
    expect(page.get_by_label("비밀번호")).to_have_value("")
    page.get_by_label("비밀번호").fill("correct horse")
    page.get_by_role("main").get_by_role("button").click()
    page.wait_for_url(f"**/coupons/{coupon}")
    expect(claim_button(page)).to_be_enabled()
    assert [("status of 401" in said) for said in complaints] == [True]
    complaints.clear()


@on_sqlite
def test_a_lost_connection_is_said_and_mended(person, system, complaints):
    coupon = offer()
    page, _user = person()
    with first_in_line(page, coupon):
        page.route("**/serving", lambda route: route.fulfill(status=503, headers={"Retry-After": "1"}))
        expect(page.locator("#offline")).to_be_visible()
        page.unroute("**/serving")
        expect(page.locator("#offline")).to_be_hidden()
        heading(page, re.compile(r"1\s*번"))
    assert all("status of 503" in said for said in complaints)
    complaints.clear()


@on_sqlite
def test_the_control_a_script_of_its_own_would_be_complained_of(visitor, complaints):
    page = visitor()
    page.goto("/")
    with page.expect_console_message(lambda said: said.text.startswith("CSP: script-src")):
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {text: 'location = 1'}))"
        )
    assert complaints
    complaints.clear()


@on_sqlite
def test_a_place_that_redis_lost_comes_back_by_itself(person, system):
    coupon = offer()
    page, _user = person()
    with first_in_line(page, coupon):
        Line(line_redis(), coupon).forget()
        assert claims.claim(coupon, make_user().id).number == epochs.EPOCH_STEP + 1
        expect(page.locator("#coupon")).to_have_attribute("data-epoch", "2")
        heading(page, re.compile(r"1\s*번"))
    heading(page, "축하해요! 쿠폰을 받았어요")
    expect(page.get_by_text("내 순번은 1번이었어요")).to_be_visible()


@on_sqlite
def test_a_place_comes_back_to_a_new_page_though_its_first_question_has_no_answer(person, system, complaints):
    coupon = offer()
    page, _user = person()
    with first_in_line(page, coupon):
        page.goto("/")
        Line(line_redis(), coupon).forget()
        page.route("**/ticket", lambda route: route.fulfill(status=503), times=1)
        page.goto(f"/coupons/{coupon}")
        heading(page, re.compile(r"1\s*번"))
    heading(page, "축하해요! 쿠폰을 받았어요")
    assert [("status of 503" in said) for said in complaints] == [True]
    complaints.clear()


@on_sqlite
def test_a_place_that_cannot_come_back_is_told(person, system):
    coupon = offer()
    page, user = person()
    with first_in_line(page, coupon):
        give_place_away(coupon)
        expect(page.locator("#lost")).to_be_visible()
        claim_button(page).click()
        heading(page, re.compile(r"1,000,001\s*번"))
        assert claims.standing(coupon, user).number == epochs.EPOCH_STEP + 1


@on_sqlite
def test_a_blocked_account_is_told(person, system):
    coupon, user = offer(), make_user()
    page, _user = person(user)
    with first_in_line(page, coupon):
        db.session.execute(update(User).where(User.id == user.id).values(blocked_at=utcnow()))
        db.session.commit()
    heading(page, "참여 대상이 아니에요")


@on_sqlite
def test_states_that_only_stand_there(person, visitor, system):
    page, _user = person()
    closed = offer()
    change_coupon(closed, status=CLOSED)
    page.goto(f"/coupons/{closed}")
    heading(page, "끝난 이벤트예요")
    page.goto(f"/coupons/{offer(status=PAUSED)}")
    heading(page, "잠시 멈췄어요")
    expect(claim_button(page)).to_be_enabled()
    early = visitor()
    early.goto(f"/coupons/{offer(opens_in=3000)}")
    expect(early.get_by_role("timer")).to_be_visible()
    page.goto("/wallet")


@on_sqlite
def test_in_english_on_a_desktop(visitor, system):
    page = visitor(locale="en-US", viewport=DESKTOP, is_mobile=False, has_touch=False)
    page.goto(f"/coupons/{offer(title='Chicken')}")
    heading(page, "Sign in to take part")
    page.get_by_role("link", name="한국어").click()
    heading(page, "로그인하고 참여하기")
    page.get_by_role("link", name="English").click()
    heading(page, "Sign in to take part")


@on_sqlite
def test_nothing_is_wider_than_a_small_phone(person, system):
    page, user = person(viewport={"width": 320, "height": 640})
    title = "가" * 100
    claims.claim(held := offer(title=title), user)
    receipt = f"/coupons/{held}/receipt"
    for address in ("/", "/login", "/register", "/wallet", f"/coupons/{offer(title=title)}", receipt):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, address
