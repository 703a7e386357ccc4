"""Who may have a coupon: refused at the click by Redis, and by SQL at admission, whatever becomes of the list."""

import io
from collections.abc import Callable

import pytest
import redis
from sqlalchemy import func, select, update

from tests.builders import failing, make_coupon, make_user
from webapp.line.keys import MARK_BYTES
from webapp.line.line import Line
from webapp.models import Coupon, CouponIssue, LineEvent, ListedPerson, Member, Upload, utcnow
from webapp.sale import admission, audit, claims, lists, members, membership, publishing, uploads
from webapp.sale.coupons import InvalidField, change_coupon
from webapp.sale.lists import NotCounted
from webapp.sale.membership import ACCOUNTS_FILE
from webapp.sale.outcomes import Refused
from webapp.sale.people_file import PEOPLE_FILE
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

pytestmark = pytest.mark.usefixtures("app")


def bring(coupon: int, text: str, *, replace: bool = False) -> int:
    """Bring a file and have it count; return the id of its upload."""
    upload = checked(coupon, text)
    lists.count_people(upload, replace=replace, by=None)
    return upload


def checked(coupon: int | None, text: str, kind=PEOPLE_FILE) -> int:
    upload = uploads.begin(kind, coupon, "list.csv", by=None)
    uploads.read(upload, kind, io.BytesIO(text.encode()))
    return upload


def upload_of(upload_id: int) -> Upload:
    found = uploads.upload_by_id(upload_id)
    assert found is not None
    return found


def invited(count: int = 3, *, of: int = 2) -> tuple[int, list[int]]:
    """Make a coupon for the first `of` of some users; return it and all the users."""
    users = [make_user(f"user{number}@example.com").id for number in range(count)]
    coupon = make_coupon()
    bring(coupon, "".join(f"user{number}@example.com\n" for number in range(of)))
    return coupon, users


def refused(coupon: int, user: int) -> str:
    with pytest.raises(Refused) as refusal:
        claims.claim(coupon, user)
    return refusal.value.code


def key_and_grade(email: str) -> tuple[str | None, str | None]:
    """Return what SQL says of an address."""
    with db.engine.connect() as connection:
        found = connection.execute(select(Member.member_key, Member.grade).where(Member.email == email))
        return tuple(found.one_or_none() or (None, None))


def line_of(coupon: int) -> Line:
    return Line(line_redis(), coupon)


def version_of(coupon: int) -> int:
    with db.engine.connect() as connection:
        return connection.scalar(select(Coupon.audience_version).where(Coupon.id == coupon)) or 0


# At the click


def test_whoever_is_on_the_list_gets_a_number_and_others_are_refused_in_one_round_trip(monkeypatch):
    coupon, users = invited()
    assert claims.claim(coupon, users[0]).number == 1
    monkeypatch.setattr(db, "session", None)
    monkeypatch.setattr(type(db.engine), "connect", failing(AssertionError("SQL was asked")))
    asked = []
    run = type(line_redis()).run_script
    monkeypatch.setattr(type(line_redis()), "run_script", lambda *a: asked.append(a[1]) or run(*a))
    assert refused(coupon, users[2]) == "not_eligible"
    assert asked == ["claim"]


def test_a_ticket_and_a_result_are_shown_although_the_list_is_lost():
    coupon, users = invited()
    claims.claim(coupon, users[0])
    line_redis().delete(line_of(coupon).members_key)
    assert claims.claim(coupon, users[0]).number == 1
    admission.admit(coupon)
    assert claims.claim(coupon, users[0]).state == "issued"


def wiped(line: Line) -> None:
    line_redis().delete(line.members_key)


def of_an_older_version(line: Line) -> None:
    line_redis().setrange(line.members_key, 0, "1:0".ljust(MARK_BYTES))


def of_another_epoch(line: Line) -> None:
    line_redis().setrange(line.members_key, 0, "9:1".ljust(MARK_BYTES))


