"""No test waits for its browser for ever."""

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
