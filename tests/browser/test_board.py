"""The live board in a browser: it goes on by itself, rests where nobody looks, and works without its script."""

import re

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import update

from tests.browser.pages import frozen, offer, on_sqlite, paused
from tests.builders import make_user, make_users
from webapp.models import OPERATOR, USER, User
from webapp.sale import claims
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

pytestmark = on_sqlite


def figure(page: Page, name: str):
    """Return the place of the figure of that name."""
    return page.locator(f".board__figures div:has(dt:text-is('{name}')) dd")


def come(coupon: int, count: int) -> None:
    for user in make_users(count):
        claims.claim(coupon, user)


@pytest.fixture
def board(person, system):
    """Open the board of a coupon, as an operator; return it with the coupon."""

    def open_board(**options) -> tuple[Page, int]:
        coupon = offer(quota=50)
        claims.line_status(coupon)
        page, _ = person(make_user(role=OPERATOR), **options)
        page.goto(f"/admin/coupons/{coupon}/live")
        return page, coupon

    return open_board


def test_the_figures_follow_the_sale_by_themselves(board):
    page, coupon = board()
    with paused(coupon):
        come(coupon, 7)
        expect(figure(page, "대기")).to_have_text("7")
    expect(figure(page, "발급")).to_have_text("7 / 50")
    expect(page.locator(".board__state")).to_have_text("진행 중이에요.")
    expect(page.locator("[data-part=whole] svg")).to_be_visible()


def test_who_reads_a_part_is_not_disturbed(board):
    page, coupon = board()
    page.get_by_text("표로 보기").click()
    page.locator("summary").focus()
    come(coupon, 3)
    expect(figure(page, "발급")).to_have_text("3 / 50")
    expect(page.locator("details")).to_have_attribute("open", "")
    expect(page.locator("summary")).to_be_focused()
    expect(page.get_by_role("table").first).to_be_visible()


def test_the_figures_stand_still_when_they_are_asked_to(board):
    page, coupon = board()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("button", name="자동 새로고침 끄기").click()
    expect(page.get_by_role("button", name="자동 새로고침 켜기")).to_be_visible()
    come(coupon, 3)
    before = len(asked)
    page.get_by_role("button", name="자동 새로고침 켜기").click()
    expect(figure(page, "발급")).to_have_text("3 / 50")
    assert len(asked) > before


def test_it_goes_on_when_the_server_is_back(board, complaints):
    page, coupon = board()
    page.route("**/live/now", lambda route: route.abort())
    expect(page.locator("#unheard")).to_be_visible()
    come(coupon, 3)
    page.unroute("**/live/now")
    expect(page.locator("#unheard")).to_be_hidden()
    expect(figure(page, "발급")).to_have_text("3 / 50")
    complaints.clear()


def test_it_goes_on_when_redis_is_back(board):
    page, coupon = board()
    come(coupon, 3)
    expect(figure(page, "발급")).to_have_text("3 / 50")
    with frozen(line_redis().info("server")["process_id"]):
        expect(page.locator(".board__old")).to_be_visible()
        expect(figure(page, "발급")).to_have_text("3 / 50")
        expect(page.get_by_role("status")).to_contain_text("대기열 저장소(Redis)가 응답하지 않아요")
    expect(page.locator(".board__old")).to_have_count(0)
    come(coupon, 1)
    expect(figure(page, "발급")).to_have_text("4 / 50")


def test_who_is_no_operator_any_more_is_shown_out(board, complaints):
    page, _coupon = board()
    db.session.execute(update(User).values(role=USER))
    db.session.commit()
    expect(page.locator("h1")).to_have_text("다시 로그인해 주세요")
    complaints.clear()


def test_without_a_script_the_link_shows_the_latest(board):
    page, coupon = board(java_script_enabled=False)
    expect(page.get_by_role("button", name="자동 새로고침 끄기")).to_be_hidden()
    come(coupon, 3)
    link = page.get_by_role("link", name="최신 숫자 보기")
    expect(link).to_be_visible()
    for _ in range(20):  # the admission may take some looks
        link.click()
        if figure(page, "발급").inner_text() == "3 / 50":
            break
    expect(figure(page, "발급")).to_have_text("3 / 50")


def test_it_is_used_with_one_hand(board):
    """What one can do stands at the lower edge of a phone, however far the page was read."""
    page, _coupon = board()
    bar = page.get_by_role("navigation", name="할 수 있는 일")
    for where in (0, 400, 10_000):
        page.evaluate(f"scrollTo(0, {where})")
        for control in (bar.get_by_role("link", name=re.compile("일시 정지")), bar.get_by_role("button")):
            expect(control).to_be_in_viewport()
            box = control.bounding_box()
            assert box["height"] >= 48
            assert box["y"] > page.viewport_size["height"] / 2


def test_on_a_wall_the_main_figures_are_large(board):
    page, _coupon = board(viewport={"width": 1920, "height": 1080}, is_mobile=False, has_touch=False)
    size = figure(page, "대기").evaluate("each => parseFloat(getComputedStyle(each).fontSize)")
    assert size >= 60
    expect(page.locator("[data-part=minute] p, [data-part=minute] svg").first).to_be_in_viewport()
