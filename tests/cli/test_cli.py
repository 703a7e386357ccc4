"""The `flask` commands: what they do, what they print, and that every failure is one line."""

import os
import pty
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import select
from werkzeug.utils import import_string

from tests.builders import at_work, make_coupon, make_user, make_users
from tests.conftest import on_sqlite
from webapp import create_app
from webapp.accounts import invitations
from webapp.accounts.passwords import check_password
from webapp.cli import base, drops, lines
from webapp.line.line import Line
from webapp.models import Coupon, CouponIssue, LineEvent, Revocation, User, utcnow
from webapp.sale import admission, claims
from webapp.sale import coupons as sale_coupons
from webapp.stores.script_redis import connect_redis, line_redis
from webapp.stores.sql import db

pytestmark = pytest.mark.usefixtures("cheap_hashes")
PASSWORD = "correct horse\n"
PERIOD = ("--opens-at", "2030-01-01T10:00", "--closes-at", "2030-01-01T02:00:00Z")


@pytest.fixture
def run(app):
    """Return a function that runs one command, and fails the test on a traceback."""

    def run(*args: object, stdin: str = ""):
        result = app.test_cli_runner().invoke(args=[str(arg) for arg in args], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        db.session.rollback()
        return result

    return run


@pytest.fixture
def without_redis(app, monkeypatch):
    monkeypatch.setitem(app.extensions, "line", connect_redis("redis://127.0.0.1:1", decode_responses=True))


def assert_one_line(result, *words: object) -> None:
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert all(str(word) in result.stderr for word in words), result.stderr


def user(email: str) -> User | None:
    return db.session.scalar(select(User).where(User.email == email))


def row(coupon_id: int) -> Coupon:
    db.session.rollback()
    return db.session.get_one(Coupon, coupon_id, populate_existing=True)


def with_id(command: tuple[object, ...], coupon_id: object) -> list[object]:
    return [coupon_id if part == "ID" else part for part in command]


def make_coupon_without_redis() -> int:
    """Return a live coupon whose line could not be told of it."""
    start, end = datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 2, tzinfo=UTC)
    coupon = sale_coupons.create_coupon(title="t", issue_start_at=start, issue_end_at=end, status="draft")
    db.session.execute(Coupon.__table__.update().values(status="live"))
    db.session.commit()
    return coupon


@pytest.fixture
def kim(run) -> User:
    run("user", "create", "kim@example.com", "--name", "김", stdin=PASSWORD)
    return user("kim@example.com")


def test_a_user_is_created_from_a_password_on_stdin(run):
    assert run("user", "create", " Kim@Example.com ", "--name", "김", stdin=PASSWORD).exit_code == 0
    kim = user("kim@example.com")
    assert (kim.name, kim.role) == ("김", "user")
    assert check_password(kim.password_hash, PASSWORD.strip())
    assert not check_password(kim.password_hash, PASSWORD)


def test_an_operator_needs_a_word(run):
    assert run("user", "create", "op@localhost", "--admin", stdin=PASSWORD).exit_code == 0
    assert user("op@localhost").role == "owner"
    assert user("op@localhost").name == "op"


