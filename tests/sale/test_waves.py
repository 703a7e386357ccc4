"""Waves: made as one campaign, live together, one for each person over all of them; a leftover rolls over once."""

from datetime import datetime, timedelta

import pytest
import redis
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from jobs.sweeper import sweep
from tests.builders import at_work, failing, make_coupon, make_users
from tests.cli.test_cli import assert_one_line, run
from tests.conftest import on_sqlite
from tests.sale.test_content import KOREAN
from tests.sale.test_lists import bring
from webapp.line.line import Line
from webapp.models import CLOSED, DRAFT, LIVE, Coupon, CouponIssue, CouponText, utcnow
from webapp.sale import admission, audit, claims, going_live, readiness_waves, redeeming, waves
from webapp.sale.archiving import archive, unarchive
from webapp.sale.content import content_of, set_content
from webapp.sale.coupons import InvalidField, change_coupon
from webapp.sale.duplicating import duplicate_coupon
from webapp.sale.going_live import ChangedMeanwhile, NotReady, go_live, seen_of
from webapp.sale.waves import make_waves, place_of, told, wave_held, waves_of
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

__all__ = ["run"]
pytestmark = pytest.mark.usefixtures("app")

HOUR = timedelta(hours=1)


def first_of(count: int = 3, **fields) -> tuple[int, list[datetime]]:
    """Make a draft that is open for `count` hours from an hour on, and return it with the times of its waves."""
    coupon = make_coupon(status=DRAFT, opens_in=3600, closes_in=(count + 1) * 3600, **fields)
    start = row(coupon).issue_start_at
    return coupon, [start + at * HOUR for at in range(count)]


def campaign(count: int = 2, *, quota: int = 2, **options) -> list[int]:
    """Make a campaign whose waves are all live and open now, so that people can come to each."""
    coupon, times = first_of(count)
    ids = make_waves(coupon, times, quota=quota, by=None, **options)
    waves.publish_waves(coupon, by=None, look=lambda rows: None)
    for wave in ids:
        move(wave, opens_in=-60)
    return ids


def move(wave: int, *, opens_in: float | None = None, closes_in: float | None = None) -> None:
    """Move a period behind the back of the rules, as time would, and tell the line."""
    moved = {"issue_start_at": opens_in, "issue_end_at": closes_in}
    values = {name: utcnow() + timedelta(seconds=at) for name, at in moved.items() if at is not None}
    execute(update(Coupon).where(Coupon.id == wave).values(**values, revision=Coupon.revision + 1))
    if row(wave).status != DRAFT:
        waves.publish(wave)


def execute(statement) -> None:
    with db.engine.begin() as connection:
        connection.execute(statement)


def row(coupon: int) -> Coupon:
    db.session.rollback()
    return db.session.get_one(Coupon, coupon, populate_existing=True)


def come(wave: int, *users: int) -> None:
    for user in users:
        claims.claim(wave, user)
    admission.admit(wave)


def holders(wave: int) -> list[int]:
    of = select(CouponIssue.user_id).where(CouponIssue.coupon_id == wave).order_by(CouponIssue.ticket_number)
    with db.engine.connect() as connection:
        return list(connection.scalars(of))


def quotas(ids: list[int]) -> list[int]:
    return [row(wave).total_quantity for wave in ids]


def failed(wave: int) -> list[str]:
    return [check.name for check in audit.run(wave).checks if not check.ok]


# Making them


def test_a_draft_becomes_a_campaign_of_waves_that_follow_each_other():
    coupon, times = first_of(3, quota=7, min_available_amount=3000)
    set_content(coupon, "ko", KOREAN, by=None)
    end = row(coupon).issue_end_at
    ids = make_waves(coupon, [times[2], times[0], times[1]], quota=500, rolls_over=True, by=None)
    rows = [row(wave) for wave in ids]
    assert ids[0] == coupon
    assert [(wave.issue_start_at, wave.issue_end_at) for wave in rows] == [
        *zip(times, [*times[1:], end], strict=True)
    ]
    for wave in rows:
        facts = (wave.campaign_id, wave.one_per_campaign, wave.rolls_over, wave.total_quantity, wave.status)
        assert facts == (coupon, True, True, 500, DRAFT)
        assert (wave.min_available_amount, content_of(wave)) == (3000, content_of(rows[0]))
    place = place_of(rows[1])
    assert (place.number, place.count, place.next_id, place.next_opens_at) == (2, 3, ids[2], times[2])
    assert place_of(rows[2]).next_id is None


