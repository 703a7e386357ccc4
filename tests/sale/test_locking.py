"""What has to be done under a coupon's lock takes the lock, and a lock that is not held is refused."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from deploy.processes import ROOT
from tests.builders import make_coupon
from webapp.models import Coupon
from webapp.sale import admission, coupons, epochs, publishing
from webapp.sale.locking import CouponLock, NotLocked, locked_coupon
from webapp.stores.sql import db

pytestmark = pytest.mark.usefixtures("app")

UNDER_THE_LOCK = {
    "decide": lambda lock: admission._decide(lock, None, trusting=True),
    "write": lambda lock: admission._write(lock, None, None),
    "begin an epoch": lambda lock: epochs._begin_epoch(lock, None),
    "settle an issue": lambda lock: publishing.settle_issue(lock, SimpleNamespace()),
    "compare with the gate": lambda lock: publishing._fits(None, lock),
    "keep promises": lambda lock: coupons._keep_promises(lock, {}, None),
}
NOT_TYPED = """
from webapp.sale import admission, coupons, epochs, publishing
from webapp.sale.locking import CouponLock

def without(line, head, batch, gate, issue, row):
    admission._decide(row, head, trusting=True)
    admission._write(row, head, batch)
    epochs._begin_epoch(row, line)
    publishing.settle_issue(row, issue)
    publishing._fits(gate, row)
    coupons._keep_promises(row, {}, None)
"""


@pytest.mark.parametrize("name", UNDER_THE_LOCK)
def test_with_a_lock_that_was_given_back_nothing_is_done(name):
    with locked_coupon(make_coupon()) as lock:
        pass
    with pytest.raises(NotLocked):
        UNDER_THE_LOCK[name](lock)


@pytest.mark.parametrize("name", UNDER_THE_LOCK)
def test_after_the_commit_the_lock_is_held_no_more(name):
    with locked_coupon(make_coupon()) as lock:
        lock.commit()
        with pytest.raises(NotLocked):
            UNDER_THE_LOCK[name](lock)


def test_nobody_makes_a_lock_of_a_row_that_was_read():
    coupon = make_coupon()
    with db.engine.connect() as connection:
        row = connection.execute(select(Coupon.__table__).where(Coupon.id == coupon)).one()
        with pytest.raises(NotLocked):
            CouponLock(connection, row)


def test_control_a_lock_that_is_held_gives_the_row_and_the_transaction():
    coupon = make_coupon()
    with locked_coupon(coupon) as lock:
        assert (lock.coupon.id, lock.connection.in_transaction()) == (coupon, True)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("kind", "errors"), [("object", 6), ("CouponLock", 0)])
def test_a_call_without_the_lock_is_an_error_of_types(tmp_path, kind, errors):
    wrong = tmp_path / "wrong.py"
    typed = "from typing import Any\n" + NOT_TYPED.replace(
        "line, head, batch, gate, issue, row",
        f"line: Any, head: Any, batch: Any, gate: Any, issue: Any, row: {kind}",
    ).replace("):\n", ") -> None:\n")
    wrong.write_text(typed)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-incremental", "--follow-imports=silent", str(wrong)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.count("[arg-type]") == errors, done.stdout
