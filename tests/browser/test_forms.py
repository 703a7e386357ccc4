"""The operators' forms in a browser: clicked twice, gone back to, and without scripts."""

import re

from playwright.sync_api import Page, expect
from sqlalchemy import func, select

from tests.browser.pages import DESKTOP, on_sqlite
from tests.builders import make_user
from webapp.models import OPERATOR, Coupon
from webapp.stores.sql import db

NEW = "/admin/coupons/new"
CLICK_TWICE = """async () => {
  const form = document.querySelector("main form"), button = form.querySelector("button");
  button.click();
  await new Promise((done) => setTimeout(done));
  form.requestSubmit();
  return button.disabled;
}"""


def coupons(title: str) -> int:
    db.session.rollback()
    return db.session.scalar(select(func.count()).where(Coupon.title == title))


def fill(page: Page, title: str) -> None:
    page.locator("[name=title]").fill(title)
    page.locator("[name=total_quantity]").fill("1,000")
    page.locator("[name=issue_start_at]").fill("2030-01-01T10:00")
    page.locator("[name=issue_end_at]").fill("2030-01-01T11:00")


def create(page: Page) -> object:
    return page.get_by_role("button", name="초안 만들기")


def is_draft(page: Page, title: str) -> None:
    expect(page).to_have_url(re.compile(r"/admin/coupons/\d+$"))
    expect(page.locator("h1")).to_contain_text(title)
    expect(page.locator("h1")).to_contain_text("초안")


@on_sqlite
def test_two_clicks_send_one_form(person):
    page, _ = person(make_user(role=OPERATOR))
    sent: list[str] = []
    page.goto(NEW)
    fill(page, "느린 연결")
    page.on("request", lambda request: sent.append(request.method))
    assert page.evaluate(CLICK_TWICE), "the button is disabled after the first"
    is_draft(page, "느린 연결")
    assert (sent.count("POST"), coupons("느린 연결")) == (1, 1)


@on_sqlite
def test_without_scripts_two_clicks_make_one_coupon(person):
    page, _ = person(make_user(role=OPERATOR), java_script_enabled=False)
    page.goto(NEW)
    fill(page, "스크립트 없이")
    create(page).dblclick(no_wait_after=True)
    is_draft(page, "스크립트 없이")
    assert coupons("스크립트 없이") == 1


@on_sqlite
def test_whoever_goes_back_finds_a_button_that_works(person):
    page, _ = person(make_user(role=OPERATOR), viewport=DESKTOP)
    for title in ("되돌아가기", "두 번째"):
        page.goto(NEW)
        fill(page, title)
        create(page).click()
        is_draft(page, title)
        page.go_back()
        expect(create(page)).to_be_enabled()
    assert (coupons("되돌아가기"), coupons("두 번째")) == (1, 1)
