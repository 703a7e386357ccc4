"""The rehearsal: a small drop over real HTTP, which must be right, see what is wrong, and leave nothing behind."""

from collections.abc import Iterator
from typing import Any

import click
import flask_migrate
import pytest
from flask import Flask
from sqlalchemy import delete, func, select, text

from deploy.processes import free_port
from jobs.rehearsal import drop as rehearsal_drop
from jobs.rehearsal import rehearsal
from webapp import create_app
from webapp.models import Coupon, CouponIssue, LineEvent, User
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

SHARED = ("SECRET_KEY", "SQLALCHEMY_DATABASE_URI", "REDIS_URL", "QUEUE_REDIS_URL", "VAR_DIR")
on_sqlite = pytest.mark.parametrize("installation", ["sqlite"], indirect=True)


@pytest.fixture
def system(installation) -> Iterator[Flask]:
    with installation.app.app_context():
        yield installation.app
        db.session.remove()


def left_of_rehearsals() -> tuple[list[int], set[str]]:
    """Return how many rows of each table rehearsals have left, and the keys of lines that no coupon has any more."""
    coupons = select(Coupon.id).where(Coupon.rehearsal.is_(False))
    with db.engine.connect() as connection:
        queries = (
            select(User).where(User.rehearsal),
            select(Coupon).where(Coupon.rehearsal),
            *(select(table).where(table.coupon_id.not_in(coupons)) for table in (CouponIssue, LineEvent)),
        )
        rows = [connection.scalar(select(func.count()).select_from(query.subquery())) for query in queries]
        known = {f"{{coupon:{coupon}}}" for coupon in connection.scalars(coupons)}
    return rows, {
        key for key in line_redis().scan_iter("{coupon:*") if key.partition("}")[0] + "}" not in known
    }


NOTHING: tuple[list[int], set[str]] = ([0, 0, 0, 0], set())


def test_a_small_drop_is_exact_and_leaves_nothing(installation, system):
    outcome = rehearsal.run(200, 100, None, installation.url)
    assert outcome.ok, outcome.lines
    assert "ok    issued 100 of 100" in outcome.lines
    assert "ok    to the lowest tickets" in outcome.lines
    assert any(line.startswith("claims/s ") for line in outcome.lines)
    assert left_of_rehearsals() == NOTHING


@on_sqlite
@pytest.mark.parametrize(("users", "quota"), [(30, 0), (30, 31), (1, 1)])
def test_with_no_coupons_and_with_more_coupons_than_people(installation, system, users, quota):
    outcome = rehearsal.run(users, quota, None, installation.url)
    assert outcome.ok, outcome.lines
    assert f"ok    issued {min(users, quota)} of {min(users, quota)}" in outcome.lines


@on_sqlite
def test_clicks_can_be_spread(installation, system):
    outcome = rehearsal.run(20, 10, 1.0, installation.url)
    assert outcome.ok
    last_row, decided, known = (
        float(line.split()[2])
        for line in outcome.lines
        if line.startswith(("last row", "all decided", "all known"))
    )
    assert 0.95 <= decided <= known
    assert last_row <= decided


@on_sqlite
def test_a_coupon_that_went_to_the_wrong_person_is_seen(installation, system, monkeypatch):
    follow = rehearsal._follow

    def tamper(drop: rehearsal_drop.Drop, bar: Any) -> None:
        follow(drop, bar)
        with db.engine.begin() as connection:
            of_coupon = CouponIssue.coupon_id == drop.coupon_id
            first = connection.scalar(select(func.min(CouponIssue.ticket_number)).where(of_coupon))
            connection.execute(delete(CouponIssue).where(of_coupon, CouponIssue.ticket_number == first))

    monkeypatch.setattr(rehearsal, "_follow", tamper)
    outcome = rehearsal.run(20, 10, None, installation.url)
    assert not outcome.ok
    assert "FAIL  issued 9 of 10" in outcome.lines
    assert "FAIL  to the lowest tickets" in outcome.lines
    assert left_of_rehearsals() == NOTHING


@on_sqlite
def test_an_interrupted_rehearsal_cleans_up(installation, system, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rehearsal, "_follow", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rehearsal.run(20, 10, None, installation.url)
    assert left_of_rehearsals() == NOTHING


@on_sqlite
@pytest.mark.parametrize(
    ("users", "quota", "seconds"), [(0, 1, None), (1_000_001, 1, None), (1, -1, None), (1, 1, -0.1)]
)
def test_sizes_that_cannot_be_are_refused(system, users, quota, seconds):
    with pytest.raises(click.ClickException, match="users from 1"):
        rehearsal.run(users, quota, seconds, "http://127.0.0.1:1")


@on_sqlite
@pytest.mark.parametrize(
    "url", ["https://127.0.0.1", "127.0.0.1:80", "http://", "http://127.0.0.1:99999", ""]
)
def test_an_address_that_cannot_be_is_refused(system, url):
    with pytest.raises(click.ClickException):
        rehearsal.run(1, 1, None, url)


@on_sqlite
def test_without_a_server_it_says_so_and_leaves_nothing(system, monkeypatch):
    monkeypatch.setattr(rehearsal, "FIRST_ANSWER_WITHIN_S", 0.5)
    with pytest.raises(click.ClickException, match="no server answers at 127"):
        rehearsal.run(5, 5, None, f"http://127.0.0.1:{free_port()}")
    assert left_of_rehearsals() == NOTHING


@on_sqlite
def test_a_server_with_another_key_does_not_accept_our_sessions(installation, system):
    stranger = create_app({name: system.config[name] for name in SHARED} | {"SECRET_KEY": "x" * 32})
    with stranger.app_context(), pytest.raises(click.ClickException, match="SECRET_KEY"):
        rehearsal.run(5, 5, None, installation.url)


@on_sqlite
def test_a_server_on_another_database_does_not_know_our_coupon(installation, system, tmp_path):
    elsewhere = {
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/other.db",
        "REDIS_URL": f"{system.config['REDIS_URL']}?db=1",
    }
    other = create_app({name: system.config[name] for name in SHARED} | elsewhere)
    with other.app_context():
        flask_migrate.upgrade()
        # Ids that the server cannot know.
        db.session.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES ('coupons', 1000000)"))
        db.session.commit()
        with pytest.raises(click.ClickException, match="another database"):
            rehearsal.run(5, 5, None, installation.url)
