"""What the tests in a browser share: sizes, words, and coupons to claim."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.builders import make_coupon, make_user
from webapp.codes import ALPHABET
from webapp.extensions import line_redis
from webapp.line import Line
from webapp.models import LIVE, PAUSED
from webapp.policy import change_coupon

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
SHOWN_CODE = re.compile(
    rf"^[{ALPHABET.decode()}]{{4}}-[{ALPHABET.decode()}]{{4}}-[{ALPHABET.decode()}]{{4}}$"
)
CLAIM = "쿠폰 받기"
MOVES_MS = 15_000
"""How long a page may take to show what happened: two polls and a reload, on a busy machine."""

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