def test_the_password_is_asked_for_on_a_terminal_and_not_echoed(app):
    environment = {
        "DATABASE_URL": app.config["SQLALCHEMY_DATABASE_URI"],
        "REDIS_URL": app.config["REDIS_URL"],
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    pid, terminal = pty.fork()
    if pid == 0:
        command = ["flask", "--app", "wsgi:app", "user", "create", "tty@example.com"]
        os.chdir(Path(app.root_path).parent)
        os.execve(sys.executable, [sys.executable, "-m", *command], environment)
    seen = b""
    for prompt in (b"Password: ", b"Repeat for confirmation: "):
        while prompt not in seen:
            seen += os.read(terminal, 1000)
        os.write(terminal, PASSWORD.encode())
    while b"created" not in seen:
        seen += os.read(terminal, 1000)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert PASSWORD.strip().encode() not in seen
    assert user("tty@example.com") is not None


@pytest.mark.parametrize(
    ("email", "password", "word"),
    [
        ("taken@example.com", PASSWORD, "already"),
        ("TAKEN@example.com", PASSWORD, "already"),
        ("new@example.com", "short\n", "8"),
        ("new@example.com", "", "8"),
        ("new@example.com", "x" * 1001, "1000"),
        ("nonsense", PASSWORD, "not an e-mail"),
        ("a b@example.com", PASSWORD, "not an e-mail"),
        ("\udc80@example.com", PASSWORD, "not valid text"),
        ("x" * 250 + "@example.com", PASSWORD, "not an e-mail"),
    ],
)
def test_a_user_that_cannot_be_created(run, email, password, word):
    run("user", "create", "taken@example.com", stdin=PASSWORD)
    assert_one_line(run("user", "create", email, stdin=password), word)
    assert user("new@example.com") is None


def test_block_and_unblock(run):
    run("user", "create", "kim@example.com", stdin=PASSWORD)
    assert run("user", "block", "KIM@example.com").exit_code == 0
    since = user("kim@example.com").blocked_at
    assert since <= utcnow()
    run("user", "block", "kim@example.com")
    assert user("kim@example.com").blocked_at == since
    run("user", "unblock", "kim@example.com")
    assert user("kim@example.com").blocked_at is None


def test_a_user_without_coupons_can_be_deleted(run):
    run("user", "create", "kim@example.com", stdin=PASSWORD)
    assert run("user", "delete", "kim@example.com").exit_code == 0
    assert user("kim@example.com") is None


def test_a_user_who_holds_a_coupon_is_not_deleted(run):
    coupon, (holder,) = make_coupon(), make_users(1)
    claims.claim(coupon, holder)
    admission.admit(coupon)
    email = db.session.scalar(select(User.email).where(User.id == holder))
    assert_one_line(run("user", "delete", email), "user block", email)
    assert db.session.scalar(select(CouponIssue.user_id)) == holder


@pytest.mark.parametrize("verb", ["block", "unblock", "delete", "promote", "demote", "anonymise", "password"])
def test_an_unknown_user(run, verb):
    assert_one_line(run("user", verb, "nobody@example.com"), "nobody@example.com")


def test_a_coupon_is_created_and_only_its_id_is_printed(run):
    result = run(
        "coupon", "create", "--title", "가을", "--quota", 10, *PERIOD, "--discount", 5000, "--min-amount", 9
    )
    coupon = row(int(result.stdout))
    assert (result.stdout, result.stderr) == (f"{coupon.id}\n", "")
    assert (coupon.title, coupon.total_quantity, coupon.status) == ("가을", 10, "live")
    assert (coupon.discount_amount, coupon.min_available_amount, coupon.valid_until) == (5000, 9, None)
    assert coupon.issue_start_at == datetime(2030, 1, 1, 1, tzinfo=UTC)
    assert coupon.issue_end_at == datetime(2030, 1, 1, 2, tzinfo=UTC)
    assert Line(line_redis(), coupon.id).gate().policy.quota == 10


def test_a_draft_without_quota(run):
    created = run(
        "coupon", "create", "--title", "T", *PERIOD, "--valid-until", "2030-02-01T00:00+09:00", "--draft"
    )
    coupon = row(int(created.stdout))
    assert (coupon.status, coupon.total_quantity) == ("draft", None)
    assert coupon.valid_until == datetime(2030, 1, 31, 15, tzinfo=UTC)
    assert Line(line_redis(), coupon.id).gate() is None
    with at_work():
        assert run("coupon", "resume", coupon.id, "--although-warned").exit_code == 0
    assert row(coupon.id).status == "live"


@on_sqlite
@pytest.mark.parametrize(
    "change",
    [
        {"--title": " "},
        {"--title": "\u200b\u3164"},
        {"--title": "x" * 101},
        {"--title": "\udcb0\udca1"},
        {"--quota": "-1"},
        {"--quota": "1_000"},
        {"--quota": "1,5"},
        {"--quota": "+5"},
        {"--quota": "٣"},
        {"--discount": "1.000"},
        {"--min-amount": ""},
        {"--quota": "many"},
        {"--quota": "9" * 5000},
        {"--discount": "1.5"},
        {"--min-amount": "-1"},
        {"--opens-at": "soon"},
        {"--opens-at": "0001-01-01T00:00"},
        {"--opens-at": "2030-02-30T00:00"},
        {"--opens-at": "2031-01-01T00:00"},
        {"--closes-at": ""},
        {"--valid-until": "2029-01-01T00:00"},
        {"--valid-until": "2030-01-01T10:59"},
        {"--closes-at": "20300101"},
        {"--closes-at": "2030-W01-2"},
    ],
    ids=lambda change: " ".join(*change.items())[:40],
)
def test_a_wrong_option_creates_nothing(run, change):
    options = {"--title": "T", "--quota": "1", **dict(zip(PERIOD[::2], PERIOD[1::2], strict=True))} | change
    result = run("coupon", "create", *[part for option in options.items() for part in option])
    assert result.exit_code in (1, 2)
    assert "Error: " in result.stderr
    assert result.stdout == ""
    assert db.session.scalar(select(Coupon.id)) is None


def test_amounts_and_dates_as_people_write_them(run):
    result = run(
        *(
            "coupon",
            "create",
            "--title",
            " 가을\u200b\n쿠폰 ",
            "--quota",
            "1,000",
            "--discount",
            "５，０００",
        ),
        *("--opens-at", "2030-01-01", "--closes-at", "2030-01-01", "--valid-until", "2030-01-31"),
    )
    coupon = row(int(result.stdout))
    assert (coupon.title, coupon.total_quantity, coupon.discount_amount) == ("가을 쿠폰", 1000, 5000)
    assert coupon.issue_start_at == datetime(2029, 12, 31, 15, tzinfo=UTC)
    assert coupon.issue_end_at == datetime(2030, 1, 1, 15, tzinfo=UTC)
    assert coupon.valid_until == datetime(2030, 1, 31, 15, tzinfo=UTC)


@on_sqlite
@pytest.mark.parametrize("typed", ["1_0", "+1", "1.0", "٣", "0x1", "1e3"])
@pytest.mark.parametrize("command", [("close", "N"), ("quota", 1, "N"), ("show", "N")])
def test_a_number_that_only_python_would_write_is_none(run, command, typed):
    assert run("coupon", *[typed if part == "N" else part for part in command]).exit_code == 2


def test_list_and_show(run):
    coupon, users = make_coupon(quota=2), make_users(3)
    draft = make_coupon(quota=None, status="draft")
    for each in users:
        claims.claim(coupon, each)
    admission.admit(coupon)
    listed = run("coupon", "list").stdout.splitlines()
    assert [line.split()[:2] for line in listed] == [[str(coupon), "live"], [str(draft), "draft"]]
    shown = dict(line.rsplit(maxsplit=1) for line in run("coupon", "show", coupon).stdout.splitlines())
    assert (shown["quota"], shown["issued"], shown["line state"]) == ("2", "2", "sold_out")
    assert (shown["line last"], shown["line waiting"], shown["line epoch"]) == ("3", "0", "1")
    assert "unlimited" in run("coupon", "show", draft).stdout


def test_pause_resume_close(run):
    coupon = make_coupon()
    for verb, status in (("pause", "paused"), ("resume", "live"), ("close", "closed"), ("close", "closed")):
        assert run("coupon", verb, coupon).exit_code == 0
        assert row(coupon).status == status
        assert Line(line_redis(), coupon).gate().policy.status == status
    assert_one_line(run("coupon", "pause", coupon), "status")
    assert row(coupon).status == "closed"


def test_a_pause_with_a_message_and_a_resumption_that_extends(run):
    coupon, until = make_coupon(), (utcnow() + timedelta(minutes=20)).replace(microsecond=0)
    options = ("--message-ko", "점검 중", "--message-en", "At work", "--until", until.isoformat())
    assert run("coupon", "pause", coupon, *options).exit_code == 0
    found = row(coupon)
    assert (found.pause_ko, found.pause_en, found.promised_at) == ("점검 중", "At work", until)
    assert run("coupon", "pause", coupon, "--template", "payment").exit_code == 0
    assert (row(coupon).pause_template, row(coupon).pause_ko, row(coupon).promised_at) == (
        "payment",
        "",
        None,
    )
    assert run("coupon", "pause", coupon).exit_code == 0
    assert row(coupon).pause_template == "payment"
    end = row(coupon).issue_end_at
    assert run("coupon", "resume", coupon, "--extend").exit_code == 0
    assert row(coupon).issue_end_at > end
    again = run("coupon", "resume", coupon, "--extend")
    assert again.exit_code == 1
    assert "not paused any more" in again.stderr


def test_a_pause_whose_message_cannot_be_shown_is_a_pause(run):
    coupon = make_coupon()
    refused = run("coupon", "pause", coupon, "--until", "2020-01-01T10:00")
    assert refused.exit_code == 1
    assert "it is paused, but this message was not taken" in refused.stderr
    assert (row(coupon).status, row(coupon).promised_at) == ("paused", None)
    both = run("coupon", "pause", coupon, "--template", "error", "--message-ko", "점검")
    assert "not both" in both.stderr


@pytest.mark.parametrize(("typed", "stored"), [("7", 7), ("0", 0), ("unlimited", None)])
def test_the_quota(run, typed, stored):
    coupon = make_coupon(quota=5)
    assert run("coupon", "quota", coupon, typed).exit_code == 0
    assert row(coupon).total_quantity == stored
    assert Line(line_redis(), coupon).gate().policy.quota == stored


def test_a_quota_below_what_is_issued(run):
    coupon, users = make_coupon(quota=5), make_users(2)
    for each in users:
        claims.claim(coupon, each)
    admission.admit(coupon)
    assert_one_line(run("coupon", "quota", coupon, 1), "2 are issued already")
    assert row(coupon).total_quantity == 5


def test_reconcile_rebuilds_one_or_all(run):
    coupons = [make_coupon(), make_coupon()]
    make_coupon(status="draft")
    line_redis().flushall()
    assert run("reconcile", coupons[0]).exit_code == 0
    assert [Line(line_redis(), coupon).is_open() for coupon in coupons] == [True, False]
    assert len(run("reconcile").stdout.splitlines()) == 2
    assert all(Line(line_redis(), coupon).is_open() for coupon in coupons)


COMMANDS = [
    ("coupon", "show", "ID"),
    ("coupon", "pause", "ID"),
    ("coupon", "resume", "ID"),
    ("coupon", "close", "ID"),
    ("coupon", "quota", "ID", 1),
    ("reconcile", "ID"),
    ("audit", "ID"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(map(str, command)))
def test_an_unknown_id_is_one_line(run, command):
    assert_one_line(run(*with_id(command, 999_999)), "no ", "coupon")
    for nonsense in ("x", "0", "9" * 30):
        result = run(*with_id(command, nonsense))
        assert result.exit_code == 2
        assert "Error: " in result.stderr


@on_sqlite
@pytest.mark.parametrize("command", COMMANDS[:-1], ids=lambda command: " ".join(map(str, command)))
def test_an_unreachable_redis_is_one_line(run, without_redis, command):
    coupon = make_coupon_without_redis()
    assert_one_line(run(*with_id(command, coupon)), "Redis")


def test_without_redis_a_change_is_saved_and_says_so(run, without_redis):
    coupon = make_coupon_without_redis()
    assert_one_line(run("coupon", "quota", coupon, 3), "saved")
    assert row(coupon).total_quantity == 3


def test_without_redis_a_new_coupon_still_prints_its_id(run, without_redis):
    result = run("coupon", "create", "--title", "T", *PERIOD)
    assert_one_line(result, "saved")
    assert row(int(result.stdout)).status == "live"


@pytest.mark.parametrize(
    "command", ["user block a@b", "user create a@b", "coupon list", "coupon pause 1", "reconcile"]
)
def test_an_unreachable_database_is_one_line(tmp_path, command):
    app = create_app({"SECRET_KEY": "x" * 40, "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/none/x.db"})
    result = app.test_cli_runner().invoke(args=command.split(), input=PASSWORD)
    assert_one_line(result, "SQL", "db upgrade")


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_audit_prints_each_line_and_tells_by_its_exit_code(run, monkeypatch, ok, code):
    coupon = make_coupon()
    report = SimpleNamespace(ok=ok, lines=lambda: ["P1 1 <= 5", "P2 0"])
    monkeypatch.setattr(base, "import_string", {"webapp.sale.audit.run": lambda _id: report}.__getitem__)
    monkeypatch.setattr(drops, "import_string", {"webapp.sale.audit.run": lambda _id: report}.__getitem__)
    monkeypatch.setattr(lines, "import_string", {"webapp.sale.audit.run": lambda _id: report}.__getitem__)
    result = run("audit", coupon)
    assert (result.exit_code, result.stdout) == (code, "P1 1 <= 5\nP2 0\n")


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_rehearse_passes_its_options_on(run, monkeypatch, ok, code):
    calls = []

    def rehearsal(*args: object) -> SimpleNamespace:
        calls.append(args)
        return SimpleNamespace(ok=ok, lines=["claims/s 7", "ok"])

    monkeypatch.setattr(base, "import_string", {"jobs.rehearsal.rehearsal.run": rehearsal}.__getitem__)
    monkeypatch.setattr(drops, "import_string", {"jobs.rehearsal.rehearsal.run": rehearsal}.__getitem__)
    monkeypatch.setattr(lines, "import_string", {"jobs.rehearsal.rehearsal.run": rehearsal}.__getitem__)
    monkeypatch.setenv("PORT", "8123")
    result = run("rehearse")
    assert (result.exit_code, result.stdout) == (code, "claims/s 7\nok\n")
    assert (
        run("rehearse", "--users", 5, "--quota", 2, "--seconds", 1.5, "--url", "http://127.0.0.1:9").exit_code
        == code
    )
    assert calls == [(20_000, 10_000, None, "http://127.0.0.1:8123"), (5, 2, 1.5, "http://127.0.0.1:9")]


def test_what_cli_loads_by_name_exists():
    assert callable(import_string("webapp.sale.audit.run"))
    assert callable(import_string("jobs.rehearsal.rehearsal.run"))


# Who somebody is


def test_an_account_gets_a_new_password(run, kim):
    before = kim.session_epoch
    assert run("user", "password", " KIM@Example.com", stdin="another long one\n").exit_code == 0
    db.session.refresh(kim)
    assert check_password(kim.password_hash, "another long one")
    assert not check_password(kim.password_hash, PASSWORD.strip())
    assert kim.session_epoch == before + 1


@on_sqlite
@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("short\n", "8"),
        ("", "8"),
        ("ﬁ\n", "8"),
        ("x" * 1001, "1000"),
        ("password\n", "guessed"),
        ("1q2w3e4r\n", "guessed"),
        ("rkskekfk\n", "guessed"),
        ("kim12345\n", "guessed"),
        ("가나다라마바사아\n", "guessed"),
    ],
)
@pytest.mark.parametrize("verb", ["password", "create"])
def test_a_password_that_is_refused_changes_nothing(run, kim, verb, typed, word):
    before, email = kim.password_hash, "kim@example.com" if verb == "password" else "kim@example.org"
    assert_one_line(run("user", verb, email, stdin=typed), word)
    db.session.refresh(kim)
    assert (kim.password_hash, user("kim@example.org")) == (before, None)


