"""A pause says why and until when; places are kept, and resuming gives back the time that it took."""

import json
import threading
from datetime import timedelta

import pytest
from flask import current_app
from sqlalchemy import select, update

from tests.builders import make_coupon, make_users
from webapp.line.line import Line
from webapp.log.reading import Filter, latest
from webapp.models import CLOSED, DRAFT, LIVE, PAUSE_LENGTH, PAUSED, Coupon, utcnow
from webapp.models.log import LogEntry
from webapp.sale import admission, claims, epochs
from webapp.sale.coupons import InvalidField, change_coupon
from webapp.sale.duplicating import duplicate_coupon
from webapp.sale.pause_message import NOTHING, PauseMessage, read_gate_text
from webapp.sale.pausing import pause, resume, taken_by_pause
from webapp.sale.records import policy_of
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

pytestmark = pytest.mark.usefixtures("app")
MINUTE = timedelta(minutes=1)


def row(coupon: int):
    with db.engine.connect() as connection:
        return connection.execute(select(Coupon).where(Coupon.id == coupon)).one()


def soon(minutes: int = 10):
    return (utcnow() + minutes * MINUTE).replace(microsecond=0)


def paused_for(minutes: int, **fields) -> int:
    """Return a coupon that is paused for so long already."""
    coupon = make_coupon(**{"opens_in": -7200, **fields})
    pause(coupon)
    since = {"paused_at": utcnow() - minutes * MINUTE}
    with db.engine.begin() as connection:
        connection.execute(update(Coupon).where(Coupon.id == coupon).values(since))
    return coupon


def verbs(coupon: int) -> list[str]:
    with db.engine.connect() as connection:
        return list(connection.scalars(select(LogEntry.verb).where(LogEntry.coupon_id == coupon)))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (PauseMessage("error"), PauseMessage("error")),
        (PauseMessage(ko="  결제  점검 ", en="Payments"), PauseMessage(ko="결제 점검", en="Payments")),
        (PauseMessage("payment", ko="직접"), PauseMessage(ko="직접")),
        (NOTHING, NOTHING),
        (None, NOTHING),
    ],
)
def test_the_line_hears_of_the_message_with_the_pause(given, kept):
    coupon = make_coupon()
    assert claims.line_status(coupon).pause is None
    pause(coupon, given)
    assert claims.line_status(coupon).pause == kept
    resume(coupon)
    assert claims.line_status(coupon).pause is None
    assert row(coupon).pause_template == row(coupon).pause_ko == ""


def test_the_promised_time_survives_the_way_through_both_stores_and_a_new_epoch():
    coupon, until = make_coupon(), soon()
    pause(coupon, PauseMessage("error", promised_at=until))
    assert claims.line_status(coupon).pause == PauseMessage("error", promised_at=until)
    line_redis().flushall()
    epochs.ensure_open(coupon)
    assert claims.line_status(coupon).pause == PauseMessage("error", promised_at=until)


def test_places_are_kept_and_served_in_order_afterwards():
    coupon, users = make_coupon(), make_users(3)
    for user in users[:2]:
        claims.claim(coupon, user)
    pause(coupon, PauseMessage("payment"))
    assert claims.claim(coupon, users[2]).number == 3
    assert admission.admit(coupon).issued == 0
    resume(coupon)
    admission.admit(coupon)
    standings = [claims.standing(coupon, user) for user in users]
    assert [(each.state, each.number) for each in standings] == [("issued", 1), ("issued", 2), ("issued", 3)]


def test_pausing_what_is_paused_changes_the_message_and_not_since_when():
    coupon = make_coupon()
    pause(coupon, PauseMessage("error"))
    since = row(coupon).paused_at
    pause(coupon, PauseMessage("payment"), by=5)
    assert (row(coupon).pause_template, row(coupon).paused_at) == ("payment", since)
    pause(coupon)  # says nothing, and takes nothing away
    assert row(coupon).pause_template == "payment"
    pause(coupon, NOTHING)
    assert row(coupon).pause_template == ""
    assert verbs(coupon)[-3:] == ["pause", "pause", "pause"]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"ko": "가" * (PAUSE_LENGTH + 1)}, "pause_ko"),
        ({"en": "x" * (PAUSE_LENGTH + 1)}, "pause_en"),
        ({"template": "nothing"}, "pause_template"),
        ({"promised_at": -1}, "promised_at"),
        ({"promised_at": 24 * 60 + 5}, "promised_at"),
    ],
)
def test_a_message_that_cannot_be_shown_does_not_hold_the_pause_up(wrong, field):
    if minutes := wrong.get("promised_at"):
        wrong = {"promised_at": soon(minutes)}
    coupon = make_coupon()
    with pytest.raises(InvalidField) as refused:
        pause(coupon, PauseMessage(**wrong))
    assert refused.value.field == field
    assert (row(coupon).status, row(coupon).pause_ko, row(coupon).promised_at) == (PAUSED, "", None)
    assert claims.line_status(coupon).state == "paused"


def test_the_longest_message_and_the_latest_promise_are_taken():
    coupon, until = make_coupon(), utcnow() + timedelta(hours=23, minutes=59)
    pause(coupon, PauseMessage(ko="가" * PAUSE_LENGTH, en="x" * PAUSE_LENGTH, promised_at=until))
    assert claims.line_status(coupon).pause.ko == "가" * PAUSE_LENGTH


@pytest.mark.parametrize("status", [DRAFT, CLOSED])
def test_what_is_not_live_is_not_paused_and_gets_no_message(status):
    coupon = make_coupon(status=status)
    with pytest.raises(InvalidField) as refused:
        pause(coupon, PauseMessage("error"))
    assert refused.value.field == "status"
    assert (row(coupon).status, row(coupon).pause_template) == (status, "")


