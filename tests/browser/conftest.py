"""Browsers of people: a real Chromium against a real running system, in Korean, on a phone."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect

from tests.browser.pages import MOVES_MS, PHONE
from tests.browser.pictures import write_index
from tests.builders import make_user, session_cookie
from tests.installation import Installation
from webapp.models import User
from webapp.stores.sql import db

NOTE_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
"""


def pytest_sessionfinish() -> None:
    if directory := os.environ.get("SCREENSHOTS_DIR"):
        write_index(Path(directory))


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
            "timezone_id": "Asia/Seoul",
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