@pytest.mark.parametrize(
    ("new", "email", "name"),
    [
        ("lee@example.com", "lee@example.com", "김"),
        ("ＬＥＥ@Example.com", "lee@example.com", "김"),
        ("KIM@example.com", "kim@example.com", "김"),
        ("김민지", "kim@example.com", "김민지"),
        (" 김 민지 ", "kim@example.com", "김 민지"),
        ("민" * 150, "kim@example.com", "민" * 100),
        ("  ", "kim@example.com", "김"),
    ],
)
def test_an_account_gets_another_address_or_another_name(run, kim, new, email, name):
    assert run("user", "rename", "kim@example.com", new).exit_code == 0
    db.session.refresh(kim)
    assert (kim.email, kim.name) == (email, name)


@on_sqlite
@pytest.mark.parametrize(
    "new", ["taken@example.com", "TAKEN@example.com", "a b@example.com", "@", "x" * 250 + "@a.kr"]
)
def test_an_address_that_it_cannot_have(run, kim, new):
    run("user", "create", "taken@example.com", stdin=PASSWORD)
    assert_one_line(
        run("user", "rename", "kim@example.com", new), "already" if "aken" in new.lower() else "not an"
    )
    db.session.refresh(kim)
    assert kim.email == "kim@example.com"


def test_an_account_is_promoted_and_demoted(run, kim):
    run("user", "create", "op@example.com", "--admin", stdin=PASSWORD)
    for verb, role in (("promote", "owner"), ("demote", "user")):
        epoch = kim.session_epoch
        for _ in range(2):
            assert run("user", verb, "kim@example.com").exit_code == 0
        db.session.refresh(kim)
        assert (kim.role, kim.session_epoch) == (role, epoch + 1), "a repeat changes nothing"


