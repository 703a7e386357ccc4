"""The files for Excel: who is in which one, in which order, and that a file that is not whole is no file."""

import csv
import io
import tracemalloc
from contextvars import Context
from datetime import UTC, datetime

import pytest
import redis
from flask_babel import force_locale
from sqlalchemy import event, insert, text, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from tests.builders import failing, make_coupon, make_user, make_users
from webapp.accounts import blocking
from webapp.accounts.sessions import delete_account
from webapp.line.line import Line
from webapp.line.places import having_places, places_of
from webapp.models import DRAFT, PAUSED, Coupon, CouponIssue, LineEvent, Member, utcnow
from webapp.sale import claims, exports, records, redeeming
from webapp.sale.admission import admit
from webapp.sale.coupons import change_coupon
from webapp.sale.exports import EXPORTS, export
from webapp.sale.held import by_coupon
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.web.admin.exports import WORDS

LATER = datetime(2026, 12, 3, 23, 30, tzinfo=UTC)


def table(coupon: int, what: str, language: str = "en") -> list[list[str]]:
    """Return the rows of a file below its headings, as a table program reads them."""
    with force_locale(language):
        written = "".join(export(coupon, what))
    return list(csv.reader(io.StringIO(written.removeprefix("\ufeff"), newline="")))[1:]


def numbers(coupon: int, what: str, column: int = 0) -> list[int]:
    return [int(row[column]) for row in table(coupon, what)]


def issue(coupon: int, users: list[int], **fields: object) -> None:
    """Write issues as an admission would have, with numbers from 1 on."""
    rows = [
        {"coupon_id": coupon, "user_id": user, "ticket_number": number, "epoch": 1, "issued_at": utcnow()}
        | {"code": f"{coupon:05}X{number:06}", **fields}
        for number, user in enumerate(users, 1)
    ]
    with db.engine.begin() as connection:
        connection.execute(insert(CouponIssue), rows)
        counted = update(Coupon).where(Coupon.id == coupon).values(issued_quantity=len(users))
        connection.execute(counted)


@pytest.fixture
def sale(app):
    """A coupon of two. In the order of their numbers: one who won, one who was blocked, one whose coupon was taken
    back, the one who got it then, and one in standby.
    """
    coupon = make_coupon(quota=2, title="금요일", discount_amount=5000)
    users = [make_user(f"{name}@example.com", name=name) for name in ("an", "bae", "cho", "do", "eun")]
    with db.engine.begin() as connection:
        connection.execute(insert(Member).values(email="an@example.com", member_key="0017"))
    for user in users:
        claims.claim(coupon, user.id)
    blocking.block(users[1].id, by=None)
    admit(coupon)
    redeeming.revoke(by_coupon(users[2].id, coupon).code, None, "#1024")
    admit(coupon)
    return coupon, users


def test_everybody_with_a_number_is_in_one_file_of_winners_and_losers(sale):
    coupon, _users = sale
    assert numbers(coupon, "winners") == [1, 4]
    assert [(row[0], row[1], row[4], row[5]) for row in table(coupon, "losers")] == [
        ("2", "bae@example.com", "Rejected", "The account was blocked when its turn came."),
        ("3", "cho@example.com", "The coupon was taken back", "#1024"),
        ("5", "eun@example.com", "Stands in standby", ""),
    ]
    assert numbers(coupon, "refused") == [2, 3]
    assert [row[:3] for row in table(coupon, "standby")] == [["1", "5", "eun@example.com"]]


def test_a_winner_has_person_code_times_and_state(sale):
    coupon, (an, *_others) = sale
    db.session.execute(
        update(CouponIssue).where(CouponIssue.user_id == an.id).values(issued_at=LATER, used_at=LATER)
    )
    db.session.commit()
    code = by_coupon(an.id, coupon).shown_code
    at = "2026-12-04 08:30:00"
    assert table(coupon, "winners")[0] == ["1", "an@example.com", "an", "'0017", code, at, "Used", at]
    assert table(coupon, "winners", "ko")[0][6] == "사용"
    (used,) = table(coupon, "redemptions")
    assert used == ["1", "an@example.com", "an", "'0017", code, at, "the command line"]


