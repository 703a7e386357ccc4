"""A claim with the keyboard alone, and what a screen reader is told of it."""

import re
from itertools import pairwise

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import POLL_MS, heading, next_poll, offer, on_sqlite, paused, stop_clock
from tests.builders import make_user, make_users
from webapp.sale import claims
from webapp.sale.coupons import change_coupon

pytestmark = on_sqlite


def tab_to(page: Page, name: str) -> None:
    """Press Tab until something of that name has the focus, and see that the focus shows."""
    for _ in range(25):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.innerText || document.activeElement.id")
        if re.search(name, focused or ""):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            return
    raise AssertionError(f"no way to {name} with the keyboard")


def test_a_claim_with_the_keyboard_alone(visitor, system):
    coupon = offer(status="paused")
    user = make_user(f"hana{make_user().id}@example.com", password="correct horse")
    page = visitor(is_mobile=False, has_touch=False)
    page.goto(f"/coupons/{coupon}")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    tab_to(page, "^로그인하기$")
    page.keyboard.press("Enter")
    page.wait_for_url("**/login**")
    expect(page.get_by_label("이메일")).to_be_focused()
    page.keyboard.type(user.email)
    page.keyboard.press("Tab")
    expect(page.get_by_label("비밀번호")).to_be_focused()
    page.keyboard.type("correct horse")
    page.keyboard.press("Enter")
    heading(page, "잠시 멈췄어요")
    tab_to(page, "쿠폰 받기")
    page.keyboard.press("Enter")
    heading(page, re.compile(r"1\s*번"))
    tab_to(page, "자동 새로고침 끄기")
    change_coupon(coupon, status="live")
    heading(page, "축하해요! 쿠폰을 받았어요")
    expect(page.locator("h1")).to_be_focused()
    tab_to(page, "내 쿠폰")
    page.keyboard.press("Enter")
    page.wait_for_url("**/wallet**")


def test_what_a_screen_reader_finds_at_each_step(person, system):
    page, _ = person()
    page.goto(f"/coupons/{offer(opens_in=600)}")
    expect(page.get_by_role("button", name="쿠폰 받기")).to_be_disabled()
    tree = page.get_by_role("main").aria_snapshot()
    assert re.search(r'heading "[^"]+" \[level=1\]', tree)
    assert "timer" in tree
    assert re.search(r'button "쿠폰 받기" \[disabled\]', tree)
    coupon = offer()
    with paused(coupon):
        page.goto(f"/coupons/{coupon}")
        for other in make_users(2):
            claims.claim(coupon, other)
        page.get_by_role("button", name="쿠폰 받기").click()
        heading(page, re.compile(r"3\s*번"))
        expect(page.get_by_role("button", name="자동 새로고침 끄기")).to_be_visible()
        tree = page.get_by_role("main").aria_snapshot()
        assert re.search(r'heading "대기 순번 3\s*번" \[level=1\]', tree)
        assert "progressbar" in tree
        assert 'button "자동 새로고침 끄기"' in tree
        expect(page.get_by_role("status")).to_contain_text("앞에 2명")
    heading(page, "축하해요! 쿠폰을 받았어요")
    tree = page.get_by_role("main").aria_snapshot()
    assert 'heading "축하해요! 쿠폰을 받았어요" [level=1]' in tree
    assert 'button "코드 복사하기"' in tree


@pytest.mark.parametrize(("ahead", "seconds"), [(200, 15), (50, 5)])
def test_the_status_speaks_seldom_far_from_the_front(person, system, ahead, seconds):
    """Far from the front it may every 15 s, near it every 5 s."""
    page, user = person()
    stop_clock(page)
    coupon = offer(status="paused")
    for each in (*make_users(ahead), user):
        claims.claim(coupon, each)
    page.goto(f"/coupons/{coupon}")
    page.evaluate(
        """() => {
            window.spokenAt = [0];
            new MutationObserver(() => window.spokenAt.push(performance.now()))
                .observe(document.getElementById("spoken"), { childList: true });
        }"""
    )
    for _ in range(2 * seconds + 5):
        next_poll(page)
    pauses = [then - before for before, then in pairwise(page.evaluate("window.spokenAt"))]
    assert len(pauses) >= 2
    assert all(seconds * 1000 <= pause <= seconds * 1000 + 2 * POLL_MS for pause in pauses), pauses


@pytest.mark.parametrize(
    "address", ["/", "/login", "/register", "/wallet", "/coupons/{coupon}", "/receipts/verify"]
)
def test_what_a_finger_meets_is_large_enough(person, system, address):
    page, _ = person()
    page.goto(address.format(coupon=offer()))
    small = page.evaluate(
        """() => [...document.querySelectorAll("a, button, input:not([type=hidden])")]
            .filter((each) => each.checkVisibility() && !each.closest("p:not(.back), li, dd, .skip"))
            .map((each) => [each.innerText || each.name, each.getBoundingClientRect().height])
            .filter(([, height]) => height < 47.5)"""
    )
    assert small == []