WAYS_TO_LOSE_AN_OWNER = (
    ("demote",),
    ("anonymise",),
    ("delete",),
    ("block",),
    *(("role", role) for role in ("operator", "till", "viewer", "none")),
)


@pytest.mark.parametrize(("verb", "more"), [(way[0], way[1:]) for way in WAYS_TO_LOSE_AN_OWNER])
def test_the_last_owner_stays_one(run, kim, verb, more):
    run("user", "promote", "kim@example.com")
    make_user("blocked@example.com", role="owner", blocked_at=utcnow())
    make_user("below@example.com", role="operator")
    assert_one_line(run("user", verb, "kim@example.com", *more), "last owner", "user role EMAIL owner")
    db.session.refresh(kim)
    assert (kim.role, kim.email, kim.blocked_at) == ("owner", "kim@example.com", None)
    run("user", "create", "op@example.com", "--admin", stdin=PASSWORD)
    assert run("user", verb, "kim@example.com", *more).exit_code == 0


@pytest.mark.parametrize("role", ["owner", "operator", "till", "viewer"])
def test_a_role_is_given_and_taken_away(run, kim, role):
    run("user", "create", "op@example.com", "--role", "owner", stdin=PASSWORD)
    assert user("op@example.com").role == "owner"
    for given, stored in ((role, role), ("none", "user")):
        epoch = kim.session_epoch
        for _ in range(2):
            assert run("user", "role", "kim@example.com", given).exit_code == 0
        db.session.refresh(kim)
        assert (kim.role, kim.session_epoch) == (stored, epoch + 1), "a repeat changes nothing"