def half_written(line: Line) -> None:
    line_redis().set(line.members_key, line_redis().getrange(line.members_key, 0, MARK_BYTES // 2))


def without_its_mark(line: Line) -> None:
    line_redis().setrange(line.members_key, 0, "\0" * MARK_BYTES)


def behind_a_newer_gate(line: Line) -> None:
    line_redis().hset(line.gate_key, "audience", "2")


def beside_a_gate_of_before(line: Line) -> None:
    line_redis().hdel(line.gate_key, "audience")


LOSSES: list[Callable[[Line], None]] = [
    *(wiped, of_an_older_version, of_another_epoch, half_written, without_its_mark),
    *(behind_a_newer_gate, beside_a_gate_of_before),
]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_list_that_is_not_whole_admits_nobody_until_it_is_written_anew(loss):
    coupon, users = invited()
    loss(line_of(coupon))
    assert [refused(coupon, user) for user in users] == ["busy"] * 3
    assert line_of(coupon).gate().last == 0
    publishing.publish(coupon)
    members.sweep_members()
    assert claims.claim(coupon, users[0]).number == 1
    assert refused(coupon, users[2]) == "not_eligible"


def test_a_new_epoch_trusts_no_list_of_the_one_before():
    coupon, users = invited()
    line = line_of(coupon)
    line_redis().hset(line.gate_key, "run_id", "another run")
    with pytest.raises(Refused, match="busy"):
        claims.claim(coupon, users[0])
    assert line.gate().epoch == 2
    assert not line.members_are_of(2, "1")
    members.sweep_members()
    assert claims.claim(coupon, users[0]).state == "waiting"


def test_a_list_of_a_type_that_is_not_ours_is_set_aside():
    coupon, users = invited()
    line_redis().delete(line_of(coupon).members_key)
    line_redis().lpush(line_of(coupon).members_key, "x")
    assert refused(coupon, users[0]) == "busy"
    assert "members was a list" in line_of(coupon).aside()[0]
    members.sweep_members()
    assert claims.claim(coupon, users[0]).number == 1


def test_bits_of_a_change_that_the_gate_does_not_know_are_not_taken():
    coupon, _users = invited()
    line = line_of(coupon)
    assert not line.write_members(epoch=1, audience="2", bits=b"\xff")
    assert not line.write_members(epoch=2, audience="1", bits=b"\xff")
    assert not line.mark_members({1: True}, was="2", audience="3")
    assert line.members_are_of(1, "1")


def test_nobody_waits_for_a_list_while_it_changes(monkeypatch):
    """The bits of a change are made before its commit, so no sweeper is needed, however long the list is."""
    monkeypatch.setattr(members, "AT_ONCE", 0)
    coupon, users = make_coupon(), [make_user(f"u{number}@example.com").id for number in range(2)]
    bring(coupon, "u0@example.com\n")
    assert claims.claim(coupon, users[0]).number == 1
    assert refused(coupon, users[1]) == "not_eligible"
    bring(coupon, "u1@example.com\n")
    assert claims.claim(coupon, users[1]).number == 2
    lists.set_audience(coupon, "everybody", by=None)
    assert claims.claim(coupon, make_user().id).number == 3
    lists.set_audience(coupon, "list", by=None)
    assert (
        refused(coupon, make_user().id) == "busy"
    )  # control: this change makes no bits, and the sweeper does


# Changes


def test_additions_count_at_once_and_who_is_removed_is_refused_at_the_click():
    coupon, users = invited()
    assert lists.add_person(coupon, "USER2@example.com", by=None) is True
    assert lists.add_person(coupon, "USER2@example.com", by=None) is True
    assert claims.claim(coupon, users[2]).number == 1
    assert lists.remove_person(coupon, "user1@example.com", by=None) is True
    assert lists.remove_person(coupon, "user1@example.com", by=None) is False
    assert refused(coupon, users[1]) == "not_eligible"
    assert lists.add_person(coupon, "nobody@example.com", by=None) is False
    assert [each.good for each in lists.counting(coupon)] == [2, 1]


def test_who_is_removed_while_waiting_is_rejected_with_a_reason_and_who_was_issued_stays():
    coupon, users = invited(of=3)
    claims.claim(coupon, users[0])
    admission.admit(coupon)
    for user in users[1:]:
        claims.claim(coupon, user)
    for number in (0, 1):
        lists.remove_person(coupon, f"user{number}@example.com", by=None)
    admission.admit(coupon)
    assert [claims.standing(coupon, user).state for user in users] == ["issued", "rejected", "issued"]
    assert claims.standing(coupon, users[1]).reason == "not on the list"
    with db.engine.connect() as connection:
        events = select(LineEvent.kind, LineEvent.reason, LineEvent.ticket_number)
        assert connection.execute(events).all() == [("rejected", "not on the list", 2)]


@pytest.mark.parametrize("how", ["replaced", "withdrawn", "for others", "removed"])
def test_sql_decides_at_admission_although_redis_has_heard_of_nothing(how, monkeypatch):
    coupon, users = invited()
    claims.claim(coupon, users[1])
    monkeypatch.setattr(lists, "_tell", lambda *_args, **_options: None)
    if how == "replaced":
        bring(coupon, "user0@example.com\n", replace=True)
    elif how == "withdrawn":
        lists.withdraw_upload(lists.counting(coupon)[0].id, by=None)
    elif how == "for others":
        lists.set_audience(coupon, "grades", ["VIP"], by=None)
    else:
        lists.remove_person(coupon, "user1@example.com", by=None)
    assert (
        claims.claim(coupon, users[0]).number == 2
    )  # control: Redis still lets everybody of the old list in
    admission.admit(coupon)
    assert claims.standing(coupon, users[1]).state == "rejected"


def test_sql_is_asked_once_a_batch_for_the_list_and_not_at_all_without_one():
    coupon, users = invited()
    for everybody, asked in ((False, 1), (True, 0)):
        if everybody:
            lists.set_audience(coupon, "everybody", by=None)
        with db.engine.connect() as connection:
            row = connection.execute(select(Coupon).where(Coupon.id == coupon)).one()
            statements = []
            execute = connection.scalars
            connection.scalars = lambda *a, log=statements, do=execute: log.append(a) or do(*a)
            lists_say = members.insiders_among.__globals__["outsiders_among"](connection, row, users)
            assert len(statements) == asked
            assert set(lists_say) == (set() if everybody else {users[2]})


def test_people_without_an_account_count_once_they_register():
    coupon = make_coupon()
    upload = bring(coupon, "later@example.com\n")
    assert (upload_of(upload).good, upload_of(upload).known) == (1, 0)
    user = make_user("Later@Example.com").id
    assert refused(coupon, user) == "not_eligible"  # control: nobody has told the line
    members.tell_account(user)
    assert claims.claim(coupon, user).number == 1


def test_the_sweeper_tells_of_an_account_that_came_while_redis_was_away(monkeypatch):
    coupon, _users = invited()
    members.sweep_members()
    lists.add_person(coupon, "later@example.com", by=None)
    user = make_user("later@example.com").id
    monkeypatch.setattr(Line, "mark_members", failing(redis.ConnectionError()))
    members.tell_account(user)
    monkeypatch.undo()
    assert refused(coupon, user) == "not_eligible"
    members.sweep_members()
    assert claims.claim(coupon, user).number == 1


def test_when_many_accounts_change_all_bits_are_written_anew(monkeypatch):
    monkeypatch.setattr(members, "MARKED", 1)
    coupon, users = invited()
    monkeypatch.setattr(Line, "mark_members", failing(AssertionError("told one by one")))
    monkeypatch.setattr(members, "changed_accounts", lambda _since, most: users if most else [])
    line_redis().setbit(line_of(coupon).members_key, 8 * MARK_BYTES + users[2], 1)
    members.sweep_members()
    assert refused(coupon, users[2]) == "not_eligible"


def test_two_operators_at_once_the_second_sees_what_changed():
    coupon, users = invited()
    seen = version_of(coupon)
    first, second = checked(coupon, "user2@example.com\n"), checked(coupon, "nobody@example.com\n")
    lists.count_people(first, replace=False, by=None, seen_version=seen)
    lists.count_people(first, replace=False, by=None, seen_version=seen)  # a second click
    with pytest.raises(InvalidField):
        lists.count_people(second, replace=True, by=None, seen_version=seen)
    assert claims.claim(coupon, users[2]).number == 1
    assert upload_of(second).state == "checked"


def test_a_file_that_was_not_read_to_its_end_cannot_count(monkeypatch):
    coupon = make_coupon()
    monkeypatch.setattr(uploads, "_judged", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        checked(coupon, "a@example.com\n")
    with db.engine.connect() as connection:
        upload = connection.scalar(select(func.max(Upload.id)))
        assert connection.scalar(select(func.count()).select_from(ListedPerson)) == 1
    with pytest.raises(NotCounted):
        lists.count_people(upload, replace=False, by=None)
    assert version_of(coupon) == 0
    with db.engine.begin() as connection:
        connection.execute(update(Upload).values(heard_at=utcnow() - 2 * uploads.KEPT))
    uploads.forget_old()
    with db.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(ListedPerson)) == 0


def test_the_same_list_from_a_draft_on():
    coupon, user = make_coupon(status="draft"), make_user("kim@example.com").id
    bring(coupon, "kim@example.com\n")
    change_coupon(coupon, step="publish")
    assert claims.claim(coupon, user).number == 1
    assert refused(coupon, make_user().id) == "not_eligible"


def test_a_change_stands_when_redis_is_away_and_the_sweeper_tells_it(monkeypatch):
    coupon, users = invited()
    monkeypatch.setattr(Line, "publish", failing(redis.ConnectionError()))
    with pytest.raises(redis.ConnectionError):
        lists.set_audience(coupon, "grades", ["VIP"], by=None)
    monkeypatch.undo()
    publishing.publish_policy(coupon)
    assert refused(coupon, users[0]) == "busy"
    members.sweep_members()
    assert refused(coupon, users[0]) == "not_eligible"


# What is in a file


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("kim@", "not_email"),
        ("kim@nowhere", "not_email"),
        ("a@b.c@d.e", "not_email"),
        ("x" * 250 + "@example.com", "not_email"),
        ("x" * 65, "too_long"),
        ("has space", "characters"),
        ('"two\nlines"', "characters"),
        ("1.23E+11", "rounded"),
        ("a,b", "columns"),
        ("KIM@example.com", "duplicate"),
    ],
)
def test_a_line_that_cannot_be_taken_is_named_with_its_reason(text, kind):
    upload = checked(make_coupon(), f"email\nkim@example.com\n{text}\nlee@example.com\n")
    assert upload_of(upload).good == 2
    ((line, found),) = [(fault.line, fault.kind) for fault in uploads.faults_of(upload)]
    assert (line, found) == (3, kind)


