"""Bad networks, busy servers, many tabs, sleeping tabs, ended sessions: the page finds its way by itself."""

import re
import threading

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select, update

from tests.browser.pages import (
    claim_button,
    frozen,
    heading,
    killed_when_it_hangs,
    next_poll,
    offer,
    on_sqlite,
    paused,
    process_of,
    serve,
    stop_clock,
)
from tests.builders import make_user, make_users, session_cookie
from webapp.line.line import Line
from webapp.models import CouponIssue, User
from webapp.sale import admission, claims
from webapp.sale.codes import grouped
from webapp.sale.coupons import change_coupon
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

pytestmark = on_sqlite
NUMBER_1 = re.compile(r"1\s*번")
PAST_THE_BREAK_MS = 45_000


def polls(*pages: Page) -> list[Page]:
    """Return a list that grows by a page whenever it polls."""
    asking: list[Page] = []
    for page in pages:
        page.on("request", lambda request, of=page: "/serving" in request.url and asking.append(of))
    return asking


def wait_for_polls(page: Page, count: int) -> None:
    for _ in range(count):
        page.wait_for_event("requestfinished", lambda request: "/serving" in request.url)


def stand_in_line(page: Page, user: int, before: int = 1) -> int:
    """Return a coupon in whose line the user waits, with the page open; it is on hold."""
    coupon = offer(status="paused")
    for each in (*make_users(before), user):
        claims.claim(coupon, each)
    page.goto(f"/coupons/{coupon}")
    heading(page, re.compile(rf"{before + 1}\s*번"))
    return coupon


def resume(coupon: int) -> None:
    change_coupon(coupon, status="live")


def forget(complaints: list[str], pattern: str) -> None:
    """Drop what the console said of the fault that the test made itself."""
    assert complaints, "the fault was noticed"
    complaints[:] = [said for said in complaints if not re.search(pattern, said)]


def set_hidden(page: Page, hidden: bool) -> None:
    """Have the page believe that it went to the back, or came to the front: a headless tab is always in front."""
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


@pytest.fixture
def putting_aside(browser_type, browser_type_launch_args, installation, system):
    """Open pages in a browser that puts a page aside and brings it back as it was, as people's do."""
    with (
        browser_type.launch(
            **browser_type_launch_args, ignore_default_args=["--disable-back-forward-cache"]
        ) as browser,
        killed_when_it_hangs(process_of(browser)),
    ):

        def open_page(user: User, **options: bool) -> Page:
            page = browser.new_context(base_url=installation.url, **options).new_page()
            cookie, _token = session_cookie(system, user)
            page.context.add_cookies([{"name": "session", "value": cookie, "url": installation.url}])
            return page

        yield open_page


def test_the_network_is_cut_for_20_s_in_mid_wait(person, system, complaints):
    page, user = person()
    coupon = stand_in_line(page, user)
    page.context.set_offline(True)
    expect(page.locator("#offline")).to_be_visible()
    expect(page.locator("#coupon")).to_have_class(re.compile("stale"))
    resume(coupon)
    threading.Event().wait(20)
    heading(page, re.compile(r"2\s*번"))
    page.context.set_offline(False)
    heading(page, "축하해요! 쿠폰을 받았어요")
    forget(complaints, "ERR_INTERNET_DISCONNECTED")


def test_a_click_while_the_network_is_cut_is_sent_when_it_is_back(person, system, complaints):
    page, user = person()
    page.goto(f"/coupons/{(coupon := offer())}")
    page.context.set_offline(True)
    claim_button(page).click()
    expect(page.get_by_role("button", name="접속이 많아요")).to_be_disabled()
    assert claims.standing(coupon, user).state == "none"
    page.context.set_offline(False)
    heading(page, "축하해요! 쿠폰을 받았어요")
    assert Line(line_redis(), coupon).gate().last == 1
    forget(complaints, "ERR_INTERNET_DISCONNECTED")


def test_a_store_that_does_not_answer_is_waited_for(person, system, complaints):
    page, user = person()
    coupon = stand_in_line(page, user)
    with frozen(line_redis().info("server")["process_id"]):
        expect(page.locator("#offline")).to_be_visible()
    expect(page.locator("#offline")).to_be_hidden(timeout=PAST_THE_BREAK_MS)
    resume(coupon)
    heading(page, "축하해요! 쿠폰을 받았어요")
    forget(complaints, "status of 503")


