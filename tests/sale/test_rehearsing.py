"""Asking for rehearsals: one at a time, of sizes that can be, not beside an opening, and never for ever."""

import subprocess
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from jobs.rehearsal import starting
from tests.builders import make_coupon
from tests.conftest import on_sqlite
from webapp.models import Coupon, Rehearsal, utcnow
from webapp.models.rehearsals import BROKEN, PASSED, RUNNING, STOPPED
from webapp.sale import going_live, rehearsing
from webapp.sale.coupons import InvalidField, change_coupon
from webapp.sale.rehearsing import UnderWay, ask, end, latest, stop, take, tell
from webapp.sale.submissions import Sent, SentBefore
from webapp.stores.sql import db


def draft(**fields: object) -> int:
    return make_coupon(**{"status": "draft", "opens_in": 3600, "closes_in": 7200, "quota": 20, **fields})


def change(rehearsal_id: int, **values: object) -> None:
    with db.engine.begin() as connection:
        connection.execute(update(Rehearsal).where(Rehearsal.id == rehearsal_id).values(**values))


def state(rehearsal_id: int) -> str:
    return rehearsing.rehearsal_by_id(rehearsal_id).state


def test_one_is_asked_for_taken_once_told_and_ended_once(app):
    coupon = draft()
    rehearsal = ask(coupon, by=7)
    asked = latest(coupon)
    assert (asked.id, asked.people, asked.asked_by, asked.under_way) == (rehearsal, 40, 7, True)
    assert [take(rehearsal), take(rehearsal)] == [True, False]
    tell(rehearsal, "claims", 3, 40)
    assert (latest(coupon).phase, latest(coupon).done, latest(coupon).total) == ("claims", 3, 40)
    assert [end(rehearsal, PASSED, {"lines": ["ok"]}), end(rehearsal, BROKEN)] == [True, False]
    ended = latest(coupon)
    assert (ended.state, ended.under_way, rehearsing.report_of(ended)) == (PASSED, False, {"lines": ["ok"]})
    assert ask(coupon, by=None) > rehearsal


def test_an_installation_plays_one_at_a_time(app):
    first = ask(draft(), by=None)
    with pytest.raises(UnderWay) as other:
        ask(draft(), by=None)
    assert other.value.rehearsal.id == first
    assert db.session.scalar(select(func.count(Rehearsal.id))) == 1


@on_sqlite
def test_the_same_form_twice_is_one_rehearsal_also_after_its_end(app):
    coupon, sent = draft(), Sent.of(None, {"people": 5})
    rehearsal = ask(coupon, by=None, sent=sent)
    for _ in range(2):
        with pytest.raises(SentBefore) as before:
            ask(coupon, by=None, sent=sent)
        assert before.value.made_id == rehearsal
        end(rehearsal, PASSED)


@on_sqlite
@pytest.mark.parametrize(
    ("sizes", "field"),
    [
        ({"people": 0}, "people"),
        ({"people": 20_001}, "people"),
        ({"seconds": 61}, "seconds"),
        ({"seconds": -1}, "seconds"),
    ],
)
def test_sizes_that_cannot_be_are_blamed(app, sizes, field):
    with pytest.raises(InvalidField) as refused:
        ask(draft(), by=None, **sizes)
    assert refused.value.field == field
    assert rehearsing.under_way() is None


@on_sqlite
@pytest.mark.parametrize(("quota", "people"), [(None, 2000), (0, 1), (7, 14), (10**9, 20_000)])
def test_as_many_people_as_are_enough_come(app, quota, people):
    coupon = draft(quota=quota)
    ask(coupon, by=None)
    assert latest(coupon).people == people


@on_sqlite
@pytest.mark.parametrize(("opens_in", "near"), [(300, True), (-300, True), (900, False), (-900, False)])
def test_beside_an_opening_it_asks_first(app, opens_in, near):
    make_coupon(opens_in=opens_in, title="금요일 쿠폰")
    if near:
        with app.test_request_context(), pytest.raises(InvalidField, match="금요일 쿠폰") as refused:
            ask(draft(), by=None)
        assert refused.value.field == "near"
    ask(draft(), by=None, although_near=near)


@on_sqlite
def test_an_unknown_coupon_is_none(app):
    with pytest.raises(LookupError):
        ask(999_999, by=None)


# The sweeper's part


