"""What the tests in a browser share: sizes, words, and coupons to claim."""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.builders import make_coupon, make_user
from webapp.line.line import Line
from webapp.models import LIVE, PAUSED, User
from webapp.sale.codes import ALPHABET
from webapp.sale.coupons import change_coupon
from webapp.stores.script_redis import line_redis

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
SHOWN_CODE = re.compile(
    rf"^[{ALPHABET.decode()}]{{4}}-[{ALPHABET.decode()}]{{4}}-[{ALPHABET.decode()}]{{4}}$"
)
CLAIM = "쿠폰 받기"
MOVES_MS = 30_000
"""How long a page may take to show what happened: two polls and a reload, on a busy machine."""
HANGS_S = 180.0
"""A test in which a browser has been open for so long hangs: no wait of ours is longer than MOVES_MS."""
POLL_MS = 1200
"""The longest pause between two polls near the front: 1 s and 20 %."""

on_sqlite = pytest.mark.parametrize("installation", ["sqlite"], indirect=True)


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


def stop_clock(page: Page) -> datetime:
    """Have time stand still in the pages that are opened next, whatever the machine is busy with; return the time."""
    now = datetime.now(UTC)
    page.clock.install(time=now - timedelta(hours=1))
    page.clock.pause_at(now)
    return now


def next_poll(page: Page, within_ms: int = POLL_MS) -> None:
    """Let the time of a page whose clock was stopped go on until it has heard of a poll."""
    page.wait_for_function("async () => (await navigator.locks.query()).held.length")
    heard = "document.body.dataset.heard"
    before = page.evaluate(f"{heard} ??= (addEventListener('news', () => {heard}++), 0)")
    page.clock.run_for(within_ms)
    expect(page.locator("body")).not_to_have_attribute("data-heard", str(before))


def mislead(page: Page, **said: Any) -> None:
    """Have the page's polls hear this in place of what the server says."""

    def answer(route: Route) -> None:
        route.fulfill(json=route.fetch().json() | said)

    page.route("**/serving", answer)


def serve(coupon_id: int, number: int) -> None:
    """Have polls hear of that serving number."""
    line = Line(line_redis(), coupon_id)
    line_redis().hset(line.gate_key, "serving", number)


def register(page: Page) -> None:
    page.goto("/register")
    page.get_by_label("이메일").fill(f"minji{os.urandom(4).hex()}@example.com")
    page.get_by_label("이름").fill("민지")
    page.get_by_label("비밀번호").fill("correct horse")
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


def give_place_away(coupon_id: int) -> None:
    """Lose the line, and have somebody else at number 1: no failure that we know of does that."""
    line = Line(line_redis(), coupon_id)
    with line_redis().pipeline() as pipe:
        pipe.delete(line.gate_key, line.line_key)
        pipe.zadd(line.line_key, {str(make_user().id): 1})
        pipe.execute()


@contextmanager
def frozen(process_id: int) -> Iterator[None]:
    """Have a process answer nobody for a while."""
    os.kill(process_id, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process_id, signal.SIGCONT)


def process_of(browser: Browser) -> int:
    """Return the id of the browser's own process."""
    told = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
    return next(int(each["id"]) for each in told["processInfo"] if each["type"] == "browser")


@contextmanager
def killed_when_it_hangs(process_id: int, within_s: float = HANGS_S) -> Iterator[None]:
    """Kill a browser that is still in use after that time: what waits for it fails then, and shows its line.

    Many of Playwright's calls know no time limit, `evaluate` and `set_offline` among them.
    """
    limit = threading.Timer(within_s, os.kill, (process_id, signal.SIGKILL))
    limit.start()
    try:
        yield
    finally:
        limit.cancel()


def shopper_reads(
    person: Callable[..., tuple[Page, int]], coupon: int, text: str, user: User | None = None
) -> None:
    page, _user = person(user)
    page.goto(f"/coupons/{coupon}")
    expect(page.get_by_role("main")).to_contain_text(text)