def test_control_without_the_copies_a_wave_says_nothing(monkeypatch):
    coupon, times = first_of(2)
    set_content(coupon, "ko", KOREAN, by=None)
    monkeypatch.setattr("webapp.sale.duplicating.COPIES", ())
    assert content_of(row(make_waves(coupon, times, quota=1, by=None)[1]))["ko"].terms == ""


def test_a_repeat_changes_nothing_and_made_again_they_are_changed():
    coupon, times = first_of(3)
    ids = make_waves(coupon, times, quota=5, by=None)
    assert make_waves(ids[1], times, quota=5, by=None) == ids
    set_content(coupon, "ko", KOREAN, by=None)
    assert make_waves(coupon, times[:2], quota=6, one_each=False, by=None) == ids[:2]
    assert quotas(ids[:2]) == [6, 6]
    assert content_of(row(ids[1])) == content_of(row(coupon))
    assert (row(ids[1]).one_per_campaign, row(ids[1]).issue_end_at) == (False, times[2] + HOUR)
    left = row(ids[2])
    assert (left.campaign_id, left.archived_at is None, left.status) == (None, False, DRAFT)


def test_one_time_makes_it_a_coupon_without_waves_again():
    coupon, times = first_of(3)
    end = row(coupon).issue_end_at
    make_waves(coupon, times, quota=5, by=None)
    assert make_waves(coupon, times[:1], quota=9, by=None) == [coupon]
    alone = row(coupon)
    assert (alone.campaign_id, alone.one_per_campaign, alone.issue_end_at) == (None, False, end)
    assert len(waves_of(alone)) == 1


def test_each_wave_is_for_the_people_on_the_list_of_the_first():
    coupon, times = first_of(2)
    bring(coupon, "kim@example.com\nlee@example.com\n")
    ids = make_waves(coupon, times, quota=5, by=None)
    for _ in range(2):
        assert [readiness_waves._listed(wave) for wave in ids] == [2, 2]
        make_waves(coupon, times, quota=5, by=None)


def wrong(times: list[datetime]) -> dict[str, tuple[str, dict]]:
    return {
        "none": ("times", {"times": []}),
        "too many": ("times", {"times": [times[0] + timedelta(seconds=at) for at in range(61)]}),
        "twice the same": ("times", {"times": [times[0], times[0]]}),
        "in the past": ("times", {"times": [utcnow() - HOUR, times[1]]}),
        "after the end": ("times", {"times": [times[0], times[-1] + HOUR]}),
        "no quota": ("quota", {"quota": 0}),
        "too much": ("quota", {"quota": 10**30}),
        "changed meanwhile": ("times", {"seen": "2030-01-01T00:00 5"}),
    }


@pytest.mark.parametrize("case", wrong([utcnow()] * 2))
def test_what_cannot_be_is_refused_in_words_and_nothing_is_half_done(case):
    coupon, times = first_of(2)
    before = told(waves_of(row(coupon))), row(coupon).revision
    field, fields = wrong(times)[case]
    with pytest.raises(InvalidField) as refusal:
        make_waves(coupon, **{"times": times, "quota": 5, "by": None} | fields)
    assert refusal.value.field == field
    assert (told(waves_of(row(coupon))), row(coupon).revision, row(coupon).campaign_id) == (*before, None)


def test_what_has_gone_live_or_is_in_the_archive_stays_and_an_unknown_one_is_told():
    coupon, times = first_of(2)
    with pytest.raises(LookupError):
        make_waves(10**9, times, quota=5, by=None)
    archive(coupon, by=None)
    with pytest.raises(InvalidField):
        make_waves(coupon, times, quota=5, by=None)
    with pytest.raises(InvalidField):
        make_waves(campaign()[1], times, quota=5, by=None)


