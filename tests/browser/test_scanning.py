"""A scanner reads the codes from the screen of a phone, by day and in the dark."""

from io import BytesIO

import pytest
import zxingcpp
from PIL import Image
from playwright.sync_api import Page

from tests.browser.pages import offer, on_sqlite
from tests.builders import make_user
from webapp.models import OPERATOR
from webapp.sale import admission, claims
from webapp.sale.codes import grouped, readings

pytestmark = on_sqlite


def scanned(page: Page) -> dict[str, str]:
    """Return what a scanner reads from the page, by the kind of code."""
    picture = Image.open(BytesIO(page.screenshot(full_page=True)))
    return {each.format.name: each.text for each in zxingcpp.read_barcodes(picture)}


def won(page: Page, user: int) -> str:
    """Open the page of somebody who has just got a coupon, and return its code."""
    coupon = offer()
    claims.claim(coupon, user)
    admission.admit(coupon)
    page.goto(f"/coupons/{coupon}")
    return claims.standing(coupon, user).code or ""


def darkest_beside(page: Page, kind: str) -> int:
    """Return the darkest grey, 0 to 255, along the white to the left and to the right of a code."""
    picture = Image.open(BytesIO(page.locator(kind).screenshot())).convert("L")
    width, height = picture.size
    edge, middle = width // 40, range(height // 4, height * 3 // 4)
    return min(
        picture.getpixel((x, y))
        for y in middle
        for x in [*range(edge // 2, edge), *range(width - edge, width - edge // 2)]
    )


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 390), ("dark", 320), ("light", 1280)])
def test_a_scanner_reads_both_codes_on_both_pages(person, system, scheme, width):
    page, user = person(color_scheme=scheme, viewport={"width": width, "height": 844}, device_scale_factor=3)
    code = won(page, user)
    assert scanned(page) == {"QRCode": code, "Code128": code}
    page.goto("/wallet")
    page.locator(".offers__title").first.click()
    page.wait_for_url("**/wallet/*")
    assert scanned(page) == {"QRCode": code, "Code128": code}


@pytest.mark.parametrize("kind", [".qr", ".barcode"])
def test_in_the_dark_a_code_has_white_beside_it(person, system, kind):
    # Joy, which falls over the page for a moment, is left out.
    page, user = person(color_scheme="dark", device_scale_factor=3, reduced_motion="reduce")
    won(page, user)
    assert darkest_beside(page, kind) == 255
    page.locator(f"{kind} svg path").first.evaluate("path => path.remove()")
    assert darkest_beside(page, kind) < 50, "the control: without what paints the white"


def test_the_link_beside_it_leads_staff_to_the_check(person, system):
    page, user = person(locale="en-US")
    code = won(page, user)
    address = page.get_by_role("link", name="For staff: check this code").get_attribute("href")
    assert address == f"/admin/redeem?code={grouped(code)}"
    assert code in readings(address)
    till, _ = person(make_user(role=OPERATOR), locale="en-US")
    till.goto(address)
    till.get_by_role("button", name="Use it now").wait_for()
