"""The commands that bring files: what they say, and that a refused file changes nothing."""

import pytest
from sqlalchemy import func, select

from tests.builders import make_coupon, make_user
from tests.sale.test_lists import key_and_grade
from webapp.models import Coupon, ListedPerson, StagedMember
from webapp.sale import claims
from webapp.sale.outcomes import Refused
from webapp.stores.sql import db


@pytest.fixture
def run(app, tmp_path):
    """Run a command, with a file where its words say FILE, and return its exit code and its output."""

    def run(*words: object, file: str = "") -> tuple[int, str]:
        path = tmp_path / "list.csv"
        path.write_text(file)
        named = [str(path) if word == "FILE" else str(word) for word in words]
        result = app.test_cli_runner().invoke(args=named)
        return result.exit_code, result.output

    return run


def rows(table) -> int:
    with db.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def audience(coupon: int) -> str:
    with db.engine.connect() as connection:
        return connection.scalar(select(Coupon.audience).where(Coupon.id == coupon)) or ""


def test_members_are_brought_by_a_file_replaced_and_tried_dry(run):
    coupon, users = make_coupon(), [make_user(f"u{number}@example.com").id for number in range(2)]
    code, said = run("coupon", "members", coupon, "--file", "FILE", "--dry-run", file="u0@example.com\n")
    assert (code, "1 good lines, 0 duplicates, 0 bad lines" in said, "nothing has changed" in said) == (
        0,
        True,
        True,
    )
    assert (audience(coupon), rows(ListedPerson)) == ("everybody", 0)
    code, said = run(
        "coupon", "members", coupon, "--file", "FILE", file="u0@example.com\nlater@example.com\n"
    )
    assert (code, "2 people are on the list now; 1 of them have an account" in said) == (0, True)
    assert claims.claim(coupon, users[0]).number == 1
    assert run("coupon", "members", coupon, "--file", "FILE", "--replace", file="u1@example.com\n")[0] == 0
    assert claims.claim(coupon, users[1]).number == 2
    assert run("audit", coupon)[0] == 0


def test_bad_lines_change_nothing_unless_they_are_skipped(run):
    coupon, text = make_coupon(), "u0@example.com\nu0@\n"
    code, said = run("coupon", "members", coupon, "--file", "FILE", file=text)
    assert (code, "line 2: not_email: u0@" in said, "--skip-bad" in said) == (1, True, True)
    assert (audience(coupon), rows(ListedPerson)) == ("everybody", 0)
    assert run("coupon", "members", coupon, "--file", "FILE", "--skip-bad", file=text)[0] == 0
    assert audience(coupon) == "list"


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("", "the file is empty"),
        ("email\n", "no line but the first"),
        ("a,b\n", "more columns"),
        ('x\n"y', "begins in line 2"),
    ],
)
def test_a_file_that_cannot_be_taken_is_refused_in_one_line(run, file, words):
    coupon = make_coupon()
    code, said = run("coupon", "members", coupon, "--file", "FILE", file=file)
    assert (code, words in said) == (1, True), said
    assert audience(coupon) == "everybody"


def test_an_unknown_coupon_is_told(run):
    assert run("coupon", "members", 99, "--file", "FILE", file="u0@example.com\n") == (
        1,
        "Error: there is no coupon 99\n",
    )
    assert run("coupon", "audience", 99, "list") == (1, "Error: there is no coupon 99\n")


def test_keys_and_grades_are_set_by_file_and_by_command(run):
    coupon, user = make_coupon(), make_user("kim@example.com").id
    assert run("coupon", "audience", coupon, "grades", "--grade", "VIP")[0] == 0
    with pytest.raises(Refused):
        claims.claim(coupon, user)
    file = "email,member_key,grade\nkim@example.com,M1,VIP\nlater@example.com,M2,GOLD\n"
    assert run("user", "import", "--file", "FILE", "--dry-run", file=file)[0] == 0
    assert key_and_grade("kim@example.com") == (None, None)
    code, said = run("user", "import", "--file", "FILE", file=file)
    assert (code, "2 addresses have their keys and grades now; 1 of them have an account" in said) == (
        0,
        True,
    )
    assert rows(StagedMember) == 0
    assert run("user", "grade", "kim@example.com", "none")[0] == 0
    assert key_and_grade("kim@example.com") == ("M1", None)
    assert run("user", "grade", "kim@example.com", "VIP")[0] == 0
    assert claims.claim(coupon, user).number == 1
    assert "Another address has this member key" in run("user", "key", "kim@example.com", "M2")[1]
    assert run("user", "key", "kim@example.com", "two words")[0] == 1


def test_key_and_grade_go_with_an_account_that_is_renamed_and_not_with_one_that_is_forgotten(run):
    make_user("kim@example.com")
    run("user", "key", "kim@example.com", "M1")
    assert run("user", "rename", "kim@example.com", "lee@example.com")[0] == 0
    assert key_and_grade("lee@example.com") == ("M1", None)
    assert run("user", "anonymise", "lee@example.com")[0] == 0
    assert key_and_grade("lee@example.com") == (None, None)