def test_headings_are_in_the_language_of_the_reader_behind_a_bom_and_lines_end_for_excel(sale):
    coupon, _users = sale
    for language, begins in (("ko", "\ufeff순번,이메일,이름,회원 키"), ("en", "\ufeffNumber,E-mail,Name")):
        with force_locale(language):
            written = "".join(export(coupon, "winners"))
        assert written.startswith(begins)
        assert written.count("\r\n") == written.count("\n") == 3


def test_who_used_a_coupon_is_named_and_one_that_was_deleted_is_not(sale):
    coupon, (an, _bae, _cho, do, _eun) = sale
    till = make_user("till@example.com")
    redeeming.use(by_coupon(an.id, coupon).code, till.id)
    redeeming.use(by_coupon(do.id, coupon).code, till.id + 1000)
    assert [row[-1] for row in table(coupon, "redemptions")] == ["till@example.com", "a deleted account"]


def test_somebody_who_is_deleted_keeps_the_row_without_a_name(sale):
    coupon, (_an, bae, *_others) = sale
    delete_account(bae.id, by=None)
    assert table(coupon, "refused")[0][:4] == ["2", "", "", ""]


def test_who_waits_in_line_is_no_winner_yet(app):
    coupon = make_coupon(quota=2)
    claims.line_status(coupon)
    change_coupon(coupon, status=PAUSED)
    for user in make_users(3):
        claims.claim(coupon, user)
    assert [row[4] for row in table(coupon, "losers")] == ["Waits in line"] * 3
    assert (numbers(coupon, "winners"), numbers(coupon, "standby")) == ([], [])


def test_a_batch_that_is_committed_and_not_settled_is_told_as_sql_knows_it(app, monkeypatch):
    coupon, users = make_coupon(quota=1), make_users(2)
    for user in users:
        claims.claim(coupon, user)
    line = Line(line_redis(), coupon)
    issue(coupon, users[:1])
    assert [place.user_id for page in places_of(line) for place in page] == users
    assert numbers(coupon, "losers") == [2]
    monkeypatch.setattr(exports, "holders_among", lambda *_: {})  # the control
    assert numbers(coupon, "losers") == [1, 2]


def test_who_lost_a_place_and_came_back_is_told_once(app, monkeypatch):
    coupon, (back, gone) = make_coupon(quota=0), make_users(2)
    lost = {"coupon_id": coupon, "epoch": 1, "kind": "lost", "reason": "the number was not free any more"}
    with db.engine.begin() as connection:
        for user, number in ((back, 7), (gone, 8)):
            connection.execute(insert(LineEvent).values(**lost, user_id=user, ticket_number=number))
    change_coupon(coupon, status=PAUSED, total_quantity=1)
    claims.claim(coupon, back)
    rows = [(int(row[0]), row[4]) for row in table(coupon, "losers")]
    assert rows == [(1, "Waits in line"), (8, "The place was lost")]
    monkeypatch.setattr(exports, "having_places", lambda *_: set())  # the control
    assert numbers(coupon, "losers") == [1, 7, 8]


@pytest.mark.parametrize("page", [1, 2, 3, 1000])
def test_a_file_is_the_same_however_many_rows_a_page_has(sale, monkeypatch, page):
    coupon, _users = sale
    files = EXPORTS.keys() - {"log"}  # which has one row more each time
    whole = {what: table(coupon, what) for what in files}
    monkeypatch.setattr(exports, "PAGE", page)
    assert {what: table(coupon, what) for what in files} == whole


