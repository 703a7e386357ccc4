"""Whoever clicks after the last coupon had gone sees why, and keeps the receipt of it."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import claim_button, heading, offer, on_sqlite
from tests.builders import make_user
from webapp.sale import admission, claims

pytestmark = on_sqlite

WORDS = "마지막 쿠폰이 나간 뒤에 신청이 도착했어요."


def refused(page: Page) -> int:
    """Click when the last coupon has gone since the page was opened, and return the coupon."""
    coupon = offer(quota=1)
    page.route("**/serving", lambda route: None)  # the page hears nothing of it
    page.goto(f"/coupons/{coupon}")
    claims.claim(coupon, make_user().id)
    admission.admit(coupon)
    claim_button(page).click()
    heading(page, "준비한 쿠폰이 모두 나갔어요")
    return coupon


@pytest.mark.parametrize("scripts", [True, False], ids=["", "no JavaScript"])
def test_the_page_says_why_and_leads_to_the_receipt(person, system, scripts, complaints):
    page, _user = person(java_script_enabled=scripts)
    coupon = refused(page)
    expect(page.get_by_role("main")).to_contain_text(WORDS)
    if scripts:
        page.wait_for_url(re.compile(rf"/coupons/{coupon}$"))
    page.get_by_role("link", name="접수증 보기").click()
    expect(page.get_by_role("main")).to_contain_text(WORDS)
    page.get_by_role("link", name="이 접수증 확인하기").click()
    expect(page.get_by_role("main")).to_contain_text("저희가 서명한 접수증이 맞고")
    complaints.clear()


@pytest.mark.parametrize("address", ["/coupons/{}", "/coupons/{}/receipt"])
def test_the_browser_keeps_the_first_receipt_of_it(person, system, complaints, address):
    page, _user = person()
    coupon = refused(page)
    first = page.locator("#refusal").get_attribute("data-refusal")
    page.goto(address.format(coupon))
    link = page.get_by_role("link", name="접수증 보기")
    expect(link).to_have_attribute("href", re.compile(rf"/coupons/{coupon}/receipt\?refusal={first}$"))
    link.click()
    expect(page.get_by_role("main")).to_contain_text(WORDS)
    complaints.clear()


def test_a_full_storage_only_forgets_it(person, system, complaints):
    page, _user = person()
    page.context.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw 0 } })")
    coupon = refused(page)
    expect(page.get_by_role("link", name="접수증 보기")).to_be_visible()
    page.goto(f"/coupons/{coupon}")
    expect(page.locator("#refusal")).to_be_hidden()
    complaints.clear()