@pytest.mark.parametrize("java_script_enabled", [True, False])
def test_the_page_of_a_busy_server_comes_back_by_itself(person, system, complaints, java_script_enabled):
    page, _user = person(java_script_enabled=java_script_enabled)
    coupon = offer()
    with frozen(line_redis().info("server")["process_id"]):
        page.goto(f"/coupons/{coupon}")
        heading(page, "접속이 많아요")
    heading(page, "지금 받을 수 있어요")
    forget(complaints, "status of 503")


def test_a_click_on_a_busy_server_without_javascript_comes_back_to_the_button(person, system, complaints):
    page, user = person(java_script_enabled=False)
    page.goto(f"/coupons/{(coupon := offer())}")
    with frozen(line_redis().info("server")["process_id"]):
        claim_button(page).click()
        heading(page, "접속이 많아요")
    page.wait_for_url(f"**/coupons/{coupon}")
    # A command that Redis finds when it wakes up is carried out: both are right.
    heading(page, re.compile("지금 받을 수 있어요|축하해요! 쿠폰을 받았어요|순번"))
    assert claims.standing(coupon, user).number in (None, 1)
    forget(complaints, "status of 503")


def test_two_tabs_make_one_poller(person, system, installation):
    first, user = person()
    coupon = stand_in_line(first, user)
    second = first.context.new_page()
    second.goto(f"/coupons/{coupon}")
    heading(second, re.compile(r"2\s*번"))
    wait_for_polls(second, 2)
    asking, answered = polls(first, second), installation.requests("GET", f"/coupons/{coupon}/serving")
    wait_for_polls(second, 4)
    answered = installation.requests("GET", f"/coupons/{coupon}/serving") - answered
    for tab in (first, second):
        expect(tab.locator("[data-field=updated]")).not_to_have_text("–")
    assert set(asking) == {second}
    assert answered <= len(asking) + 1, "one may have been on its way"
    second.close()
    wait_for_polls(first, 1)
    resume(coupon)
    heading(first, "축하해요! 쿠폰을 받았어요")


def test_control_two_browsers_make_two_pollers(person, system, installation):
    user = make_user()
    first, _ = person(user)
    coupon = stand_in_line(first, user.id)
    second, _ = person(user)
    second.goto(f"/coupons/{coupon}")
    wait_for_polls(second, 2)
    asking, answered = polls(first, second), installation.requests("GET", f"/coupons/{coupon}/serving")
    wait_for_polls(second, 4)
    wait_for_polls(first, 2)
    answered = installation.requests("GET", f"/coupons/{coupon}/serving") - answered
    assert set(asking) == {first, second}
    assert answered > asking.count(second) + 1


def test_two_tabs_end_together(person, system):
    first, user = person()
    coupon = stand_in_line(first, user)
    second = first.context.new_page()
    second.goto(f"/coupons/{coupon}")
    resume(coupon)
    for tab in (first, second):
        heading(tab, "축하해요! 쿠폰을 받았어요")


def test_two_devices_have_one_ticket(person, system):
    user, coupon = make_user(), offer()
    phone, _ = person(user)
    desk, _ = person(user)
    with paused(coupon):
        for page in (phone, desk):
            page.goto(f"/coupons/{coupon}")
        claim_button(phone).click()
        heading(phone, NUMBER_1)
        claim_button(desk).click()
        heading(desk, NUMBER_1)
        assert Line(line_redis(), coupon).gate().last == 1
    for page in (phone, desk):
        heading(page, "축하해요! 쿠폰을 받았어요")


def test_a_session_that_ends_in_mid_wait_goes_on_after_signing_in(person, system, complaints):
    user = make_user(f"sora{make_user().id}@example.com", password="correct horse")
    page, _ = person(user)
    coupon = stand_in_line(page, user.id)
    db.session.execute(update(User).where(User.id == user.id).values(session_epoch=User.session_epoch + 1))
    db.session.commit()
    page.context.clear_cookies(name="session")
    heading(page, "로그인하고 참여하기")
    expect(page.locator("#kept")).to_be_visible()
    page.get_by_role("main").get_by_role("link", name="로그인").click()
    page.get_by_label("이메일").fill(user.email)
    page.get_by_label("비밀번호").fill("correct horse")
    page.get_by_role("main").get_by_role("button").click()
    heading(page, re.compile(r"2\s*번"))
    resume(coupon)
    heading(page, "축하해요! 쿠폰을 받았어요")
    assert Line(line_redis(), coupon).gate().last == 2
    forget(complaints, "status of 401")