def test_two_rows_of_one_number_are_both_told(app, monkeypatch):
    monkeypatch.setattr(exports, "PAGE", 1)
    coupon, users = make_coupon(), make_users(4)
    issue(coupon, users)
    db.session.execute(update(CouponIssue).where(CouponIssue.coupon_id == coupon).values(ticket_number=7))
    db.session.commit()
    assert numbers(coupon, "winners") == [7, 7, 7, 7]


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_places_are_met_once_in_order_whatever_is_malformed(app, most):
    coupon = make_coupon()
    claims.line_status(coupon)
    line = Line(line_redis(), coupon)
    line.redis.zadd(line.line_key, {"11": 1, "12": 4, "13": 5, "x": 2.5, "y": float("inf"), "14:3": 3})
    line.redis.zadd(line.standby_key, {"21": 2, "22": 6, "23": 7, "24": 8})
    met = [place for page in places_of(line, most) for place in page]
    assert [place.number for place in met] == [1, 2, 4, 5, 6, 7, 8]
    assert [place.user_id for place in met if place.in_standby] == [21, 22, 23, 24]
    assert having_places(line, [11, 21, 31]) == {11, 21}


def test_a_place_that_moves_while_the_file_is_made_is_met_once(app):
    coupon = make_coupon()
    claims.line_status(coupon)
    line = Line(line_redis(), coupon)
    line.redis.zadd(line.standby_key, {str(number): number for number in range(1, 9)})
    met = []
    for page in places_of(line, 2):
        met += [place.number for place in page]
        if met == [1, 2]:
            line.redis.rename(line.standby_key, line.line_key)  # all come back into the line
    assert met == [*range(1, 9)]


def test_a_million_rows_take_no_more_memory_than_some_thousands(app, monkeypatch):
    monkeypatch.setattr(exports, "PAGE", 100)
    coupon = make_coupon(quota=None)
    issue(coupon, make_users(6000))

    def most_memory(rows: int) -> int:
        db.session.execute(text("DELETE FROM coupon_issues WHERE ticket_number > :rows"), {"rows": rows})
        db.session.commit()
        tracemalloc.start()
        sizes = [len(piece) for piece in export(coupon, "winners")]
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sum(sizes) > rows * 50
        return most

    most_memory(6000)
    assert most_memory(6000) < 1.3 * most_memory(5000)


def test_every_page_is_read_by_its_own_short_transaction_and_holds_no_connection(app, monkeypatch):
    monkeypatch.setattr(exports, "PAGE", 10)
    monkeypatch.setattr(exports, "write_table", iter)
    coupon = make_coupon(quota=None)
    issue(coupon, make_users(35))
    db.session.remove()
    asked: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    held = [db.engine.pool.checkedout() for _row in export(coupon, "winners")]
    assert set(held) == {0}
    pages = [each for each in asked if "FROM coupon_issues" in each]
    assert len(pages) == 2 * 4 + 1
    assert all("coupon_issues.ticket_number > " in each or " BETWEEN " in each for each in pages)


def test_what_fails_in_the_middle_is_raised_and_ends_the_file(app, monkeypatch):
    monkeypatch.setattr(exports, "PAGE", 5)
    monkeypatch.setattr(exports, "write_table", iter)
    coupon = make_coupon(quota=None)
    issue(coupon, make_users(12))
    rows = export(coupon, "winners")
    assert len([next(rows) for _ in range(6)]) == 6
    monkeypatch.setattr(type(db.engine), "connect", failing(SQLAlchemyError("gone")))
    with pytest.raises(SQLAlchemyError):
        list(rows)


@pytest.mark.parametrize("tries", [2, 1])
def test_one_slow_moment_of_the_database_costs_no_file(app, monkeypatch, tries):
    """With one try alone, the control, the file breaks off."""
    monkeypatch.setattr(records, "PAUSE_S", 0)
    monkeypatch.setattr(records, "TRIES", tries)
    monkeypatch.setattr(exports, "PAGE", 5)
    coupon = make_coupon(quota=None)
    issue(coupon, make_users(12))
    slow = iter([False, False, True])
    connect = type(db.engine).connect

    def connected(engine):
        if next(slow, False):
            raise OperationalError("SELECT", {}, Exception("timed out"))
        return connect(engine)

    pieces = export(coupon, "winners")
    monkeypatch.setattr(type(db.engine), "connect", connected)
    if tries == 1:
        with pytest.raises(OperationalError):
            "".join(pieces)
    else:
        assert "".join(pieces).count("\n") == 13


