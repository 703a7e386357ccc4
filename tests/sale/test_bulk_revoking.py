"""Many coupons are revoked by a list of codes: what will happen is said first, and each is one decision."""

import re

import pytest
import redis
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from tests.builders import csrf_token, failing, make_coupon, make_user, make_users, sign_in
from tests.cli.test_cli import assert_one_line, run
from tests.log.test_writing import newest, written
from webapp.log.reading import chain
from webapp.models import OPERATOR, TILL, VIEWER, CouponIssue, Revocation
from webapp.sale import audit, bulk_revoking, claims, redeeming
from webapp.sale.admission import admit
from webapp.sale.bulk_revoking import look_at, revoke_all
from webapp.sale.codes import grouped
from webapp.sale.held import by_coupon
from webapp.sale.redeeming import Unchanged
from webapp.stores.sql import db
from webapp.web.admin import revoking
from webapp.web.admin.revoking import mark_of

__all__ = ["run"]
pytestmark = pytest.mark.usefixtures("app")


def sold(count: int, *, quota: int | None = None, standby: int = 0) -> tuple[int, list[int], list[str]]:
    """Return a coupon, those who have it and then stand by, and the codes of the former."""
    coupon, users = make_coupon(quota=quota or count), make_users(count + standby)
    for user in users:
        claims.claim(coupon, user)
    admit(coupon)
    return coupon, users, [by_coupon(user, coupon).code for user in users[:count]]


def verdicts(lines: list[str]) -> list[str]:
    return [each.verdict for each in look_at(lines)]


def issued(coupon: int) -> int:
    with db.engine.connect() as connection:
        return connection.scalar(
            select(func.count()).select_from(CouponIssue).where(CouponIssue.coupon_id == coupon)
        )


def test_each_line_is_judged_and_nothing_changes():
    _coupon, _users, codes = sold(4)
    redeeming.use(codes[1], None)
    redeeming.revoke(codes[2], None, "before")
    before = newest()
    lines = [codes[0], "", "  ", codes[1], codes[2], codes[0].lower(), "0000-0000-0000", "x" * 10_000, "%"]
    assert [(each.line, each.verdict) for each in look_at(lines)] == [
        (1, "issued"),
        (4, "used"),
        (5, "revoked"),
        (6, "twice"),
        (7, "unknown"),
        (8, "unknown"),
        (9, "unknown"),
    ]
    assert written(before) == []


def test_codes_are_meant_as_at_the_till():
    _coupon, _users, (code,) = sold(1)
    for typed in (grouped(code), code.lower(), f" {grouped(code)} ", f"https://x/?code={code}", f'"{code}"'):
        assert verdicts([typed]) == ["issued"], typed


def test_many_are_revoked_each_with_its_row_and_its_message():
    coupon, users, codes = sold(7)
    other, _users, more = sold(2)
    boss, before = make_user(role=OPERATOR), newest()
    done = revoke_all(look_at([*codes[:5], *more]), by=boss.id, reason="잘못 나간 쿠폰")
    assert (done.count, done.kept) == (7, 0)
    rows = written(before)
    assert [(row.verb, row.actor_id, row.reason) for row in rows] == [
        ("revoke", boss.id, "잘못 나간 쿠폰")
    ] * 7
    assert {row.user_id for row in rows} >= set(users[:5])
    assert "잘못 나간 쿠폰" in claims.standing(coupon, users[0]).reason
    assert claims.standing(coupon, users[6]).state == "issued"
    assert (issued(coupon), issued(other)) == (2, 0)
    assert chain().broken_at is None
    assert audit.run(coupon).ok


def test_what_comes_free_goes_to_standby():
    coupon, users, codes = sold(3, standby=2)
    revoke_all(look_at(codes), by=None, reason="x")
    admit(coupon)
    assert [claims.standing(coupon, user).state for user in users] == ["rejected"] * 3 + ["issued"] * 2
    assert audit.run(coupon).ok


def test_a_repeat_does_nothing_and_says_so():
    _coupon, _users, codes = sold(3)
    listed = look_at(codes)
    revoke_all(listed, by=None, reason="x")
    before = newest()
    done = revoke_all(listed, by=None, reason="x")
    assert (done.count, done.kept, written(before)) == (0, 3, [])
    assert verdicts(codes) == ["revoked"] * 3


def test_what_was_used_since_the_look_stays():
    coupon, _users, codes = sold(3)
    listed = look_at(codes)
    redeeming.use(codes[1], None)
    done = revoke_all(listed, by=None, reason="x")
    assert (done.count, done.kept, issued(coupon)) == (2, 1, 1)


def test_without_a_reason_nothing_is_revoked():
    coupon, _users, codes = sold(2)
    with pytest.raises(Unchanged, match="no_reason"):
        revoke_all(look_at(codes), by=None, reason=" \u200b ")
    assert issued(coupon) == 2


def test_broken_off_in_the_middle_the_rest_is_done_by_a_repeat(monkeypatch):
    coupon, _users, codes = sold(5)
    monkeypatch.setattr(bulk_revoking, "AT_ONCE", 2)
    whole, calls = bulk_revoking.move_issue, []

    def fourth_fails(lock, code, *rest):
        calls.append(code)
        if len(calls) == 4:
            raise OperationalError("DELETE", {}, Exception("gone away"))
        return whole(lock, code, *rest)

    listed = look_at(codes)
    with monkeypatch.context() as patched:
        patched.setattr(bulk_revoking, "move_issue", fourth_fails)
        with pytest.raises(OperationalError):
            revoke_all(listed, by=None, reason="x")
    assert issued(coupon) == 3
    assert revoke_all(look_at(codes), by=None, reason="x").count == 3
    assert (issued(coupon), audit.run(coupon).ok) == (0, True)