def test_a_failure_in_the_middle_makes_no_wave(monkeypatch):
    coupon, times = first_of(3)
    monkeypatch.setattr(waves, "_detach", failing(RuntimeError("killed")))
    with pytest.raises(RuntimeError):
        make_waves(coupon, times, quota=5, by=None)
    with db.engine.connect() as connection:
        assert connection.scalar(select(func.count(Coupon.id))) == 1
    assert (row(coupon).campaign_id, row(coupon).total_quantity) == (None, 5)


def test_a_duplicate_of_a_wave_is_a_coupon_of_its_own():
    wave = campaign()[1]
    period = {"opens_at": utcnow() + HOUR, "closes_at": utcnow() + 2 * HOUR}
    made = row(duplicate_coupon(wave, **period, by=None))
    assert (made.campaign_id, made.one_per_campaign, made.rolls_over) == (None, False, False)


# Going live, and the archive


@pytest.fixture
def working(app):
    with at_work():
        yield


@on_sqlite
def test_they_go_live_together_from_whichever_wave(working):
    coupon, times = first_of(3)
    ids = make_waves(coupon, times, quota=5, by=None)
    found = {each.check: str(each.words) for each in going_live.check(ids[2])}
    assert "3" in found["waves"]
    assert "15" in found["quota"]
    assert go_live(ids[2], by=None)
    assert [row(wave).status for wave in ids] == [LIVE] * 3
    assert all(Line(line_redis(), wave).gate().opened for wave in ids)
    assert not go_live(coupon, by=None)


@on_sqlite
def test_redis_away_in_the_middle_leaves_all_live_and_the_sweeper_tells_the_lines(working, monkeypatch):
    coupon, times = first_of(2)
    ids = make_waves(coupon, times, quota=5, by=None)
    with monkeypatch.context() as broken:
        broken.setattr(waves, "publish", failing(redis.ConnectionError()))
        with pytest.raises(redis.ConnectionError):
            go_live(coupon, by=None)
    assert [row(wave).status for wave in ids] == [LIVE] * 2
    sweep()
    assert all(Line(line_redis(), wave).gate().opened for wave in ids)


@on_sqlite
def test_a_wave_that_is_not_like_the_first_is_warned_of_and_one_that_ended_blocks(working):
    coupon, times = first_of(3)
    ids = make_waves(coupon, times, quota=5, by=None)
    execute(insert(CouponText).values(coupon_id=ids[2], language="ko", terms="other"))
    change_coupon(ids[1], title="Another")
    with pytest.raises(NotReady) as refusal:
        go_live(coupon, by=None, confirmed=())
    (found,) = [each for each in refusal.value.found if each.check == "waves"]
    assert (found.level, "2, 3" in str(found.words)) == ("warning", True)
    move(ids[1], opens_in=-120, closes_in=-60)
    with pytest.raises(NotReady) as refusal:
        go_live(coupon, by=None)
    assert "waves" in [each.check for each in refusal.value.found if each.level == "blocking"]
    assert [row(wave).status for wave in ids] == [DRAFT] * 3


@on_sqlite
def test_what_another_operator_changes_of_another_wave_goes_live_for_nobody_unseen(working, monkeypatch):
    coupon, times = first_of(2)
    ids = make_waves(coupon, times, quota=5, by=None)
    seen = seen_of(row(coupon), waves_of(row(coupon)))
    change_coupon(ids[1], total_quantity=50)
    with pytest.raises(ChangedMeanwhile) as refusal:
        go_live(coupon, by=None, seen=seen)
    assert "waves" in refusal.value.changes
    looked = going_live.findings
    monkeypatch.setattr(
        going_live, "findings", lambda prospect: change_coupon(ids[1], total_quantity=60) or looked(prospect)
    )
    with pytest.raises(ChangedMeanwhile):
        go_live(coupon, by=None)
    assert [row(wave).status for wave in ids] == [DRAFT] * 2


def test_they_go_to_the_archive_and_back_together():
    ids = campaign()
    change_coupon(ids[0], status=CLOSED)
    with pytest.raises(InvalidField):
        archive(ids[0], by=None)
    change_coupon(ids[1], status=CLOSED)
    archive(ids[1], by=None)
    assert all(row(wave).archived_at for wave in ids)
    unarchive(ids[0], by=None)
    assert not any(row(wave).archived_at for wave in ids)


