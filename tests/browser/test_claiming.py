"""What people see: a real Chromium against a real running system, in Korean, on a phone.

Set SCREENSHOTS_DIR to keep a picture of every state, phone and desktop, light and dark.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect
from sqlalchemy import update

from tests.builders import make_coupon, make_user, make_users, session_cookie
from tests.installation import Installation
from webapp import issuing
from webapp.codes import ALPHABET
from webapp.extensions import db, line_redis
from webapp.line import Line
from webapp.models import CLOSED, LIVE, PAUSED, User, utcnow
from webapp.policy import change_coupon

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
SHOWN_CODE = re.compile(
    rf"^[{ALPHABET.decode()}]{{4}}-[{ALPHABET.decode()}]{{4}}-[{ALPHABET.decode()}]{{4}}$"
)
CLAIM = "쿠폰 받기"
MOVES_MS = 15_000
"""How long a page may take to show what happened: two polls and a reload, on a busy machine."""

on_sqlite = pytest.mark.parametrize("installation", ["sqlite"], indirect=True)
NOTE_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
"""


@pytest.fixture
def system(installation: Installation) -> Iterator[Flask]:
    """An app of this process on the stores of the running system."""
    with installation.app.app_context():
        yield installation.app
        db.session.remove()


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the browsers' consoles complain of. A test that provokes something looks at it and clears the list."""
    said: list[str] = []
    yield said
    assert said == []


@pytest.fixture
def visitor(
    new_context: Callable[..., BrowserContext], installation: Installation, complaints: list[str]
) -> Callable[..., Page]:
    """Open pages of people with browsers of their own."""

    def open_page(**options: Any) -> Page:
        phone = {
            "viewport": PHONE,
            "is_mobile": True,
            "has_touch": True,
            "device_scale_factor": 2,
            "locale": "ko-KR",
        }
        context = new_context(base_url=installation.url, **phone | options)
        context.set_default_timeout(MOVES_MS)
        if options.get("java_script_enabled", True):
            context.add_init_script(NOTE_VIOLATIONS)
        context.on("page", lambda page: listen(page, complaints))
        return context.new_page()

    expect.set_options(timeout=MOVES_MS)
    return open_page


def listen(page: Page, complaints: list[str]) -> None:
    def note(said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            complaints.append(f"{page.url}: {said.text}")

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))


@pytest.fixture
def person(visitor: Callable[..., Page], system: Flask) -> Callable[..., tuple[Page, int]]:
    """Open the page of somebody who is signed in already, and return it with their id."""

    def open_page(user: User | None = None, **options: Any) -> tuple[Page, int]:
        page, user = visitor(**options), user or make_user()
        cookie, _token = session_cookie(system, user)
        page.context.add_cookies([{"name": "session", "value": cookie, "domain": "127.0.0.1", "path": "/"}])
        return page, user.id

    return open_page


def photograph(page: Page, name: str) -> None:
    """Keep a picture of the page, phone and desktop, light and dark, when SCREENSHOTS_DIR is set."""
    if not (directory := os.environ.get("SCREENSHOTS_DIR")):
        return
    for size, viewport in (("phone", PHONE), ("desktop", DESKTOP)):
        for scheme in ("light", "dark"):
            page.set_viewport_size(viewport)
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.screenshot(path=Path(directory) / f"{name}-{size}-{scheme}.png", full_page=True)
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="light", reduced_motion="no-preference")


@contextmanager
def paused(coupon_id: int) -> Iterator[None]:
    """Hold the admission, so that there is time to look at who waits."""
    change_coupon(coupon_id, status=PAUSED)
    yield
    change_coupon(coupon_id, status=LIVE)


def heading(page: Page, text: str | re.Pattern[str]) -> None:
    expect(page.locator("h1")).to_have_text(text)


def claim_button(page: Page) -> Any:
    return page.get_by_role("button", name=CLAIM)


def register(page: Page) -> None:
    page.goto("/register")
    page.get_by_label("이메일").fill(f"minji{os.urandom(4).hex()}@example.com")
    page.get_by_label("이름").fill("민지")
    page.get_by_label("비밀번호").fill("correct horse")
    photograph(page, "register")
    page.get_by_role("main").get_by_role("button").click()
    page.wait_for_url("**/")


def offer(**fields: Any) -> int:
    terms = {
        "title": "치킨 5,000원 할인",
        "discount_amount": 5000,
        "min_available_amount": 20_000,
        "quota": 100,
    }
    return make_coupon(**terms | fields)


