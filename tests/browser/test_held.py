"""An open page of a coupon says what became of it, without a reload by hand, whatever the browser lacks."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import select, update

from tests.browser.pages import heading, offer, on_sqlite, stop_clock
from tests.builders import make_user
from webapp.models import Coupon, CouponIssue, User, utcnow
from webapp.sale import admission, claims, redeeming
from webapp.stores.sql import db

pytestmark = on_sqlite

PROMISED_MS = 10_000
PAGES = ["/coupons/{coupon}", "/wallet", "/wallet/{issue}", "/coupons/{coupon}/receipt"]
FATES = {"used": "에 사용했어요", "expired": "까지 쓸 수 있었어요", "revoked": "사유: #1024"}

REFUSED = "navigator.clipboard.writeText = () => Promise.reject(new DOMException('', 'NotAllowedError'))"


class Won:
    """A coupon that somebody was issued."""

    def __init__(self) -> None:
        self.user = make_user()
        self.coupon = offer()
        claims.claim(self.coupon, self.user.id)
        admission.admit(self.coupon)
        mine = select(CouponIssue.id, CouponIssue.code).where(CouponIssue.coupon_id == self.coupon)
        self.issue, self.code = db.session.execute(mine).one()
        db.session.rollback()

    def address(self, page: str) -> str:
        return page.format(coupon=self.coupon, issue=self.issue)

    def befall(self, fate: str) -> None:
        if fate == "used":
            assert redeeming.use(self.code, None)[1]
        elif fate == "revoked":
            redeeming.revoke(self.code, None, "#1024")
        else:
            late = update(Coupon).values(valid_until=utcnow() - timedelta(seconds=1))
            write(late.where(Coupon.id == self.coupon))

    def give_back_the_use(self) -> None:
        write(update(CouponIssue).where(CouponIssue.id == self.issue).values(used_at=None, used_by=None))


def write(statement) -> None:
    with db.engine.begin() as connection:
        connection.execute(statement)


@pytest.fixture
def won(system) -> Won:
    return Won()


def opened(person, won: Won, page: str, **options) -> Page:
    shown, _user = person(won.user, **options)
    shown.goto(won.address(page))
    return shown


def asking(person, won: Won, page: str = "/wallet/{issue}", init: str = "") -> tuple[Page, list[str]]:
    """Open a page whose clock is stopped, and return it with what it asks for."""
    shown, _user = person(won.user)
    if init:
        shown.context.add_init_script(init)
    stop_clock(shown)
    asked: list[str] = []
    shown.on("request", lambda request: "/state" in request.url and asked.append(request.url))
    shown.goto(won.address(page))
    return shown, asked


def ask_now(page: Page) -> None:
    """Let the time go on until the page has asked once and planned the next."""
    with page.expect_response("**/state"):
        page.clock.run_for(8000)


def ask_on(page: Page, asked: list[str], times: int) -> None:
    """Let the time go on until the page has asked so many times, however it is answered: three minutes are enough."""
    for _ in range(180):
        if len(asked) >= times:
            return
        page.clock.run_for(1000)
        page.wait_for_timeout(20)  # the answers come by the browser's own clock
    raise AssertionError(f"asked {len(asked)} times")


@pytest.mark.parametrize("fate", FATES)
def test_every_open_page_says_it_within_the_time_that_is_promised(person, won, fate):
    pages = [opened(person, won, page) for page in PAGES]
    for page in pages:
        expect(page.get_by_role("main")).not_to_contain_text(FATES[fate])
    won.befall(fate)
    late = utcnow() + timedelta(milliseconds=PROMISED_MS)
    for page in pages:
        left_ms = max(1, (late - utcnow()) / timedelta(milliseconds=1))
        expect(page.get_by_role("main")).to_contain_text(FATES[fate], timeout=left_ms)
        expect(page.locator(".qr")).to_have_count(0)


@pytest.mark.parametrize("page", ["/coupons/{coupon}", "/wallet", "/wallet/{issue}"])
def test_where_the_browser_refuses_to_copy_the_code_is_marked(person, won, page):
    shown, _user = person(won.user)
    shown.context.add_init_script(REFUSED)
    shown.goto(won.address(page))
    button = shown.locator("[data-copy]")
    button.click()
    shown.wait_for_function(
        "() => String(getSelection()) === document.querySelector('[data-copy]').dataset.copy"
    )
    expect(button).not_to_have_text("복사했어요")


# From here on time stands still in the page, and the test lets it go on.


def test_a_use_that_was_given_back_brings_the_qr_code_back(person, won):
    won.befall("used")
    page, _asked = asking(person, won)
    expect(page.locator(".qr")).to_have_count(0)
    won.give_back_the_use()
    ask_now(page)
    expect(page.locator(".qr")).to_be_visible()


def test_control_a_page_that_hears_nothing_goes_on_showing_the_code(person, won, complaints):
    page, asked = asking(person, won)
    page.route("**/state", lambda route: route.abort())
    won.befall("used")
    for _ in range(3):
        page.clock.run_for(8000)
    expect(page.locator(".qr")).to_be_visible()
    assert asked
    complaints.clear()


MISSING = {
    "nothing": "",
    "AbortController": "delete window.AbortController",
    "localStorage": "Object.defineProperty(window, 'localStorage', { get() { throw 0 } })",
    "navigator.locks": "Object.defineProperty(navigator, 'locks', { value: undefined })",
    "BroadcastChannel": "delete window.BroadcastChannel",
    "AbortSignal.timeout": "delete AbortSignal.timeout",
    "navigator.clipboard": "Object.defineProperty(navigator, 'clipboard', { value: undefined })",
    "page visibility": "Object.defineProperty(document, 'hidden', { value: undefined })",
    "Intl": "delete window.Intl",
    "crypto": "Object.defineProperty(window, 'crypto', { value: undefined })",
}


@pytest.mark.parametrize("missing", MISSING)
def test_it_needs_none_of_what_a_browser_may_lack(person, won, missing):
    page, _asked = asking(person, won, init=MISSING[missing])
    won.befall("used")
    ask_now(page)
    expect(page.get_by_role("main")).to_contain_text(FATES["used"])


NOT_OURS: dict[str, Callable[[Route], None]] = {
    "a page of something in front": lambda route: route.fulfill(body="<h1>Sign in to the Wi-Fi</h1>"),
    "JSON of somebody else": lambda route: route.fulfill(json={"ok": True}),
    "an empty answer": lambda route: route.fulfill(body=""),
    "null": lambda route: route.fulfill(body="null"),
    "a 401 of something in front": lambda route: route.fulfill(status=401, body="<h1>Proxy</h1>"),
    "a 403": lambda route: route.fulfill(status=403, body="no"),
    "a 404 of something in front": lambda route: route.fulfill(status=404, body="<h1>nginx</h1>"),
    "a 429": lambda route: route.fulfill(status=429, body="slow down"),
    "a 502": lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"),
    "a broken connection": lambda route: route.abort(),
    "no answer at all": lambda route: None,
}


@pytest.mark.parametrize("answer", NOT_OURS)
def test_an_answer_that_is_not_ours_is_no_answer_and_it_asks_again(person, won, complaints, answer):
    page, asked = asking(person, won)
    page.evaluate("document.body.dataset.stayed = 1")
    page.route("**/state", NOT_OURS[answer], times=2)
    ask_on(page, asked, 3)
    expect(page.locator("body")).to_have_attribute("data-stayed", "1")
    won.befall("used")
    ask_on(page, asked, 4)
    expect(page.get_by_role("main")).to_contain_text(FATES["used"])
    complaints.clear()


@pytest.mark.parametrize("status", [429, 503])
def test_it_waits_as_long_as_it_is_told(person, won, complaints, status):
    page, asked = asking(person, won)
    page.route("**/state", lambda route: route.fulfill(status=status, headers={"Retry-After": "60"}), times=1)
    ask_now(page)
    page.wait_for_timeout(200)
    page.clock.run_for(59_000)
    assert len(asked) == 1
    ask_on(page, asked, 2)
    complaints.clear()


def test_a_hidden_page_hardly_asks_and_asks_at_once_when_it_comes_back(person, won):
    page, asked = asking(person, won)
    show = "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true }); "
    show += "document.dispatchEvent(new Event('visibilitychange', { bubbles: true })) }"
    ask_now(page)
    page.evaluate(show, True)
    ask_now(page)
    page.wait_for_timeout(200)
    page.clock.run_for(55_000)
    assert len(asked) == 2
    won.befall("used")
    page.evaluate(show, False)
    page.clock.run_for(100)
    expect(page.get_by_role("main")).to_contain_text(FATES["used"])


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("fate", ["signed out", "blocked"])
def test_whoever_is_signed_out_meanwhile_sees_so(person, won, complaints, fate, page):
    shown, _asked = asking(person, won, page)
    change = {"blocked_at": utcnow()} if fate == "blocked" else {"session_epoch": User.session_epoch + 1}
    write(update(User).where(User.id == won.user.id).values(**change))
    ask_now(shown)
    if page == "/coupons/{coupon}":
        heading(shown, "로그인하고 참여하기")
    else:
        shown.wait_for_url("**/login?next=**")
    expect(shown.locator(".code, .qr")).to_have_count(0)
    complaints.clear()


@pytest.mark.parametrize("fate", FATES)
def test_without_javascript_a_reload_shows_it(person, won, fate):
    page = opened(person, won, "/wallet/{issue}", java_script_enabled=False)
    won.befall(fate)
    page.reload()
    expect(page.get_by_role("main")).to_contain_text(FATES[fate])


def test_joy_is_for_a_coupon_that_can_be_used(person, won):
    page = opened(person, won, "/coupons/{coupon}")
    expect(page.locator("#coupon")).to_have_class("coupon card joy")
    won.befall("expired")
    stored = json.loads(page.evaluate("JSON.stringify(localStorage)"))
    assert f"joy:{won.coupon}" in stored
    page.evaluate("localStorage.clear()")
    page.reload()
    heading(page, "기한이 지난 쿠폰이에요")
    expect(page.locator("#coupon")).to_have_class("coupon card")