@on_sqlite
def test_one_that_nobody_started_in_time_is_never_started(app, monkeypatch):
    monkeypatch.setattr(starting, "spawn", lambda _command: pytest.fail("it was started"))
    rehearsal = ask(draft(), by=None)
    change(rehearsal, asked_at=utcnow() - timedelta(seconds=61))
    starting.Rehearsals().look()
    assert state(rehearsal) == BROKEN


@on_sqlite
def test_one_that_nobody_started_blocks_no_other(app):
    rehearsal = ask(draft(), by=None)
    change(rehearsal, asked_at=utcnow() - timedelta(seconds=61))
    ask(draft(), by=None)
    assert state(rehearsal) == BROKEN


@on_sqlite
def test_one_that_was_stopped_before_it_was_started_ends(app, monkeypatch):
    monkeypatch.setattr(starting, "spawn", lambda _command: pytest.fail("it was started"))
    coupon = draft()
    rehearsal = ask(coupon, by=None)
    assert [stop(coupon, by=7), stop(coupon, by=7)] == [True, True]
    assert take(rehearsal) is False
    starting.Rehearsals().look()
    assert state(rehearsal) == STOPPED
    assert stop(coupon, by=7) is False


def test_what_a_dead_process_left_is_deleted(app):
    coupon = draft()
    rehearsal = ask(coupon, by=None, state=RUNNING)
    mark = latest(coupon).mark
    make_coupon(title=mark, rehearsal=True)
    starting.Rehearsals().look()
    assert state(rehearsal) == RUNNING
    change(rehearsal, heard_at=utcnow() - timedelta(seconds=61))
    starting.Rehearsals().look()
    assert state(rehearsal) == BROKEN
    assert db.session.scalar(select(func.count()).where(Coupon.title == mark)) == 0
    assert db.session.get(Coupon, coupon) is not None


@pytest.fixture
def started(app, monkeypatch) -> tuple[starting.Rehearsals, int, int]:
    """A sweeper whose process of a rehearsal has just died, with the coupon and the rehearsal."""
    died: list[subprocess.Popen[bytes]] = []

    def spawn_one_that_dies(_command: object) -> subprocess.Popen[bytes]:
        died.append(subprocess.Popen(["false"]))
        return died[-1]

    monkeypatch.setattr(starting, "spawn", spawn_one_that_dies)
    sweeper, coupon = starting.Rehearsals(), draft()
    rehearsal = ask(coupon, by=None)
    sweeper.look()
    died[-1].wait(10)
    return sweeper, coupon, rehearsal


@on_sqlite
@pytest.mark.parametrize(("stopped", "ends"), [(False, BROKEN), (True, STOPPED)])
def test_one_whose_process_dies_ends_at_the_next_look(started, stopped, ends):
    sweeper, coupon, rehearsal = started
    if stopped:
        stop(coupon, by=None)
    sweeper.look()
    assert state(rehearsal) == ends


@on_sqlite
def test_a_sweeper_leaves_the_rehearsal_of_another_one_alone(started):
    """The other one began it after ours had ended its row, and before ours saw its process gone."""
    sweeper, coupon, rehearsal = started
    end(rehearsal, PASSED)
    other = ask(coupon, by=None, state=RUNNING)
    sweeper.look()
    assert state(other) == RUNNING


# What going live makes of it


@on_sqlite
@pytest.mark.parametrize(
    ("ended", "level"),
    [(None, "warning"), (PASSED, "ok"), ("failed", "blocking"), (STOPPED, "warning"), (BROKEN, "warning")],
)
def test_the_check_before_going_live_knows_the_last_one(app, ended, level):
    coupon = draft()
    rehearsal = ask(coupon, by=None)
    if ended:
        end(rehearsal, ended, {})
        ask(coupon, by=None)  # another one under way says nothing yet
    assert found(coupon) == level


@on_sqlite
@pytest.mark.parametrize(
    "change", [{"total_quantity": 21}, {"discount_amount": 5}, {"min_available_amount": 5}]
)
def test_a_rehearsal_of_other_settings_does_not_count(app, change):
    coupon = draft()
    end(ask(coupon, by=None), PASSED, {})
    assert found(coupon) == "ok"
    change_coupon(coupon, **change)
    assert found(coupon) == "warning"


def found(coupon: int) -> str:
    return next(each.level for each in going_live.check(coupon) if each.check == "rehearsal")