@pytest.mark.parametrize(("text", "why"), [("email\n", "no_rows"), ("kim@\n", "nothing_good"), ("", "empty")])
def test_a_file_without_a_good_line_is_refused_and_nothing_has_changed(text, why):
    coupon = make_coupon()
    upload = checked(coupon, text)
    assert (upload_of(upload).state, upload_of(upload).why) == ("refused", why)
    with pytest.raises(NotCounted):
        lists.count_people(upload, replace=False, by=None)
    assert claims.claim(coupon, make_user().id).number == 1


def test_faults_are_read_in_pieces(monkeypatch):
    monkeypatch.setattr(uploads, "BATCH", 3)
    upload = checked(make_coupon(), "".join(f"{number}@\n" for number in range(8)) + "kim@example.com\n")
    assert [fault.line for fault in uploads.faults_of(upload)] == list(range(1, 9))
    assert upload_of(upload).bad == 8


# Keys and grades


def test_a_list_may_name_member_keys_which_only_the_shop_gives():
    coupon, user = make_coupon(), make_user("kim@example.com").id
    bring(coupon, "회원번호\nM-001\nM-002\n")
    assert refused(coupon, user) == "not_eligible"
    membership.set_member("kim@example.com", by=None, key="M-001")
    assert claims.claim(coupon, user).number == 1
    other = make_user("lee@example.com").id
    with pytest.raises(InvalidField):
        membership.set_member("lee@example.com", by=None, key="M-001")
    assert refused(coupon, other) == "not_eligible"
    membership.set_member("new@example.com", by=None, key="M-002")
    new = make_user("new@example.com").id
    members.tell_account(new)
    assert claims.claim(coupon, new).number == 2


