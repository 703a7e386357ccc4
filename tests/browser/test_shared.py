"""People who share a browser: each one's receipts are kept, and found again, as their own."""

import json

from playwright.sync_api import Page, expect

from tests.browser.pages import claim_button, heading, offer, on_sqlite, paused
from tests.browser.test_refusals import refused
from tests.builders import make_user, session_cookie
from webapp.line.line import Line
from webapp.sale import claims
from webapp.stores.script_redis import line_redis

pytestmark = on_sqlite


def now_is(page: Page, system, user_id: int) -> None:
    """Have somebody else sign in to this browser."""
    cookie, _token = session_cookie(system, user_id)
    page.context.clear_cookies(name="session")
    page.context.add_cookies([{"name": "session", "value": cookie, "domain": "127.0.0.1", "path": "/"}])


def stored(page: Page) -> dict[str, str]:
    return json.loads(page.evaluate("JSON.stringify(localStorage)"))


def claimed(page: Page, coupon: int) -> None:
    page.goto(f"/coupons/{coupon}")
    claim_button(page).click()
    expect(page.locator("#coupon")).to_have_attribute("data-expected", "waiting")


def test_each_finds_the_own_place_again(person, system):
    page, first = person()
    second = make_user().id
    with paused(coupon := offer()):
        for user in (first, second):
            now_is(page, system, user)
            claimed(page, coupon)
        receipts = stored(page)
        assert {f"receipt:{coupon}:{user}" for user in (first, second)} <= receipts.keys()
        page.goto("/wallet")
        Line(line_redis(), coupon).forget()
        # The second one looks first: what the first one keeps is not theirs, and stays.
        for user, number in ((second, 2), (first, 1)):
            now_is(page, system, user)
            page.goto(f"/coupons/{coupon}")
            expect(page.locator("#coupon")).to_have_attribute("data-number", str(number))
        assert claims.standing(coupon, first).number == 1


def test_a_third_person_forfeits_nothing_of_theirs(person, system):
    page, first = person()
    with paused(coupon := offer()):
        claimed(page, coupon)
        receipt = stored(page)[f"receipt:{coupon}:{first}"]
        # As it was kept before each user had a receipt of their own.
        page.evaluate(f"localStorage.clear(); localStorage['receipt:{coupon}'] = '{receipt}'")
        page.goto("/wallet")
        Line(line_redis(), coupon).forget()
        now_is(page, system, make_user().id)
        page.goto(f"/coupons/{coupon}")
        expect(claim_button(page)).to_be_visible()
        expect(page.locator("#lost")).to_be_hidden()
        page.wait_for_load_state("networkidle")
        assert stored(page)[f"receipt:{coupon}"] == receipt
        now_is(page, system, first)
        page.goto(f"/coupons/{coupon}")
        expect(page.locator("#coupon")).to_have_attribute("data-number", "1")
        page.wait_for_function(f"() => localStorage['receipt:{coupon}:{first}']")


def test_signed_out_it_says_that_somebody_asked_and_not_for_another_coupon(person, system):
    page, _first = person()
    with paused(coupon := offer()):
        claimed(page, coupon)
        other = offer()
        page.context.clear_cookies(name="session")
        page.goto(f"/coupons/{coupon}")
        expect(page.locator("#kept")).to_be_visible()
        page.goto(f"/coupons/{other}")
        expect(page.locator("#kept")).to_be_hidden()


def test_each_keeps_the_own_refusal(person, system, complaints):
    page, first = person()
    coupon = refused(page)
    page.unroute("**/serving")
    second = make_user().id
    now_is(page, system, second)
    page.goto(f"/coupons/{coupon}")
    heading(page, "준비한 쿠폰이 모두 나갔어요")
    expect(page.locator("#refusal")).to_be_hidden()
    assert f"refusal:{coupon}:{second}" not in stored(page)
    now_is(page, system, first)
    page.goto(f"/coupons/{coupon}")
    expect(page.locator("#refusal")).to_be_visible()
    assert stored(page)[f"refusal:{coupon}:{first}"]
    complaints.clear()