def test_a_role_that_there_is_not(run, kim):
    assert run("user", "role", "kim@example.com", "admin").exit_code == 2
    assert_one_line(run("user", "role", "nobody@example.com", "till"), "no account")
    run("user", "block", "kim@example.com")
    assert_one_line(run("user", "role", "kim@example.com", "till"), "blocked", "user unblock")
    assert user("kim@example.com").role == "user"


def test_an_invitation_is_printed_listed_and_withdrawn(run, kim):
    run("user", "create", "op@example.com", "--admin", stdin=PASSWORD)
    link = run("user", "invite", "till", "--for", "민지").output.strip()
    key = link.removeprefix("/join?key=")
    listed = run("user", "team").output.splitlines()
    assert listed[0] == "owner  op@example.com"
    assert re.fullmatch(r"till  invitation \d+ until 20\S+  민지", listed[1])
    assert key not in run("user", "team").output
    number = listed[1].split()[2]
    assert run("user", "withdraw", number).exit_code == 0
    assert_one_line(run("user", "withdraw", number), "taken or withdrawn")
    assert invitations.look_at(key).state == "withdrawn"


def test_anonymising_removes_what_names_the_person_and_keeps_rows_and_order(run, kim):
    coupon, neighbour = make_coupon(quota=2), make_users(1)[0]
    for person in (kim.id, neighbour):
        claims.claim(coupon, person)
    admission.admit(coupon)
    before = [dict(row._mapping) for row in db.session.execute(select(CouponIssue.__table__))]
    for _ in range(2):
        result = run("user", "anonymise", kim.email)
        assert result.exit_code == 0
        db.session.rollback()
        db.session.refresh(kim)
        assert (kim.email, kim.name) == (f"anonymised-{kim.id}@accounts.invalid", f"anonymised-{kim.id}")
        assert (kim.password_hash, kim.role, kim.session_epoch) == ("!", "user", 1)
        assert kim.blocked_at is not None
    assert [dict(row._mapping) for row in db.session.execute(select(CouponIssue.__table__))] == before
    rows = [list(db.session.execute(select(table))) for table in db.metadata.sorted_tables]
    assert "kim@example.com" not in str(rows)
    assert run("audit", coupon).exit_code == 0
    held = select(CouponIssue.code).where(CouponIssue.user_id == kim.id)
    code = db.session.scalars(held).one()
    assert run("coupon", "redeem", code).exit_code == 1, "whose account is blocked"
    assert run("coupon", "redeem", code, "--although-blocked").exit_code == 0, "its code can still be used"
    assert run("user", "create", "kim@example.com", stdin=PASSWORD).exit_code == 0, (
        "the address is free again"
    )


