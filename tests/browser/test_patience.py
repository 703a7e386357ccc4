"""No test waits for its browser for ever, and none is the end of the others."""

import os
import signal

import pytest
from playwright.sync_api import Error

from tests.browser.pages import killed_when_it_hangs, process_of


def test_a_call_that_never_ends_fails_and_shows_its_line(browser_type, browser_type_launch_args):
    with browser_type.launch(**browser_type_launch_args) as browser:
        page = browser.new_page()
        with (
            killed_when_it_hangs(process_of(browser), within_s=1),
            pytest.raises(Error, match=r"closed|crash"),
        ):
            page.evaluate("new Promise(() => {})")


def test_a_browser_that_was_killed_is_replaced(running, request):
    os.kill(process_of(running[-1]), signal.SIGKILL)
    with pytest.raises(Error, match="closed"):
        running[-1].new_page().evaluate("new Promise(() => {})")
    request.getfixturevalue("browser").new_page().close()
