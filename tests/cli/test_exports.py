"""`coupon export`: the same file as the console's, and exit code 1 for one that is not whole."""

import json

import pytest
from sqlalchemy.exc import OperationalError

from tests.builders import failing, make_coupon, make_users
from tests.conftest import on_sqlite
from tests.log.test_writing import newest, written
from tests.sale.test_exports import issue
from webapp.sale import exports, records
from webapp.sale.exports import EXPORTS
from webapp.stores.sql import db

pytestmark = on_sqlite


@pytest.fixture
def run(app):
    """Run the command, and return its exit code, the bytes of its file and what it says beside it."""

    def run(*words: object) -> tuple[int, bytes, str]:
        result = app.test_cli_runner().invoke(args=["coupon", "export", *map(str, words)])
        db.session.rollback()
        return result.exit_code, result.stdout_bytes, result.stderr

    return run


@pytest.mark.parametrize("what", EXPORTS)
def test_a_file_is_written_with_nothing_beside_it(run, what):
    coupon = make_coupon()
    issue(coupon, make_users(3))
    code, file, said = run(coupon, "--what", what)
    assert (code, said) == (0, "")
    assert file.count(b"\r\n") == {"winners": 4, "log": 3}.get(what, 1)
    assert file.decode().startswith({"standby": "\ufeffPlace", "log": "\ufeffNo."}.get(what, "\ufeffNumber"))
    assert run(coupon, "--what", what, "--lang", "ko")[1].decode()[1:3] in ("순번", "예비", "번호")


def test_a_file_that_breaks_off_is_exit_code_1(run, monkeypatch):
    monkeypatch.setattr("webapp.values.sheets.AT_ONCE", 5)
    coupon = make_coupon(quota=None)
    issue(coupon, make_users(20))
    monkeypatch.setattr(exports, "PAGE", 10)
    monkeypatch.setattr(records.time, "sleep", failing(OperationalError("SELECT", {}, Exception("gone"))))
    code, file, said = run(coupon, "--what", "winners")
    assert code == 1
    assert 0 < file.count(b"\r\n") < 20
    assert said.startswith("Error: SQL failed")
    assert said.count("\n") == 1


def test_an_unknown_coupon_and_an_unknown_file_are_refused_in_words(run):
    assert run(999, "--what", "winners") == (1, b"", "Error: there is no coupon 999\n")
    code, file, said = run(make_coupon(), "--what", "everybody")
    assert (code, file) == (2, b"")
    assert "winners" in said


@pytest.mark.parametrize("what", EXPORTS)
def test_each_file_leaves_a_row_in_the_log_of_operators(run, what):
    coupon, before = make_coupon(), newest()
    run(coupon, "--what", what)
    (row,) = written(before)
    assert (row.verb, row.actor_id, row.origin, row.coupon_id) == ("export", None, "command", coupon)
    assert json.loads(row.after) == {"file": what}


def test_without_its_row_there_is_no_file(run, monkeypatch):
    coupon = make_coupon()
    monkeypatch.setattr(exports, "record", failing(OperationalError("INSERT", {}, Exception("read only"))))
    said = "Error: the log cannot be written, and no file leaves without it\n"
    assert run(coupon, "--what", "winners") == (1, b"", said)
