"""Two waves admit the same people at once, in opposite order: SQL may give one of them up, and it decides again."""

import threading

import pytest
from sqlalchemy.exc import OperationalError

from tests.builders import make_users
from tests.sale.test_concurrency import at_once
from tests.sale.test_waves import campaign, failed, holders
from webapp.line.line import Line
from webapp.sale import admission, claims
from webapp.stores.script_redis import line_redis
from webapp.stores.swallowed import counts

PEOPLE = 40
on_mariadb = pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)


def crossed(count: int = PEOPLE) -> tuple[list[int], list[int]]:
    """Return two waves in whose lines the same people wait, in opposite order."""
    ids, users = campaign(quota=count), make_users(count)
    for first, last in zip(users, reversed(users), strict=True):
        claims.claim(ids[0], first)
        claims.claim(ids[1], last)
    return ids, users


def meeting_in_the_middle(monkeypatch) -> None:
    """Have both workers write one half of their first batch before either goes on: each holds what the other wants."""
    meet, write, met = threading.Barrier(2), admission._insert_issues, threading.local()

    def in_halves(connection, coupon, epoch, issues):
        half = len(issues) // 2
        write(connection, coupon, epoch, issues[:half])
        if not getattr(met, "once", False):
            met.once = True
            meet.wait(timeout=30)
        write(connection, coupon, epoch, issues[half:])

    monkeypatch.setattr(admission, "_insert_issues", in_halves)


def assert_right(ids: list[int], users: list[int]) -> None:
    held = [holders(wave) for wave in ids]
    assert sorted(held[0] + held[1]) == users
    for wave, mine in zip(ids, held, strict=True):
        line = Line(line_redis(), wave)
        assert not list(line.waiting())
        states = {user: claims.standing(wave, user).state for user in users}
        assert states == {user: "issued" if user in mine else "rejected" for user in users}
        assert failed(wave) == []


@on_mariadb
def test_who_is_given_up_decides_again_and_nobody_is_lost(app, monkeypatch):
    ids, users = crossed()
    meeting_in_the_middle(monkeypatch)
    before = counts["batch refused"]
    admitted = at_once(app, [lambda wave=wave: admission.admit(wave) for wave in ids])
    assert counts["batch refused"] > before
    assert sum(each.issued for each in admitted) == PEOPLE
    assert_right(ids, users)


@on_mariadb
def test_control_without_the_second_try_the_job_fails_with_a_deadlock(app, monkeypatch):
    ids, _users = crossed()
    meeting_in_the_middle(monkeypatch)
    monkeypatch.setattr(admission, "lost_to_another", lambda _error: False)
    with pytest.raises(OperationalError, match="1213"):
        at_once(app, [lambda wave=wave: admission.admit(wave) for wave in ids])


def test_many_small_batches_and_workers_at_once(app, monkeypatch):
    ids, users = crossed(3 * PEOPLE)
    monkeypatch.setattr(admission, "BATCH", 10)
    monkeypatch.setattr(admission, "GATHER_S", 0)
    at_once(app, [lambda wave=wave: admission.admit(wave) for wave in ids * 2])
    assert_right(ids, users)