@pytest.mark.parametrize("what", EXPORTS)
def test_without_redis_only_files_that_need_the_line_fail(sale, monkeypatch, what):
    coupon, _users = sale
    down = failing(redis.ConnectionError("down"))
    monkeypatch.setattr("webapp.stores.script_redis.ScriptRedis.run_script", down)
    monkeypatch.setattr("webapp.stores.script_redis.ScriptRedis.pipeline", down)
    if what in ("standby", "losers"):
        with pytest.raises(redis.ConnectionError):
            table(coupon, what)
    else:
        assert len(table(coupon, what)) == {"winners": 2, "refused": 2, "redemptions": 0, "log": 3}[what]


def test_after_redis_lost_everything_the_file_waits_for_an_open_line(sale):
    coupon, _users = sale
    line_redis().flushall()
    assert numbers(coupon, "losers") == [2, 3]  # whoever stood in standby has to come back with the receipt
    assert Line(line_redis(), coupon).is_open()


def test_a_draft_has_files_without_rows(app):
    coupon = make_coupon(status=DRAFT)
    rows = {what: len(table(coupon, what)) for what in EXPORTS}
    assert rows == {**dict.fromkeys(EXPORTS, 0), "log": 1 + len(EXPORTS)}  # the draft, and each file
    assert Line(line_redis(), coupon).gate() is None


def test_an_unknown_coupon_has_none(app):
    with pytest.raises(LookupError):
        export(999, "winners")


def test_a_rejection_stands_whatever_place_is_lost_later(sale):
    coupon, (_an, bae, *_others) = sale
    with db.engine.begin() as connection:
        connection.execute(
            insert(LineEvent).values(
                coupon_id=coupon, user_id=bae.id, epoch=1, kind="lost", ticket_number=9, reason="later"
            )
        )
    assert numbers(coupon, "refused") == [2, 3]
    assert numbers(coupon, "losers") == [2, 3, 5]


def test_the_log_of_all_waves_is_told_with_names_and_what_was_before_and_after(app):
    boss, gone = make_user("boss@example.com"), make_user("gone@example.com")
    coupon = make_coupon(title="=1+1", quota=10)
    change_coupon(coupon, total_quantity=20, by=boss.id)
    change_coupon(coupon, issue_end_at=LATER, by=gone.id)
    make_coupon()  # another one's log is not in it
    delete_account(gone.id, by=boss.id)
    made, quota, end, exported = table(coupon, "log")
    assert made[2:6] == ["the command line", "", "create coupon", str(coupon)]
    assert "title: =1+1" in made[8]
    assert quota[2:] == [
        *(
            "boss@example.com",
            "",
            "change quota",
            str(coupon),
            "",
            "total_quantity: 10",
            "total_quantity: 20",
            "",
        )
    ]
    assert (end[2], end[8]) == ("a deleted account", "issue_end_at: 2026-12-04 08:30:00")
    assert (exported[2], exported[4], exported[8]) == ("the command line", "export", "file: log")


def test_the_log_is_told_in_the_words_of_the_console(app):
    coupon = make_coupon(quota=5)
    change_coupon(coupon, total_quantity=6)
    with force_locale("ko"):
        written = "".join(export(coupon, "log", WORDS))
    assert "명령줄" in written
    assert "수량: 5,수량: 6" in written


def test_a_log_of_many_pages_needs_no_request(app, monkeypatch):
    monkeypatch.setattr("webapp.log.reading.BATCH", 2)
    coupon = make_coupon(quota=1)
    for quota in range(2, 8):
        change_coupon(coupon, total_quantity=quota)
    pieces = export(coupon, "log")
    assert len(list(csv.reader(io.StringIO("".join(Context().run(list, pieces)))))) == 9