def test_resuming_extends_by_the_pause_and_only_when_asked():
    plain, longer = paused_for(20), paused_for(20)
    before = row(longer).issue_end_at
    end = row(plain).issue_end_at
    resume(plain)
    assert row(plain).issue_end_at == end
    resume(longer, extend=True, by=3)
    assert 20 * MINUTE <= row(longer).issue_end_at - before < 21 * MINUTE
    assert (row(longer).status, row(longer).paused_at) == (LIVE, None)
    (resumed,) = latest(Filter(coupons=(longer,), verb="resume"), most=1)
    assert json.loads(resumed.after)["seconds"] >= 20 * 60
    assert "issue_end_at" in json.loads(resumed.before)
    gate = Line(line_redis(), longer).gate()
    assert gate.policy.closes_at_ms == policy_of(row(longer)).closes_at_ms


def test_a_pause_that_lasted_beyond_the_end_gives_back_what_was_left():
    coupon = paused_for(30, opens_in=-7200, closes_in=-600)  # it would have ended 20 minutes into the pause
    resume(coupon, extend=True)
    assert timedelta(minutes=19) < row(coupon).issue_end_at - utcnow() < timedelta(minutes=21)


def test_what_was_paused_before_the_start_counts_from_the_start():
    coupon = paused_for(60, opens_in=600, closes_in=1200)
    end = row(coupon).issue_end_at
    assert taken_by_pause(row(coupon), utcnow()) == timedelta()
    resume(coupon, extend=True)
    assert row(coupon).issue_end_at == end
    assert taken_by_pause(row(coupon), utcnow()) == timedelta()


def test_nobody_knows_the_length_of_a_pause_from_before_it_was_noted():
    coupon = make_coupon(status=PAUSED)
    end = row(coupon).issue_end_at
    resume(coupon, extend=True)
    assert row(coupon).issue_end_at == end


def test_an_extension_beyond_its_validity_is_refused_and_changes_nothing():
    coupon = make_coupon(valid_until=row(make_coupon()).issue_end_at + MINUTE, closes_in=3600)
    with db.engine.begin() as connection:
        late = {"status": PAUSED, "paused_at": utcnow() - 20 * MINUTE}
        connection.execute(update(Coupon).where(Coupon.id == coupon).values(late))
    before = row(coupon)
    with pytest.raises(InvalidField) as refused:
        resume(coupon, extend=True)
    assert refused.value.field == "extend"
    assert (row(coupon).status, row(coupon).issue_end_at) == (PAUSED, before.issue_end_at)
    resume(coupon)
    assert row(coupon).status == LIVE


def test_of_two_who_resume_and_extend_in_one_second_one_extends():
    coupon = paused_for(20)
    end, done = row(coupon).issue_end_at, []

    def try_it() -> None:
        try:
            resume(coupon, extend=True)
            done.append("resumed")
        except InvalidField as refused:
            done.append(refused.field)

    in_threads(try_it, try_it)
    assert sorted(done) == ["resumed", "status"]
    assert row(coupon).issue_end_at - end < 21 * MINUTE
    assert verbs(coupon).count("resume") == 1


def test_one_who_pauses_and_one_who_resumes_in_one_second_leave_one_of_both_states_whole():
    coupon = paused_for(5)
    in_threads(lambda: resume(coupon), lambda: pause(coupon, PauseMessage("error")))
    found = row(coupon)
    assert (found.status, found.pause_template, found.paused_at is None) in (
        (LIVE, "", True),
        (PAUSED, "error", False),
    )
    status = claims.line_status(coupon)
    assert (status.state, status.pause) == (
        ("open", None) if found.status == LIVE else ("paused", PauseMessage("error"))
    )


def in_threads(*deeds) -> None:
    app = current_app._get_current_object()

    def run(deed) -> None:
        with app.app_context():
            deed()

    threads = [threading.Thread(target=run, args=(deed,)) for deed in deeds]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def test_closing_ends_a_pause_and_takes_its_message_away():
    coupon = make_coupon()
    pause(coupon, PauseMessage("error", promised_at=soon()))
    change_coupon(coupon, step="close")
    found = row(coupon)
    assert (found.pause_template, found.promised_at, found.paused_at) == ("", None, None)


def test_a_duplicate_of_a_paused_coupon_is_in_no_pause():
    coupon = make_coupon()
    pause(coupon, PauseMessage("error", promised_at=soon()))
    period = {"opens_at": soon(60), "closes_at": soon(120)}
    other = row(duplicate_coupon(coupon, by=None, **period))
    assert (other.pause_template, other.promised_at, other.paused_at) == ("", None, None)


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "[1,2,3,4]", "{}", "7", '["a","b","c","d"]', '["a","b","c",1e40]', "null"]
)
def test_a_gate_that_says_nonsense_says_nothing(text):
    assert read_gate_text(text) == NOTHING


def test_a_claim_and_a_poll_ask_redis_once_while_it_is_paused_and_sql_never(monkeypatch):
    coupon, (user,) = make_coupon(), make_users(1)
    pause(coupon, PauseMessage("error", promised_at=soon()))
    claims.line_status(coupon)
    asked, run = [], Line._run
    monkeypatch.setattr(Line, "_run", lambda self, name, *rest: asked.append(name) or run(self, name, *rest))
    monkeypatch.setattr(type(db.engine), "connect", lambda self: pytest.fail("SQL was asked"))
    claims.claim(coupon, user)
    claims.line_status(coupon)
    assert asked == ["claim", "read_gate"]