# One for each person over all waves


def test_a_second_wave_gives_nothing_to_who_has_one_and_the_audit_proves_it():
    ids, (first, second) = campaign(), make_users(2)
    come(ids[0], first)
    assert wave_held(row(ids[1]), first) == ids[0]
    come(ids[1], first, second)
    assert (holders(ids[0]), holders(ids[1])) == ([first], [second])
    ticket = claims.standing(ids[1], first)
    assert (ticket.state, ticket.reason) == ("rejected", "has one of another wave")
    assert claims.claim(ids[1], first).state == "rejected"
    assert row(ids[1]).issued_quantity == 1
    for wave in ids:
        assert failed(wave) == []


def test_control_without_the_question_the_constraint_refuses_the_second(monkeypatch):
    ids, (user,) = campaign(), make_users(1)
    come(ids[0], user)
    monkeypatch.setattr(admission, "holders_elsewhere", lambda *_: {})
    claims.claim(ids[1], user)
    with pytest.raises(IntegrityError):
        admission.admit(ids[1])
    assert holders(ids[1]) == []


def test_control_without_the_constraint_too_it_is_given_and_the_audit_finds_it(monkeypatch):
    ids, (user,) = campaign(), make_users(1)
    come(ids[0], user)
    execute(update(CouponIssue).values(campaign_id=None))
    come(ids[1], user)
    assert holders(ids[1]) == [user]
    assert failed(ids[1]) == ["P2 one over all waves", "waves constraint"]


def test_who_waits_in_two_lines_at_once_gets_one():
    ids, users = campaign(quota=5), make_users(3)
    for wave in ids:
        for user in users:
            claims.claim(wave, user)
    for wave in reversed(ids):
        admission.admit(wave)
    assert (holders(ids[0]), holders(ids[1])) == ([], users)
    assert failed(ids[0]) == failed(ids[1]) == []


def test_a_batch_that_meets_the_constraint_is_decided_again(monkeypatch):
    """Another wave commits between the question and the row: the constraint refuses, and the answer is right then."""
    ids, (first, second) = campaign(quota=5), make_users(2)
    asked, found = [], admission.holders_elsewhere

    def ask(connection, coupon, users):
        asked.append(coupon.id)
        return found(connection, coupon, users) if len(asked) > 1 else {}

    come(ids[0], first)
    monkeypatch.setattr(admission, "holders_elsewhere", ask)
    come(ids[1], first, second)
    assert (holders(ids[0]), holders(ids[1])) == ([first], [second])
    assert len(asked) == 2


def test_with_one_a_wave_everybody_may_have_one_of_each():
    ids, (user,) = campaign(one_each=False), make_users(1)
    for wave in ids:
        come(wave, user)
    assert (holders(ids[0]), holders(ids[1])) == ([user], [user])
    assert wave_held(row(ids[1]), user) is None
    assert failed(ids[0]) == []


def test_whose_coupon_was_revoked_may_have_one_of_another_wave():
    ids, (user,) = campaign(), make_users(1)
    come(ids[0], user)
    code = db.session.scalar(select(CouponIssue.code).where(CouponIssue.user_id == user))
    redeeming.revoke(code, None, "returned")
    come(ids[1], user)
    assert (holders(ids[0]), holders(ids[1])) == ([], [user])
    assert failed(ids[1]) == []


# The command


@on_sqlite
def test_the_command_prints_the_ids(run):
    coupon, times = first_of(2)
    text = ",".join(time.isoformat() for time in times)
    made = run("coupon", "waves", coupon, "--times", text, "--quota", 500, "--roll-over")
    ids = [int(each) for each in made.output.split()]
    assert (ids[0], len(ids), quotas(ids)) == (coupon, 2, [500, 500])
    assert row(ids[1]).rolls_over
    assert_one_line(run("coupon", "waves", 10**9, "--times", text, "--quota", 5), "no coupon")
    assert_one_line(run("coupon", "waves", coupon, "--times", "2020-01-01", "--quota", 5), "times")
    assert run("coupon", "waves", coupon, "--times", "soon", "--quota", 5).exit_code == 2