def test_when_redis_goes_away_after_the_commit_the_sweeper_tells(monkeypatch):
    coupon, users, codes = sold(2)
    with monkeypatch.context() as patched:
        patched.setattr(bulk_revoking, "_tell", failing(redis.ConnectionError()))
        assert revoke_all(look_at(codes), by=None, reason="x").count == 2
    redeeming.publishing.publish_late_revocations()
    assert claims.standing(coupon, users[0]).state == "rejected"


# The page


@pytest.fixture
def operator(client):
    sign_in(client, make_user(role=OPERATOR))
    client.environ_base["HTTP_ACCEPT_LANGUAGE"] = "en"
    return client


def send(client, **fields: str):
    return client.post("/admin/revocations", data={"csrf_token": csrf_token(client), **fields})


def test_the_page_says_what_will_happen_before_the_button(operator):
    coupon, _users, codes = sold(3)
    redeeming.use(codes[2], None)
    listed = "\r\n".join([*codes, "nothing"])
    page = send(operator, codes=listed, reason="by mistake")
    assert page.status_code == 200
    assert "Would be taken back: 2" in page.text
    assert "This code is used, and stays as it is." in page.text
    assert "There is no such code." in page.text
    assert issued(coupon) == 3
    (mark,) = re.findall(r'name="confirmed" value="(\w+)"', page.text)
    done = send(operator, codes=listed, reason="by mistake", confirmed=mark)
    assert "Taken back: 2." in done.text
    assert issued(coupon) == 1
    again = send(operator, codes=listed, reason="by mistake", confirmed=mark)
    assert "No coupon of this list can be taken back" in again.text


def test_what_was_confirmed_is_this_list_and_no_other(operator):
    coupon, _users, codes = sold(2)
    mark = mark_of(look_at(codes[:1]))
    page = send(operator, codes="\n".join(codes), reason="x", confirmed=mark)
    assert "Would be taken back: 2" in page.text
    assert issued(coupon) == 2


@pytest.mark.parametrize(
    ("codes", "reason", "said"),
    [
        ("", "x", "Write a code in each line."),
        (" \r\n ", "x", "Write a code in each line."),
        ("a\n" * 2001, "x", "2,000 lines are possible at once."),
        ("a", "", "Give a reason."),
        ("a", "r" * 91, "This is too long."),
    ],
)
def test_what_is_wrong_is_said_in_words(operator, codes, reason, said):
    answer = send(operator, codes=codes, reason=reason)
    assert answer.status_code == 422
    assert said in answer.text


def test_what_was_typed_is_text_and_no_html(operator):
    page = send(operator, codes="<script>alert(1)</script>", reason='"><b>').text
    assert "<script>alert" not in page
    assert '"><b>' not in page


def test_a_store_that_goes_away_in_the_middle_is_told_in_words(operator, monkeypatch):
    _coupon, _users, codes = sold(1)
    mark = mark_of(look_at(codes))
    monkeypatch.setattr(revoking, "revoke_all", failing(redis.ConnectionError()))
    page = send(operator, codes=codes[0], reason="x", confirmed=mark)
    assert "It broke off in the middle." in page.text


@pytest.mark.parametrize("role", [TILL, VIEWER])
def test_whoever_only_looks_or_uses_codes_revokes_none(client, role):
    coupon, _users, codes = sold(1)
    sign_in(client, make_user(role=role))
    mark = mark_of(look_at(codes))
    assert send(client, codes=codes[0], reason="x", confirmed=mark).status_code == 403
    assert issued(coupon) == 1


# The command


def test_the_command_reads_a_file(run, tmp_path):
    coupon, _users, codes = sold(3)
    redeeming.use(codes[2], None)
    path = tmp_path / "codes.csv"
    path.write_bytes(("\ufeff쿠폰번호\r\n" + "\r\n".join([*codes, "nothing"])).encode())
    looked = run("coupon", "revoke", "--file", path, "--reason", "x", "--dry-run")
    assert looked.stdout == "2 would be revoked\n"
    assert "it is used" in looked.stderr
    assert issued(coupon) == 3
    assert run("coupon", "revoke", "--file", path, "--reason", "x").stdout == "revoked 2\n"
    assert issued(coupon) == 1
    assert run("coupon", "revoke", "--file", path, "--reason", "x").stdout == "revoked 0\n"
    assert db.session.scalar(select(func.count()).select_from(Revocation)) == 2


def test_the_command_refuses_what_it_cannot_mean(run, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "sheet.xlsx").write_bytes(b"PK\x03\x04....")
    assert_one_line(run("coupon", "revoke", "--reason", "x"), "name a CODE, or a --file")
    assert_one_line(run("coupon", "revoke", "A", "--reason", "x", "--dry-run"), "--dry-run is for a file")
    for name in ("empty", "sheet.xlsx"):
        answer = run("coupon", "revoke", "--file", tmp_path / name, "--reason", "x")
        assert_one_line(answer, "the file cannot be read")
    (tmp_path / "one").write_text("A")
    assert_one_line(run("coupon", "revoke", "--file", tmp_path / "one", "--reason", " "), "give a reason")