def test_anonymising_reaches_the_reasons_that_name_the_person(run, kim):
    run("user", "rename", "kim@example.com", "김민지")
    coupon = make_coupon()
    claims.claim(coupon, kim.id)
    admission.admit(coupon)
    code = db.session.scalar(select(CouponIssue.code))
    run("coupon", "revoke", code, "--reason", "김민지 (KIM@example.com) asked for it")
    assert run("user", "anonymise", "kim@example.com").exit_code == 0
    reasons = [*db.session.scalars(select(Revocation.reason)), *db.session.scalars(select(LineEvent.reason))]
    assert reasons == ["— (—) asked for it", "revoked: — (—) asked for it"]
    assert "김민지" not in str(line_redis().hgetall(Line(line_redis(), coupon).results_key))
    assert run("audit", coupon).exit_code == 0


def test_who_is_anonymised_while_waiting_is_passed_over_with_a_reason(run, kim):
    coupon, neighbour = make_coupon(quota=1), make_users(1)[0]
    for person in (kim.id, neighbour):
        claims.claim(coupon, person)
    run("user", "anonymise", "kim@example.com")
    admission.admit(coupon)
    assert db.session.scalar(select(CouponIssue.user_id)) == neighbour
    assert claims.standing(coupon, kim.id).state == "rejected"
    assert run("audit", coupon).exit_code == 0


def test_an_address_is_found_however_it_is_typed(run, kim):
    for typed in ("KIM@EXAMPLE.COM", " kim@example.com ", "ｋｉｍ＠example.com", "ki\u200bm@example.com"):
        assert run("user", "block", typed).exit_code == 0
        assert run("user", "unblock", typed).exit_code == 0