def test_from_registering_to_the_wallet(visitor, system):
    page = visitor()
    offer(), offer(title="피자 3,000원 할인", discount_amount=3000, opens_in=3000)
    register(page)
    photograph(page, "list")
    coupon = offer(opens_in=5)
    page.goto(f"/coupons/{coupon}")
    expect(page.get_by_role("timer")).to_be_visible()
    expect(claim_button(page)).to_be_disabled()
    page.evaluate("document.body.dataset.sameDocument = 'yes'")
    photograph(page, "scheduled")
    expect(claim_button(page)).to_be_enabled()
    assert page.evaluate("document.body.dataset.sameDocument") == "yes", "the button opened without a reload"
    photograph(page, "open")

    with paused(coupon):
        claim_button(page).click()
        heading(page, re.compile(r"1\s*번"))
        expect(page.get_by_text("잠시 멈췄어요. 순번은 그대로예요")).to_be_visible()
        photograph(page, "waiting-paused")
        page.reload()
        heading(page, re.compile(r"1\s*번"))

    heading(page, "축하해요! 쿠폰을 받았어요")
    expect(page.locator("h1")).to_be_focused()
    code = page.locator("#code")
    expect(code).to_have_text(SHOWN_CODE)
    photograph(page, "issued")
    shown = code.inner_text()
    page.get_by_role("main").get_by_role("link", name="내 쿠폰").click()
    page.wait_for_url("**/wallet")
    expect(page.get_by_text(shown)).to_be_visible()
    photograph(page, "wallet")


@on_sqlite
def test_the_same_without_javascript(visitor, system):
    page = visitor(java_script_enabled=False)
    register(page)
    coupon = offer(opens_in=4)
    page.goto(f"/coupons/{coupon}")
    expect(claim_button(page)).to_be_disabled()
    photograph(page, "no-js-scheduled")
    expect(claim_button(page)).to_be_enabled()
    with paused(coupon):
        claim_button(page).click()
        heading(page, re.compile(r"1\s*번"))
        photograph(page, "no-js-waiting")
    heading(page, "축하해요! 쿠폰을 받았어요")
    expect(page.locator("#code")).to_have_text(SHOWN_CODE)
    photograph(page, "no-js-issued")
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
            issuing.claim(coupon, other)
        claim_button(page).click()
        heading(page, re.compile(r"4\s*번"))
        expect(page.locator("[data-honest]")).to_be_visible()
        photograph(page, "waiting-more-ahead-than-left")
    heading(page, "아쉽게도 바로 앞에서 마감됐어요")
    expect(page.get_by_role("main")).to_contain_text("내 순번 4, 마지막 2")
    photograph(page, "missed")
    change_coupon(coupon, total_quantity=4)
    heading(page, "축하해요! 쿠폰을 받았어요")


@on_sqlite
def test_whoever_comes_after_the_end_sees_when_it_was(person, system):
    coupon = offer(quota=1)
    page, _user = person()
    page.goto(f"/coupons/{coupon}")
    expect(claim_button(page)).to_be_enabled()
    with paused(coupon):
        issuing.claim(coupon, make_user().id)
    heading(page, "준비한 쿠폰이 모두 나갔어요")
    expect(claim_button(page)).to_have_count(0)
    photograph(page, "sold-out")


@on_sqlite
def test_two_tabs_have_one_ticket(person, system):
    coupon = offer()
    first, user = person()
    with paused(coupon):
        issuing.claim(coupon, make_user().id)
        first.goto(f"/coupons/{coupon}")
        second = first.context.new_page()
        second.goto(f"/coupons/{coupon}")
        claim_button(first).click()
        heading(first, re.compile(r"2\s*번"))
        claim_button(second).click()
        heading(second, re.compile(r"2\s*번"))
        assert Line(line_redis(), coupon).gate().last == 2
    for tab in (first, second):
        heading(tab, "축하해요! 쿠폰을 받았어요")
    code = first.locator("#code").inner_text()
    expect(second.locator("#code")).to_have_text(code)
    assert issuing.standing(coupon, user).number == 2


@on_sqlite
def test_a_loser_reads_prints_and_verifies_the_receipt(person, visitor, system):
    coupon = offer(quota=1)
    page, user = person()
    with paused(coupon):
        issuing.claim(coupon, make_user().id)
        issuing.claim(coupon, user)
        page.goto(f"/coupons/{coupon}")
        heading(page, re.compile(r"2\s*번"))
    heading(page, "아쉽게도 바로 앞에서 마감됐어요")
    page.get_by_role("link", name="접수증 보기").click()
    expect(page.get_by_text("차례가 오기 전에 쿠폰이 모두 나갔어요.")).to_be_visible()
    photograph(page, "receipt")
    page.emulate_media(media="print")
    expect(page.get_by_role("navigation")).to_be_hidden()
    expect(page.locator("code")).to_be_visible()
    receipt = page.locator("code").inner_text()
    stranger = visitor()
    stranger.goto("/receipts/verify")
    stranger.get_by_label("접수증").fill(receipt)
    stranger.get_by_role("button", name="확인하기").click()
    expect(stranger.get_by_role("status")).to_have_text("저희가 서명한 접수증이 맞고, 바뀐 곳이 없어요.")
    photograph(stranger, "receipt-verified")


