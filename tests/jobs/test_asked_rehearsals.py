"""A rehearsal from the console on a running installation: progress, report, stop; the campaign stays as it was."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from sqlalchemy import select

from deploy.processes import wait_until
from tests.builders import make_coupon, make_user, session_cookie
from tests.jobs.test_rehearsal import NOTHING, left_of_rehearsals, on_sqlite
from webapp.models import OPERATOR, Coupon
from webapp.models.rehearsals import BROKEN, PASSED, STOPPED
from webapp.sale import rehearsing
from webapp.stores.sql import db

WAIT_S = 120.0


@pytest.fixture
def system(installation) -> Iterator[Flask]:
    with installation.app.app_context():
        yield installation.app
        db.session.remove()


def reaches(condition: Callable[[], bool]) -> None:
    assert wait_until(condition, wait_s=WAIT_S), rehearsing.under_way()


def row(coupon: int) -> dict[str, object]:
    with db.engine.connect() as connection:
        return dict(connection.execute(select(Coupon.__table__).where(Coupon.id == coupon)).one()._mapping)


def processes_of(rehearsal: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    command = f"-m jobs.rehearsal.asked {rehearsal}"
    return [int(line.split()[0]) for line in listed.splitlines() if line.endswith(command)]


def test_the_sweeper_has_it_played_and_the_campaign_stays_as_it_was(installation, system):
    coupon = make_coupon(quota=30, status="draft", opens_in=3600, closes_in=7200, discount_amount=500)
    before = row(coupon)
    rehearsal = rehearsing.ask(coupon, by=None, people=60, although_near=True)
    reaches(lambda: not rehearsing.latest(coupon).under_way)
    ended = rehearsing.latest(coupon)
    report = rehearsing.report_of(ended)
    assert ended.state == PASSED, report
    assert (report["summary"]["issued"], report["summary"]["expected"], report["summary"]["unanswered"]) == (
        30,
        30,
        0,
    )
    assert any(line.startswith("ok    P4 order") for line in report["lines"])
    assert row(coupon) == before
    assert left_of_rehearsals() == NOTHING
    reaches(lambda: processes_of(rehearsal) == [])


@on_sqlite
def test_an_unlimited_campaign_is_rehearsed_too(installation, system):
    coupon = make_coupon(quota=None, status="draft", opens_in=3600, closes_in=7200)
    rehearsing.ask(coupon, by=None, people=25, although_near=True)
    reaches(lambda: not rehearsing.latest(coupon).under_way)
    assert rehearsing.report_of(rehearsing.latest(coupon))["summary"]["issued"] == 25


@on_sqlite
def test_it_is_stopped_in_the_middle_and_leaves_nothing(installation, system):
    coupon = make_coupon(quota=30, status="draft", opens_in=3600, closes_in=7200)
    rehearsing.ask(coupon, by=None, people=200, seconds=60, although_near=True)
    reaches(lambda: rehearsing.latest(coupon).phase == "claims")
    rehearsing.stop(coupon, by=None)
    reaches(lambda: not rehearsing.latest(coupon).under_way)
    assert rehearsing.latest(coupon).state == STOPPED
    assert left_of_rehearsals() == NOTHING


@on_sqlite
def test_one_whose_process_is_killed_ends_and_leaves_nothing(installation, system):
    coupon = make_coupon(quota=30, status="draft", opens_in=3600, closes_in=7200)
    rehearsal = rehearsing.ask(coupon, by=None, people=200, seconds=60, although_near=True)
    reaches(lambda: rehearsing.latest(coupon).phase == "claims")
    for process in processes_of(rehearsal):
        os.kill(process, signal.SIGKILL)
    reaches(lambda: not rehearsing.latest(coupon).under_way)
    assert rehearsing.latest(coupon).state == BROKEN
    assert left_of_rehearsals() == NOTHING


@on_sqlite
def test_the_command_plays_it_here_and_keeps_the_report(installation, system, monkeypatch):
    monkeypatch.setitem(system.config, "REHEARSAL_URL", installation.url)
    coupon = make_coupon(quota=3, status="draft", opens_in=3600, closes_in=7200)
    done = system.test_cli_runner().invoke(
        args=["coupon", "rehearse", str(coupon), "--users", "6", "--although-near"]
    )
    assert done.exit_code == 0, done.output
    assert "ok    issued 3 of 3" in done.stdout
    assert rehearsing.latest(coupon).state == PASSED
    unknown = system.test_cli_runner().invoke(args=["coupon", "rehearse", "999999"])
    assert unknown.exit_code == 1


@on_sqlite
def test_a_server_that_does_not_answer_is_told_and_leaves_nothing(installation, system, monkeypatch):
    monkeypatch.setitem(system.config, "REHEARSAL_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("jobs.rehearsal.rehearsal.FIRST_ANSWER_WITHIN_S", 0.5)
    coupon = make_coupon(quota=3, status="draft", opens_in=3600, closes_in=7200)
    done = system.test_cli_runner().invoke(args=["coupon", "rehearse", str(coupon), "--although-near"])
    assert done.exit_code == 1
    assert "no server answers at 127.0.0.1:9" in done.stdout
    assert rehearsing.latest(coupon).state == BROKEN
    assert left_of_rehearsals() == NOTHING


@on_sqlite
def test_the_page_shows_progress_without_a_script_and_then_the_report(installation, system):
    coupon = make_coupon(quota=30, status="draft", opens_in=3600, closes_in=7200)
    cookie, token = session_cookie(system, make_user(role=OPERATOR))
    client = system.test_client()
    client.set_cookie("session", cookie)
    path = f"/admin/coupons/{coupon}/rehearse"
    form = {"csrf_token": token, "people": "200", "seconds": "2", "although_near": "y", "once": "a" * 32}
    for _ in range(2):
        assert client.post(path, data=form).status_code == 303
    page = client.get(path).text
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in page
    assert "<progress" in page
    reaches(lambda: not rehearsing.latest(coupon).under_way)
    page = client.get(path).text
    assert "리허설을 잘 마쳤어요" in page
    assert "30 / 30" in page
    assert "http-equiv" not in page
    assert client.post(f"{path}/stop", data={"csrf_token": token}).status_code == 303
    assert "이미 끝난 리허설이에요" in client.get(path).text
