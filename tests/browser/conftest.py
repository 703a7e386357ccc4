"""Browsers of people: a real Chromium against a real running system, in Korean, on a phone."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from deploy.processes import free_port, spawn, stop, wait_until
from tests.browser.jobs import OF_OWNERS, OF_TWO, Marketer
from tests.browser.pages import DESKTOP, MOVES_MS, PHONE, killed_when_it_hangs, process_of
from tests.browser.pictures import JOBS, keep_job, told_steps, write_index
from tests.builders import make_user, session_cookie
from tests.installation import Installation
from webapp.models import OPERATOR, OWNER, User
from webapp.stores.sql import db

READY_S = 60
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


@pytest.fixture(scope="session")
def two_people(installation: Installation) -> Iterator[str]:
    """The address of another web server of the running system, on which two people decide."""
    port = free_port()
    secret = (installation.directory / "secret_key").read_text()
    own = {"PORT": str(port), "SECRET_KEY": secret, "WEB_CONCURRENCY": "1", "TWO_PERSON_RULE": "on"}
    environ = installation.env | own | {"GUNICORN_CMD_ARGS": ""}
    with (installation.directory / "two_people.log").open("wb") as log:
        process = spawn([sys.executable, "-m", "deploy.web"], env=environ, stdout=log, stderr=log)
    wait_until(lambda: answers(port), wait_s=READY_S)
    yield f"http://127.0.0.1:{port}"
    stop(process, wait_s=READY_S)


def answers(port: int) -> bool:
    with suppress(OSError), closing(HTTPConnection("127.0.0.1", port, timeout=1)) as connection:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    return False


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the browsers' consoles complain of. A test that provokes something looks at it and clears the list."""
    said: list[str] = []
    yield said
    assert said == []


@pytest.fixture(scope="session")
def running(launch_browser: Callable[[], Browser]) -> Iterator[list[Browser]]:
    """The browsers of this process, the last of which may still run."""
    browsers = [launch_browser()]
    yield browsers
    browsers[-1].close()


@pytest.fixture
def browser(running: list[Browser], launch_browser: Callable[[], Browser]) -> Browser:
    """The browser of this process, or a new one where the last has died: its death fails one test alone."""
    if not running[-1].is_connected():
        running.append(launch_browser())
    return running[-1]


@pytest.fixture
def patience(browser: Browser) -> Iterator[None]:
    """Let no test wait for its browser for ever."""
    with killed_when_it_hangs(process_of(browser)):
        yield


@pytest.fixture
def visitor(
    patience: None,
    new_context: Callable[..., BrowserContext],
    installation: Installation,
    complaints: list[str],
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
        context = new_context(**{"base_url": installation.url} | phone | options)
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


OF_SIZES = {
    "phone": {"viewport": PHONE, "is_mobile": True},
    "desktop": {"viewport": DESKTOP, "is_mobile": False, "has_touch": False},
}


@pytest.fixture(params=OF_SIZES)
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def do(
    person: Callable[..., tuple[Page, int]], size: str, request: pytest.FixtureRequest
) -> Callable[[str, str], Page]:
    """Do a job, keep its picture, and see that it took the steps that the document tells."""

    def opened(role: str, name: str, **options: Any) -> Page:
        user = make_user(role=role, name=name)
        page, _user = person(user, device_scale_factor=1, **OF_SIZES[size], **options)
        page.goto("/admin/")
        return page

    def done(job: str, title: str) -> Page:
        server = {"base_url": request.getfixturevalue("two_people")} if job in OF_TWO else {}
        marketer = Marketer(opened(OWNER if job in OF_OWNERS else OPERATOR, "민지", **server))
        if job in OF_TWO:
            marketer.colleague = opened(OPERATOR, "서연", **server)
        JOBS[job](marketer, title)
        page = marketer.page
        assert keep_job(page, job, size, marketer.steps) or marketer.steps == told_steps(job, size)
        return page

    return done