def test_grades_decide_and_a_grade_that_goes_is_rejected_at_admission():
    coupon, vip, gold = make_coupon(), make_user("vip@example.com").id, make_user("gold@example.com").id
    for email, grade in (("vip@example.com", "VIP"), ("gold@example.com", "GOLD")):
        membership.set_member(email, by=None, grade=grade)
    lists.set_audience(coupon, "grades", ["VIP", " GOLD "], by=None)
    assert refused(coupon, make_user().id) == "not_eligible"
    assert claims.claim(coupon, vip).number == 1
    assert claims.claim(coupon, gold).number == 2
    membership.set_member("gold@example.com", by=None, grade=None)
    admission.admit(coupon)
    assert [claims.standing(coupon, user).state for user in (vip, gold)] == ["issued", "rejected"]
    assert claims.standing(coupon, gold).reason == "not of these grades"


@pytest.mark.parametrize("grades", [[], [" "], ["x" * 33], ["a,b"], ["x" * 30 + str(n) for n in range(20)]])
def test_grades_that_cannot_be_are_refused(grades):
    coupon = make_coupon()
    with pytest.raises(InvalidField):
        lists.set_audience(coupon, "grades", grades, by=None)
    assert version_of(coupon) == 0


def test_a_file_about_accounts_counts_as_a_whole_and_a_key_may_move():
    coupon, user = make_coupon(), make_user("kim@example.com").id
    lists.set_audience(coupon, "grades", ["VIP"], by=None)
    membership.set_member("lee@example.com", by=None, key="M1", grade="GOLD")
    upload = checked(
        None, "email,grade,member_key\nkim@example.com,VIP,M1\nlee@example.com,,M2\n", ACCOUNTS_FILE
    )
    assert [(fault.line, fault.kind) for fault in uploads.faults_of(upload)] == [(2, "key_taken")]
    upload = checked(None, "email,grade,member_key\nlee@example.com,,M2\n", ACCOUNTS_FILE)
    membership.import_members(upload, by=None)
    upload = checked(
        None, "email,grade,member_key\nkim@example.com,VIP,M1\nnew@example.com,VIP,M1\n", ACCOUNTS_FILE
    )
    assert [(fault.line, fault.kind) for fault in uploads.faults_of(upload)] == [(3, "key_taken")]
    membership.import_members(upload, by=None)
    membership.import_members(upload, by=None)
    assert key_and_grade("kim@example.com") == ("M1", "VIP")
    assert key_and_grade("lee@example.com") == ("M2", None)
    members.sweep_members()
    assert claims.claim(coupon, user).number == 1


