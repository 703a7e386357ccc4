"""The pages and the command that show the log of operators."""

import re

import pytest
from sqlalchemy import func, select

from tests.builders import csrf_token, make_coupon, make_user, sign_in
from tests.cli.test_cli import assert_one_line, run
from tests.sale.test_waves import campaign
from webapp.accounts.blocking import block
from webapp.models import OPERATOR, LogEntry, User
from webapp.sale.anonymising import anonymise
from webapp.sale.coupons import change_coupon
from webapp.stores.sql import db
from webapp.web.admin import log
from webapp.web.admin.log import PER_PAGE, WORDS

__all__ = ["run"]
EN = {"Accept-Language": "en"}


@pytest.fixture
def boss(client) -> User:
    made = make_user("boss@example.com", role=OPERATOR, name="Boss")
    sign_in(client, made)
    return made


def page(client, path: str, **asked: str) -> str:
    answer = client.get(path, query_string=asked, headers=EN)
    assert answer.status_code == 200
    return answer.text


def test_a_decision_of_the_console_says_who_from_where_and_what(client, boss):
    coupon = make_coupon(quota=5)
    fields = {"csrf_token": csrf_token(client), "total_quantity": "9", "seen_quota": "5"}
    client.post(f"/admin/coupons/{coupon}/quota", data=fields, environ_base={"REMOTE_ADDR": "203.0.113.7"})
    shown = page(client, f"/admin/coupons/{coupon}/log")
    assert "Changed the quota" in shown
    assert "boss@example.com" in shown
    assert "203.0.113.7" in shown
    assert "Quota: 5 → 9" in shown
    assert "Made the coupon" in shown
    assert "the command line" in shown


def test_the_korean_page_has_no_english_word_of_ours(client, boss):
    coupon = make_coupon()
    change_coupon(coupon, by=boss.id, step="pause")
    shown = client.get(f"/admin/coupons/{coupon}/log").text
    assert "일시 중지했어요" in shown
    assert "Paused the sale" not in shown.partition("<ol")[2]


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ({}, {"first", "second"}),
        ({"verb": "pause"}, {"first"}),
        ({"person": "boss@example.com"}, {"first"}),
        ({"person": "other@example.com"}, {"second"}),
        ({"person": " OTHER@example.com "}, {"second"}),
        ({"day": "2020-01-01"}, set()),
        ({"verb": "dance"}, {"first", "second"}),
        ({"person": "nobody@example.com"}, set()),
        ({"person": "%"}, set()),
        ({"person": "9" * 30}, set()),
        ({"person": "x" * 10_000}, set()),
        ({"day": "gestern"}, set()),
        ({"day": "9999-12-31"}, set()),
        ({"below": "1"}, set()),
        ({"below": "0"}, {"first", "second"}),
        ({"below": "x"}, {"first", "second"}),
    ],
)
def test_it_is_filtered_by_person_verb_and_day(client, boss, asked, seen):
    other, coupon = make_user("other@example.com"), make_coupon()
    change_coupon(coupon, by=boss.id, step="pause")
    change_coupon(coupon, by=other.id, step="resume")
    shown = page(client, f"/admin/coupons/{coupon}/log", **asked)
    decided = shown.partition("<ol")[2]
    assert {
        name
        for name, word in (("first", "<b>Paused the sale"), ("second", "<b>Resumed the sale"))
        if word in decided
    } == seen


def test_what_is_wrong_is_said_beside_the_field(client, boss):
    coupon = make_coupon()
    shown = page(client, f"/admin/coupons/{coupon}/log", person="nobody@example.com", day="x")
    assert 'aria-describedby="person-error"' in shown
    assert 'aria-describedby="day-error"' in shown


def test_an_erased_person_is_found_by_number_and_no_row_changes(client, boss):
    operator = make_user("kim@example.com", role=OPERATOR)
    coupon = make_coupon()
    change_coupon(coupon, by=operator.id, step="pause")
    rows = select(LogEntry.__table__).where(LogEntry.coupon_id == coupon)
    before = db.session.execute(rows).all()
    anonymise(operator, by=boss.id)
    assert db.session.execute(rows).all() == before
    shown = page(client, "/admin/log", person=str(operator.id), verb="pause")
    assert f"anonymised-{operator.id}" in shown
    assert "kim@example.com" not in shown


def test_the_page_of_a_person_leads_to_what_was_decided_about_them(client, boss):
    kim = make_user("kim@example.com")
    block(kim.id, by=boss.id)
    (link,) = re.findall(r'href="(/admin/log[?]person=\d+)"', page(client, f"/admin/people/{kim.id}"))
    shown = client.get(link, headers=EN).text.partition("<ol")[2]
    assert "Blocked an account" in shown
    assert "boss@example.com" in shown


def test_a_wave_shows_what_was_decided_of_its_campaign(client, boss):
    first, second = campaign(2)
    change_coupon(first, by=boss.id, step="pause")
    shown = page(client, f"/admin/coupons/{second}/log")
    assert "Paused the sale" in shown.partition("<ol")[2]
    assert "Paused the sale" not in page(client, f"/admin/coupons/{make_coupon()}/log").partition("<ol")[2]


def test_older_rows_are_on_further_pages(client, boss):
    coupon = make_coupon()
    for number in range(PER_PAGE + 5):
        change_coupon(coupon, by=boss.id, title=f"Title {number}")
    last = db.session.scalar(select(func.max(LogEntry.id)).where(LogEntry.coupon_id == coupon))
    first_page = page(client, f"/admin/coupons/{coupon}/log")
    assert f"below={last - PER_PAGE + 1}" in first_page
    older = page(client, f"/admin/coupons/{coupon}/log", below=str(last - PER_PAGE + 1))
    assert "Made the coupon" in older.partition("<ol")[2]
    assert "below=" not in older


def test_every_verb_has_words():
    assert WORDS.keys() == set(log.VERBS)


def test_the_command_prints_the_same(run, app):
    boss, coupon = make_user("boss@example.com", role=OPERATOR), make_coupon(quota=5)
    change_coupon(coupon, by=boss.id, total_quantity=9)
    lines = run("log", "--coupon", coupon).stdout.splitlines()
    assert len(lines) == 2
    assert f"a command create coupon: coupon {coupon}" in lines[0]
    assert (
        f'boss@example.com change quota: coupon {coupon} {{"total_quantity": 5}} -> {{"total_quantity": 9}}'
        in (lines[1])
    )
    assert run("log", "--coupon", coupon, "--actor", "boss@example.com").stdout.splitlines() == lines[1:]
    assert run("log", "--coupon", coupon, "--since", "2099-01-01").stdout == ""
    assert_one_line(run("log", "--actor", "nobody@example.com"), "there is no account nobody@example.com")


def test_control_without_the_filter_the_command_prints_everything(run, app):
    first, second = make_coupon(), make_coupon()
    shown = run("log").stdout
    assert f"coupon {first} " in shown
    assert f"coupon {second} " in shown