@on_sqlite
def test_back_and_a_click_too_early_do_no_harm(person, system):
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
    photograph(page, "too-early")


@on_sqlite
def test_signing_in_on_the_way_leads_back_to_the_coupon(visitor, system, complaints):
    coupon, page = offer(), visitor()
    user = make_user(f"jun{os.urandom(4).hex()}@example.com", password="correct horse")
    page.goto(f"/coupons/{coupon}")
    photograph(page, "anonymous")
    page.get_by_role("main").get_by_role("link", name="로그인").click()
    page.get_by_label("이메일").fill(user.email)
    page.get_by_label("비밀번호").fill("wrong")
    page.get_by_role("main").get_by_role("button").click()
    expect(page.get_by_label("이메일")).to_have_value(user.email)
    expect(page.get_by_label("비밀번호")).to_have_value("")
    photograph(page, "login-wrong")
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
    page.goto(f"/coupons/{coupon}")
    with paused(coupon):
        claim_button(page).click()
        heading(page, re.compile(r"1\s*번"))
        page.route("**/serving", lambda route: route.fulfill(status=503, headers={"Retry-After": "1"}))
        expect(page.locator("#offline")).to_be_visible()
        photograph(page, "connection-lost")
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
    page.goto(f"/coupons/{coupon}")
    with paused(coupon):
        claim_button(page).click()
        heading(page, re.compile(r"1\s*번"))
        Line(line_redis(), coupon).forget()
        assert issuing.claim(coupon, make_user().id).number == issuing.EPOCH_STEP + 1
        expect(page.locator("#coupon")).to_have_attribute("data-epoch", "2")
        heading(page, re.compile(r"1\s*번"))
    heading(page, "축하해요! 쿠폰을 받았어요")
    expect(page.get_by_text("내 순번은 1번이었어요")).to_be_visible()


@on_sqlite
def test_a_place_that_cannot_come_back_is_told(person, system):
    coupon = offer()
    page, user = person()
    page.goto(f"/coupons/{coupon}")
    with paused(coupon):
        claim_button(page).click()
        heading(page, re.compile(r"1\s*번"))
        give_place_away(coupon)
        expect(page.locator("#lost")).to_be_visible()
        photograph(page, "lost")
        claim_button(page).click()
        heading(page, re.compile(r"1,000,001\s*번"))
        assert issuing.standing(coupon, user).number == issuing.EPOCH_STEP + 1


def give_place_away(coupon_id: int) -> None:
    """Lose the line, and have somebody else at number 1: no failure that we know of does that."""
    line = Line(line_redis(), coupon_id)
    with line_redis().pipeline() as pipe:
        pipe.delete(line.gate_key, line.line_key)
        pipe.zadd(line.line_key, {str(make_user().id): 1})
        pipe.execute()


@on_sqlite
def test_a_blocked_account_is_told(person, system):
    coupon, user = offer(), make_user()
    page, _user = person(user)
    page.goto(f"/coupons/{coupon}")
    with paused(coupon):
        claim_button(page).click()
        heading(page, re.compile(r"1\s*번"))
        db.session.execute(update(User).where(User.id == user.id).values(blocked_at=utcnow()))
        db.session.commit()
    heading(page, "참여 대상이 아니에요")
    photograph(page, "rejected")


@on_sqlite
def test_states_that_only_stand_there(person, visitor, system):
    page, _user = person()
    closed = offer()
    change_coupon(closed, status=CLOSED)
    page.goto(f"/coupons/{closed}")
    heading(page, "끝난 이벤트예요")
    photograph(page, "ended")
    page.goto(f"/coupons/{offer(status=PAUSED)}")
    heading(page, "잠시 멈췄어요")
    expect(claim_button(page)).to_be_enabled()
    photograph(page, "paused")
    early = visitor()
    early.goto(f"/coupons/{offer(opens_in=3000)}")
    expect(early.get_by_role("timer")).to_be_visible()
    photograph(early, "anonymous-scheduled")
    page.goto("/wallet")
    photograph(page, "wallet-empty")


@on_sqlite
def test_in_english_on_a_desktop(visitor, system):
    page = visitor(locale="en-US", viewport=DESKTOP, is_mobile=False, has_touch=False)
    page.goto(f"/coupons/{offer(title='Chicken')}")
    heading(page, "Sign in to take part")
    photograph(page, "english-anonymous")
    page.get_by_role("link", name="한국어").click()
    heading(page, "로그인하고 참여하기")
    page.get_by_role("link", name="English").click()
    heading(page, "Sign in to take part")


@on_sqlite
def test_nothing_is_wider_than_a_small_phone(person, system):
    page, user = person(viewport={"width": 320, "height": 640})
    title = "가" * 100
    issuing.claim(held := offer(title=title), user)
    receipt = f"/coupons/{held}/receipt"
    for address in ("/", "/login", "/register", "/wallet", f"/coupons/{offer(title=title)}", receipt):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, address