# Bits


@pytest.mark.parametrize("ids", [[], [0], [7, 8, 9], [1_000_003, 5], list(range(0, 3000, 7))])
def test_the_bits_are_those_of_the_users(ids):
    bits = members.bits_of([ids])
    assert [n for n in range(8 * len(bits)) if bits[n // 8] & (0x80 >> n % 8)] == sorted(ids)


def test_a_list_leaves_redis_with_the_results():
    coupon, _users = invited()
    line = line_of(coupon)
    assert line_redis().pexpiretime(line.members_key) > line.gate().policy.closes_at_ms


# The audit


def failing_checks(coupon: int) -> dict[str, str]:
    return {check.name: check.detail for check in audit.run(coupon).checks if not check.ok}


def test_the_audit_proves_that_nobody_else_holds_it():
    coupon, users = invited()
    for user in users[:2]:
        claims.claim(coupon, user)
    admission.admit(coupon)
    assert failing_checks(coupon) == {}
    with db.engine.begin() as connection:
        connection.execute(
            update(CouponIssue).where(CouponIssue.user_id == users[1]).values(user_id=users[2])
        )
    assert (
        f"1 who hold it and never might, of 2 since its audience changed: {users[2]}"
        in failing_checks(coupon)["audience"]
    )


def test_the_audit_does_not_judge_holders_by_a_list_of_later():
    coupon, users = invited()
    claims.claim(coupon, users[0])
    admission.admit(coupon)
    lists.remove_person(coupon, "user0@example.com", by=None)
    assert failing_checks(coupon) == {}


@pytest.mark.parametrize("bit", [0, 1])
def test_the_audit_finds_a_bit_that_has_drifted(bit):
    coupon, users = invited()
    line_redis().setbit(line_of(coupon).members_key, 8 * MARK_BYTES + users[1 + bit], bit)
    assert f": {users[1 + bit]}" in failing_checks(coupon)["members"]


def test_the_audit_says_when_a_list_is_not_whole():
    coupon, _users = invited()
    line_redis().delete(line_of(coupon).members_key)
    assert "not whole" in failing_checks(coupon)["members"]
