"""What a browser lacks, and what stands between it and us: the button works, and the page finds its way."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from deploy.processes import wait_until
from tests.browser.pages import MOVES_MS, claim_button, heading, offer, on_sqlite, paused
from tests.browser.test_resilience import forget
from webapp.line.line import Line
from webapp.sale import claims
from webapp.stores.script_redis import line_redis

pytestmark = on_sqlite
ISSUED = "축하해요! 쿠폰을 받았어요"
ANY_NUMBER = re.compile(r"\d\s*번")
Person = Callable[..., tuple[Page, int]]

FULL = """
let size = 1 << 20;
while (size) try { localStorage["filler" + size + Math.random()] = "x".repeat(size); } catch { size >>= 1; }
"""


def throws(of: str, name: str, error: str = "SecurityError") -> str:
    return (
        f"Object.defineProperty({of}, '{name}', "
        f"{{ configurable: true, get() {{ throw new DOMException('', '{error}'); }} }});"
    )


def gone(of: str, name: str) -> str:
    return f"delete {of}.{name}; Object.defineProperty({of}, '{name}', {{ configurable: true, value: undefined }});"


TAKEN_AWAY = {
    "fetch": gone("window", "fetch"),
    "AbortController": gone("window", "AbortController"),
    "AbortSignal": gone("window", "AbortSignal"),
    "AbortSignal.timeout": gone("AbortSignal", "timeout"),
    "localStorage, that throws": throws("window", "localStorage"),
    "localStorage, that is null": "Object.defineProperty(window, 'localStorage', { value: null });",
    "localStorage, that is full": FULL,
    "locks": gone("Navigator.prototype", "locks"),
    "locks, that reject": "navigator.locks.request = () => Promise.reject(new DOMException('', 'SecurityError'));",
    "locks, that throw": "navigator.locks.request = () => { throw new TypeError(); };",
    "locks, that say nothing": "navigator.locks.request = () => undefined;",
    "BroadcastChannel": gone("window", "BroadcastChannel"),
    "BroadcastChannel, that throws": "window.BroadcastChannel = function () { throw new TypeError(); };",
    "performance": gone("window", "performance"),
    "Intl": gone("window", "Intl"),
    "times of other zones": "Date.prototype.toLocaleString = () => { throw new RangeError(); };",
    "URLSearchParams": gone("window", "URLSearchParams"),
    "FormData": gone("window", "FormData"),
    "aria reflection": gone("Element.prototype", "ariaBusy") + gone("Element.prototype", "ariaPressed"),
    "window.stop": gone("window", "stop"),
    "history.replaceState": "history.replaceState = () => { throw new DOMException('', 'SecurityError'); };",
    "document.hidden": gone("Document.prototype", "hidden"),
    "clipboard": gone("Navigator.prototype", "clipboard"),
    "newer methods": "".join(
        gone(f"{kind}.prototype", name)
        for kind, names in {"Array": ["at", "findLast"], "String": ["at", "replaceAll"]}.items()
        for name in names
    ),
}


def unanswered(route: Route) -> None:
    """Never answer."""


def soon(seconds: int) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def answer(
    status: int, body: str = "<h1>Something else</h1>", kind: str = "text/html", **headers: str
) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda route: route.fulfill(status=status, content_type=kind, body=body, headers=named)


@pytest.mark.parametrize("script", TAKEN_AWAY.values(), ids=TAKEN_AWAY.keys())
def test_without_one_of_them_the_claim_works_and_the_page_moves(person: Person, system, script: str) -> None:
    page, _user = person()
    page.add_init_script(script)
    coupon = offer()
    page.goto(f"/coupons/{coupon}?notice=bad_csrf")
    with paused(coupon):
        claim_button(page).click()
        heading(page, ANY_NUMBER)
        if "fetch" in script:
            page.get_by_role("link", name="최신 상태 보기").click()
        else:
            expect(page.locator("[data-field=updated]")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    if "fetch" in script:
        page.get_by_role("link", name="최신 상태 보기").click()
    heading(page, ISSUED)


def test_control_what_is_taken_away_is_gone(person: Person, system, complaints: list[str]) -> None:
    page, _user = person()
    for script in TAKEN_AWAY.values():
        page.add_init_script("{" + script + "}")
    page.goto("/login")
    missing = page.evaluate(
        """() => [self.fetch, self.AbortController, self.BroadcastChannel, self.Intl, navigator.clipboard, "".at,
                  document.hidden, self.stop, self.FormData].every((each) => each === undefined)"""
    )
    assert missing
    with pytest.raises(Exception, match=r"null|SecurityError|full"):
        page.evaluate("() => { localStorage.one = 'more'; }")
    complaints.clear()


# Scripts that do not come


SCRIPTS = {
    "cut off": lambda route: route.abort(),
    "never answered": unanswered,
    "not found": lambda route: route.fulfill(status=404, content_type="text/html", body="<h1>404"),
    "answered by something else": lambda route: route.fulfill(content_type="text/html", body="<h1>Sign in"),
    "empty": lambda route: route.fulfill(content_type="text/javascript", body=""),
    "half": lambda route: (lambda answer: route.fulfill(response=answer, body=answer.text()[:1500]))(
        route.fetch()
    ),
}


def has_ticket(page: Page, pressed: Locator) -> bool:
    """Press, and return whether the page that comes then shows a ticket."""
    if pressed.count():
        pressed.click(no_wait_after=True)
    page.wait_for_load_state("commit")
    page.locator("h1").wait_for(state="attached")
    return bool(page.locator("h1.ticket").count())


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_script_that_does_not_come_leaves_a_form_that_works_at_the_opening(
    person: Person, system, complaints: list[str], script: Callable[[Route], Any]
) -> None:
    page, _user = person()
    page.route("**/static/*.js*", script)
    coupon = offer(opens_in=6)
    page.goto(f"/coupons/{coupon}", wait_until="commit")
    claim_button(page).click(no_wait_after=True)
    expect(page.get_by_role("status").first).to_contain_text("조금 일찍 누르셨어요")
    with paused(coupon):
        assert wait_until(lambda: has_ticket(page, claim_button(page)), wait_s=MOVES_MS / 1000)
        page.get_by_role("link", name="최신 상태 보기").click(no_wait_after=True)
        heading(page, ANY_NUMBER)
    latest = page.get_by_role("link", name="최신 상태 보기")
    assert wait_until(lambda: not has_ticket(page, latest), wait_s=MOVES_MS / 1000)
    heading(page, ISSUED)
    complaints.clear()


# What answers in our place


JSON = "application/json"
STRANGERS = {
    "429 html": answer(429),
    "429 html, Retry-After": answer(429, Retry_After="2"),
    "429 html, Retry-After a date": lambda route: answer(429, Retry_After=soon(3), Date=soon(0))(route),
    "429 json": answer(429, '{"code":"rate_limited","status":429}', JSON, Retry_After="1"),
    "200 html": answer(200),
    "200 nothing": answer(200, ""),
    "200 other json": answer(200, '{"ok":true}', JSON),
    "200 broken json": answer(200, '{"state":"issued",', JSON),
    "200 a list": answer(200, "[]", JSON),
    "200 null": answer(200, "null", JSON),
    "204": answer(204, ""),
    "302 to a portal": answer(302, "", Location="http://portal.invalid/"),
    "302 to our sign-in": answer(302, "", Location="/login"),
    "403 html": answer(403),
    "403 json": answer(403, '{"message":"Forbidden"}', JSON),
    "408": answer(408),
    "413 html": answer(413),
    "500 html": answer(500),
    "502 html": answer(502),
    "503 html, Retry-After nonsense": answer(503, Retry_After="soon"),
    "511 html": answer(511),
    "a problem of others": answer(401, '{"title":"Denied","status":401}', "application/problem+json"),
    "reset": lambda route: route.abort("connectionreset"),
    "refused": lambda route: route.abort("connectionrefused"),
    "never": unanswered,
}


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS.keys())
def test_an_answer_that_is_not_ours_is_no_answer(
    person: Person, system, complaints: list[str], stranger: Callable[[Route], Any]
) -> None:
    """The first claim, the first poll and the first look at the ticket are answered by something else."""
    page, user = person()
    coupon = offer()
    page.goto(f"/coupons/{coupon}")
    for address in ("claim", "serving", "ticket"):
        page.route(f"**/{address}", stranger, times=1)
    claim_button(page).click()
    heading(page, ISSUED)
    assert claims.standing(coupon, user).number == Line(line_redis(), coupon).gate().last == 1
    complaints.clear()


@pytest.mark.parametrize("answered", ["429 html, Retry-After", "429 html, Retry-After a date"])
def test_retry_after_is_honoured(person: Person, system, complaints: list[str], answered: str) -> None:
    page, _user = person()
    page.goto(f"/coupons/{offer()}")
    sent: list[datetime] = []
    page.on("request", lambda request: request.url.endswith("/claim") and sent.append(datetime.now(UTC)))
    page.route("**/claim", STRANGERS[answered], times=1)
    claim_button(page).click()
    heading(page, ISSUED)
    assert sent[1] - sent[0] >= timedelta(seconds=1.9)
    forget(complaints, "status of 429")


def test_control_an_answer_of_ours_is_taken_as_it_is(person: Person, system, complaints: list[str]) -> None:
    page, user = person()
    page.goto(f"/coupons/{(coupon := offer())}")
    ours = '{"type":"about:blank","code":"closed","status":410,"title":"","detail":""}'
    page.route("**/claim", answer(410, ours, "application/problem+json"), times=1)
    with page.expect_navigation():
        claim_button(page).click()
    assert claims.standing(coupon, user).state == "none"
    forget(complaints, "status of 410")
