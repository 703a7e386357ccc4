"""`flask coupon pool`: what it says, and that a refused or tried file changes nothing."""

import pytest
from sqlalchemy import func, select

from tests.builders import make_coupon, make_user
from webapp.models import PoolCode, Upload
from webapp.models.uploads import READING
from webapp.sale import admission, claims
from webapp.sale.coupons import coupon_by_id
from webapp.stores.sql import db


@pytest.fixture
def run(app, tmp_path):
    """Run a command on a file of these lines, and return its exit code and its output."""

    def run(coupon: int, *options: str, lines: list[str]) -> tuple[int, str]:
        path = tmp_path / "codes.csv"
        path.write_text("".join(f"{line}\n" for line in lines))
        words = ["coupon", "pool", str(coupon), "--file", str(path), *options]
        result = app.test_cli_runner().invoke(args=words)
        return result.exit_code, result.output

    return run


def state(coupon: int) -> tuple[int | None, int]:
    """Return what the coupon counts as left, and how many codes are kept in all."""
    found = coupon_by_id(coupon)
    assert found is not None
    with db.engine.connect() as connection:
        return found.pool_left, connection.scalar(select(func.count()).select_from(PoolCode)) or 0


def test_codes_are_tried_dry_brought_given_and_redeemed(run, app):
    coupon = make_coupon(quota=3)
    lines = ["code", "0001", "Ab-2", "0001"]
    code, said = run(coupon, "--dry-run", lines=[*lines, "C-003"])
    assert (code, state(coupon)) == (0, (None, 0))
    assert "3 good lines, 1 duplicates, 0 bad lines" in said
    assert "line 4: duplicate: 0001" in said
    assert "1 codes of digits begin with 0" in said
    assert "nothing has changed" in said
    code, said = run(coupon, lines=[*lines, "C-003"])
    assert (code, "3 codes are in the pool now, 3 are left" in said) == (0, True)
    claims.claim(coupon, make_user().id)
    admission.admit(coupon)
    assert state(coupon) == (2, 3)
    runner = app.test_cli_runner()
    assert "used 0001: Coupon" in runner.invoke(args=["coupon", "redeem", "0001"]).output
    assert "codes left     2" in runner.invoke(args=["coupon", "show", str(coupon)]).output
    audited = runner.invoke(args=["audit", str(coupon)])
    assert (audited.exit_code, "pool left: 2 codes" in audited.output) == (0, True)


def test_a_bad_line_changes_nothing_unless_it_is_skipped(run):
    coupon = make_coupon(quota=1)
    code, said = run(coupon, lines=["GOOD-1", "A B"])
    assert (code, "line 2: code_characters: A B" in said, state(coupon)) == (1, True, (None, 0))
    assert run(coupon, "--skip-bad", lines=["GOOD-1", "A B"])[0] == 0
    assert state(coupon) == (1, 1)


def test_what_cannot_count_is_refused_and_leaves_nothing(run):
    coupon = make_coupon(quota=3)
    code, said = run(coupon, lines=["GOOD-1"])
    assert (code, "It has gone live with a quota of 3" in said) == (1, True)
    assert state(coupon) == (None, 0)
    claims.claim(coupon, make_user().id)
    admission.admit(coupon)
    code, said = run(coupon, lines=["GOOD-1", "GOOD-2", "GOOD-3"])
    assert (code, "codes of ours" in said, state(coupon)) == (1, True, (None, 0))
    assert run(99, lines=["GOOD-1"]) == (1, "Error: there is no coupon 99\n")


def test_more_of_the_quota_than_codes_is_told(run):
    coupon = make_coupon(quota=3, status="draft", opens_in=600)
    code, said = run(coupon, lines=["GOOD-1"])
    assert (code, "2 coupons of the quota have no code yet" in said) == (0, True)


def test_while_a_file_is_read_another_one_waits(run):
    coupon = make_coupon(quota=1)
    with db.engine.begin() as connection:
        reading = {"kind": "codes", "coupon_id": coupon, "state": READING}
        connection.execute(Upload.__table__.insert().values(**reading))
    code, said = run(coupon, lines=["GOOD-1"])
    assert (code, "is being read" in said) == (1, True)
