"""`coupon check` and the publishing of a draft: what blocks, what warns, and the exit codes."""

import pytest

from tests.builders import at_work, make_coupon
from tests.conftest import on_sqlite
from webapp.models import Coupon
from webapp.stores.sql import db

pytestmark = on_sqlite


@pytest.fixture
def run(app):
    def run(*args: object):
        result = app.test_cli_runner().invoke(args=[str(arg) for arg in args])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        db.session.rollback()
        return result

    return run


def status(coupon: int) -> str:
    return db.session.get_one(Coupon, coupon, populate_existing=True).status


def test_the_checks_are_printed_and_one_that_blocks_is_exit_code_1(run):
    with at_work():
        fine = run("coupon", "check", make_coupon(status="draft"))
        blocked = run("coupon", "check", make_coupon(status="draft", quota=0))
    assert (fine.exit_code, blocked.exit_code) == (0, 1)
    assert "ok     quota: 5 coupons at most." in fine.stdout
    assert "warn   validity: A coupon of it never expires." in fine.stdout
    assert "BLOCK  quota: The quota is 0: nobody can get one." in blocked.stdout


def test_expected_people_are_an_option(run):
    with at_work():
        result = run("coupon", "check", make_coupon(status="draft"), "--users", "5,000,000", "--seconds", 1)
    assert "warn   capacity: 5,000,000 people within 1 s are more" in result.stdout


def test_a_draft_is_published_only_when_nothing_blocks_and_its_warnings_are_accepted(run):
    draft, empty = make_coupon(status="draft"), make_coupon(status="draft", quota=0)
    with at_work():
        warned = run("coupon", "resume", draft)
        assert (warned.exit_code, warned.stderr.count("\n"), status(draft)) == (1, 1, "draft")
        assert "validity" in warned.stderr
        assert "--although-warned" in warned.stderr
        blocked = run("coupon", "resume", empty, "--although-warned")
        assert (blocked.exit_code, status(empty)) == (1, "draft")
        assert "checks block: quota" in blocked.stderr
        assert run("coupon", "resume", draft, "--although-warned").exit_code == 0
        assert status(draft) == "live"


def test_without_a_worker_a_draft_is_not_published(run):
    draft = make_coupon(status="draft")
    assert "checks block: work" in run("coupon", "resume", draft, "--although-warned").stderr
    assert status(draft) == "draft"


def test_an_unknown_coupon_is_one_line(run):
    result = run("coupon", "check", 999_999)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