def test_a_tab_that_comes_back_to_the_front_asks_at_once(person, system):
    page, user = person()
    stop_clock(page)
    coupon = stand_in_line(page, user)
    next_poll(page)
    set_hidden(page, True)
    next_poll(page)
    resume(coupon)
    asking = polls(page)
    page.clock.run_for(14_000)
    heading(page, re.compile(r"2\s*번"))
    assert asking == []
    set_hidden(page, False)
    page.clock.resume()
    heading(page, "축하해요! 쿠폰을 받았어요")


def test_stopped_updates_stay_stopped_until_they_are_wanted(person, system):
    page, user = person()
    stop_clock(page)
    coupon = stand_in_line(page, user)
    next_poll(page)
    toggle = page.locator("#updates")
    expect(toggle).to_have_text("자동 새로고침 끄기")
    expect(page.get_by_role("link", name="최신 상태 보기")).to_be_hidden()
    toggle.click()
    expect(toggle).to_have_text("자동 새로고침 켜기")
    expect(toggle).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("link", name="최신 상태 보기")).to_be_visible()
    resume(coupon)
    asking = polls(page)
    page.clock.run_for(60_000)
    heading(page, re.compile(r"2\s*번"))
    assert asking == []
    toggle.click()
    expect(toggle).to_have_text("자동 새로고침 끄기")
    expect(toggle).to_have_attribute("aria-pressed", "false")
    page.clock.resume()
    heading(page, "축하해요! 쿠폰을 받았어요")


def test_the_number_ahead_never_goes_up(person, system):
    page, user = person()
    coupon = stand_in_line(page, user, before=5)
    ahead = page.locator("[data-field=ahead]")
    expect(ahead).to_have_text("5")
    serve(coupon, 3)
    expect(ahead).to_have_text("2")
    expect(page).to_have_title(re.compile(r"^\(2\) "))
    serve(coupon, 0)
    with page.expect_response(lambda answer: "/serving" in answer.url and answer.json()["serving"] == 0):
        pass
    wait_for_polls(page, 1)
    expect(ahead).to_have_text("2")


def test_joy_comes_once(person, system):
    page, _ = person()
    page.goto(f"/coupons/{offer()}")
    claim_button(page).click()
    heading(page, "축하해요! 쿠폰을 받았어요")
    expect(page.locator("#coupon")).to_have_class(re.compile(r"\bjoy\b"))
    page.reload()
    expect(page.locator("#coupon")).not_to_have_class(re.compile(r"\bjoy\b"))


def test_a_visitor_from_elsewhere_sees_the_time_there_too(person, system):
    page, _ = person(timezone_id="Europe/Berlin")
    page.goto(f"/coupons/{offer(opens_in=600)}")
    expect(page.locator("dd time").first).to_contain_text(re.compile(r"KST \(현지 .+\)"))
    page, _ = person(timezone_id="Asia/Seoul")
    page.goto(f"/coupons/{offer(opens_in=600)}")
    expect(page.locator("dd time").first).to_have_text(re.compile(r"\d\d:\d\d$"))


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("address", ["/wallet", "/coupons/{coupon}"])
def test_back_after_signing_out_shows_no_code(putting_aside, address, scripts):
    coupon, user = offer(quota=1), make_user()
    claims.claim(coupon, user.id)
    admission.admit(coupon)
    code = grouped(db.session.scalars(select(CouponIssue.code).where(CouponIssue.coupon_id == coupon)).one())
    page = putting_aside(user, java_script_enabled=scripts)
    page.goto(address.format(coupon=coupon))
    expect(page.get_by_text(code).first).to_be_visible()
    page.locator("form[action='/logout'] button").click()
    page.wait_for_url("**/")
    page.go_back(wait_until="commit")
    expect(page.locator("a[href^='/login'], form[action^='/login']").first).to_be_visible()
    expect(page.get_by_text(code)).to_have_count(0)
