"""Codes of a shop's own: given in the order of the file, once each, whoever dies; shown just as uploaded."""

import io
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from tests.builders import make_coupon, make_user, make_users
from webapp.line.line import Line
from webapp.models import Coupon, CouponIssue, PoolCode, Revocation, Upload, User, most_of, utcnow
from webapp.models.uploads import CHECKED, COUNTED, REFUSED, WITHDRAWN
from webapp.sale import (
    admission,
    audit,
    claims,
    drawing,
    held,
    locking,
    pools,
    publishing,
    redeeming,
    rolling,
    uploads,
)
from webapp.sale.archiving import archive
from webapp.sale.coupons import InvalidField, change_coupon, coupon_by_id
from webapp.sale.drawing import Drawn
from webapp.sale.duplicating import duplicate_coupon
from webapp.sale.going_live import NotReady, check, go_live
from webapp.sale.levels import BLOCKING, OK
from webapp.sale.lists import NotCounted
from webapp.sale.outcomes import Refused
from webapp.sale.pool_file import POOL_FILE, what_is_wrong_with
from webapp.sale.rehearsing import settings_of
from webapp.sale.waves import make_waves
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

pytestmark = pytest.mark.usefixtures("app")


def codes(count: int, word: str = "SHOP") -> list[str]:
    return [f"{word}-{number:04}" for number in range(1, count + 1)]


def bring(coupon: int, lines: list[str]) -> int:
    """Bring a file of codes and have it count; return the id of its upload."""
    upload = checked(coupon, lines)
    pools.count_codes(upload, by=None)
    return upload


def checked(coupon: int, lines: list[str]) -> int:
    upload = uploads.begin(POOL_FILE, coupon, "codes.csv", by=None)
    uploads.read(upload, POOL_FILE, io.BytesIO("".join(f"{line}\n" for line in lines).encode()))
    return upload


def pooled(count: int = 3, *, word: str = "SHOP", quota: int | None = 0, **fields: Any) -> int:
    """Make a live coupon with a pool of so many codes, which is its quota unless another one is given."""
    coupon = make_coupon(quota=count, **fields)
    bring(coupon, codes(count, word))
    if quota != 0:
        change_coupon(coupon, total_quantity=quota)
    return coupon


def upload_of(upload_id: int) -> Upload:
    found = uploads.upload_by_id(upload_id)
    assert found is not None
    return found


def row(coupon: int) -> Coupon:
    found = coupon_by_id(coupon)
    assert found is not None
    return found


def given(coupon: int) -> list[str]:
    """Return the codes of the issues in the order of their tickets."""
    mine = select(CouponIssue.code).where(CouponIssue.coupon_id == coupon)
    with db.engine.connect() as connection:
        return list(connection.scalars(mine.order_by(CouponIssue.ticket_number)))


def queue(coupon: int, count: int) -> list[int]:
    users = make_users(count)
    for user in users:
        claims.claim(coupon, user)
    return users


def faults(upload_id: int) -> list[tuple[int, str, str]]:
    return [(fault.line, fault.kind, fault.text) for fault in uploads.faults_of(upload_id)]


def rows_of(upload_id: int) -> int:
    with db.engine.connect() as connection:
        mine = PoolCode.upload_id == upload_id
        return connection.scalar(select(func.count()).select_from(PoolCode).where(mine)) or 0


def line_of(coupon: int) -> Line:
    return Line(line_redis(), coupon)


def failing_checks(coupon: int) -> list[str]:
    return [check.name for check in audit.run(coupon).checks if not check.ok]


# At admission


def test_codes_are_given_in_the_order_of_tickets_of_lines_and_of_files():
    coupon = pooled(3, quota=5)
    bring(coupon, codes(2, "LATER"))
    users = queue(coupon, 5)
    admission.admit(coupon)
    assert given(coupon) == ["SHOP-0001", "SHOP-0002", "SHOP-0003", "LATER-0001", "LATER-0002"]
    assert claims.standing(coupon, users[3]).code == "LATER-0001"
    assert row(coupon).pool_left == 0
    assert audit.run(coupon).ok


def test_batches_go_on_where_the_one_before_has_stopped(monkeypatch):
    monkeypatch.setattr(admission, "BATCH", 2)
    coupon = pooled(7)
    queue(coupon, 7)
    admission.admit(coupon)
    assert given(coupon) == codes(7)


def test_who_is_rejected_takes_no_code():
    coupon = pooled(2)
    users = queue(coupon, 3)
    db.session.execute(update(User).where(User.id == users[1]).values(blocked_at=utcnow()))
    db.session.commit()
    admission.admit(coupon)
    assert given(coupon) == codes(2)
    assert claims.standing(coupon, users[2]).code == "SHOP-0002"


def test_a_code_that_was_taken_back_is_never_given_again():
    coupon = pooled(2)
    users = queue(coupon, 3)
    admission.admit(coupon)
    redeeming.revoke("SHOP-0001", None, "returned")
    admission.admit(coupon)
    assert given(coupon) == ["SHOP-0002"]
    assert claims.standing(coupon, users[2]).state == "sold_out"
    assert row(coupon).sold_out
    assert line_of(coupon).gate().sold_out
    assert audit.run(coupon).ok


class Died(BaseException):
    """A worker died here: nothing of it goes on."""


def dies_once(monkeypatch, owner: Any, name: str, *, after: bool) -> None:
    """Have the first call of a function be the last thing that a worker does, before or after it."""
    original, died = getattr(owner, name), []

    def dying(*arguments: Any, **options: Any) -> Any:
        if died:
            return original(*arguments, **options)
        died.append(True)
        if after:
            original(*arguments, **options)
        raise Died

    monkeypatch.setattr(owner, name, dying)


DEATHS = [
    (admission, "draw", True),
    (admission, "_insert_issues", False),
    (admission, "_insert_issues", True),
    (admission, "_write", True),
    (locking.CouponLock, "commit", False),
    (locking.CouponLock, "commit", True),
    (Line, "settle", False),
    (Line, "settle", True),
]


@pytest.mark.parametrize(
    ("owner", "name", "after"), DEATHS, ids=lambda each: getattr(each, "__name__", str(each))
)
def test_wherever_a_worker_dies_no_code_is_lost_and_none_given_twice(monkeypatch, owner, name, after):
    coupon = pooled(4)
    users = queue(coupon, 3)
    with monkeypatch.context() as patch:
        dies_once(patch, owner, name, after=after)
        with pytest.raises(Died):
            admission.admit(coupon)
    admission.admit(coupon)
    assert given(coupon) == codes(3)
    assert [claims.standing(coupon, user).code for user in users] == codes(3)
    assert row(coupon).pool_left == 1
    assert audit.run(coupon).ok


def test_control_without_the_cursor_a_code_would_go_to_two_people(monkeypatch):
    """Only the unique index on codes stands in between: the batch is refused, and the code set aside."""
    coupon = pooled(4)
    queue(coupon, 1)
    monkeypatch.setattr(Drawn, "taken", lambda self, _connection, count: {"pool_left": self.left - count})
    admission.admit(coupon)
    assert failing_checks(coupon) == ["pool left", "pool codes", "pool order"]
    monkeypatch.setattr(admission, "MOST_TRIES", 1)
    queue(coupon, 1)
    with pytest.raises(IntegrityError):
        admission.admit(coupon)


def test_a_code_of_the_pool_that_somebody_holds_holds_nobody_up():
    other = make_coupon()
    queue(other, 1)
    coupon = pooled(3)
    admission.admit(other)
    with db.engine.begin() as connection:
        connection.execute(update(CouponIssue).values(code="SHOP-0001"))
    queue(coupon, 3)
    admission.admit(coupon)
    assert given(coupon) == ["SHOP-0002", "SHOP-0003"]
    assert row(coupon).pool_left == 0
    assert line_of(coupon).gate().in_standby == 1
    upload = pools.files_of(coupon)[0]
    assert (upload.good, upload.duplicates) == (2, 1)
    assert faults(upload.id) == [(1, drawing.GIVEN, "SHOP-0001")]
    assert audit.run(coupon).ok


def test_a_count_that_is_too_high_holds_nobody_up():
    coupon = pooled(2)
    with db.engine.begin() as connection:
        connection.execute(delete(PoolCode).where(PoolCode.code == "SHOP-0002"))
    users = queue(coupon, 2)
    admission.admit(coupon)
    assert given(coupon) == ["SHOP-0001"]
    assert claims.standing(coupon, users[1]).state == "sold_out"
    assert row(coupon).pool_left == 0


# Dry


def test_dry_is_sold_out_and_more_codes_serve_standby_first():
    coupon = pooled(2, quota=10, standby_limit=2)
    users = queue(coupon, 4)
    admission.admit(coupon)
    late = make_user().id
    assert claims.standing(coupon, users[2]).state == "sold_out"
    with pytest.raises(Refused, match="sold_out"):
        claims.claim(coupon, late)
    status = claims.line_status(coupon)
    assert (status.state, status.quota, status.in_standby) == ("sold_out", 2, 2)
    assert pools.pool_of(row(coupon)) == pools.Pool(codes=2, left=0, short=8)
    bring(coupon, codes(3, "MORE"))
    assert not line_of(coupon).gate().sold_out
    assert claims.claim(coupon, late).state == "waiting"
    admission.admit(coupon)
    assert given(coupon)[2:] == codes(3, "MORE")
    assert claims.standing(coupon, late).code == "MORE-0003"
    assert audit.run(coupon).ok


def test_who_comes_after_the_last_code_gets_a_place_in_standby_as_after_the_last_of_a_quota():
    coupon = pooled(1, quota=None, standby_limit=3)
    queue(coupon, 1)
    admission.admit(coupon)
    assert claims.claim(coupon, make_user().id).state == "sold_out"
    bring(coupon, ["MORE-0001"])
    admission.admit(coupon)
    assert given(coupon) == ["SHOP-0001", "MORE-0001"]


def test_a_quota_below_the_pool_is_the_end_and_codes_stay():
    coupon = pooled(5, quota=2)
    queue(coupon, 3)
    admission.admit(coupon)
    assert given(coupon) == codes(2)
    assert (row(coupon).pool_left, row(coupon).sold_out) == (3, True)
    change_coupon(coupon, total_quantity=3)
    admission.admit(coupon)
    assert given(coupon) == codes(3)


def test_redis_that_lost_everything_learns_that_the_pool_is_dry():
    coupon = pooled(1, quota=None)
    queue(coupon, 2)
    admission.admit(coupon)
    line_redis().flushall()
    publishing.publish(coupon)
    assert claims.line_status(coupon).state == "sold_out"


@pytest.mark.parametrize(
    ("quota", "issued", "left", "most"),
    [(5, 2, None, 5), (None, 2, None, None), (5, 2, 1, 3), (5, 2, 9, 5), (None, 2, 1, 3), (0, 0, 3, 0)],
)
def test_what_can_be_issued_in_all_is_the_quota_or_the_pool(quota, issued, left, most):
    assert most_of(quota, issued, left) == most
    coupon = make_coupon(quota=quota)
    with db.engine.begin() as connection:
        changed = {"issued_quantity": issued, "pool_left": left}
        connection.execute(update(Coupon).where(Coupon.id == coupon).values(**changed))
        by_sql = connection.scalar(select(Coupon.sold_out).where(Coupon.id == coupon))
        not_by_sql = connection.scalar(select(~Coupon.sold_out).where(Coupon.id == coupon))
    assert bool(by_sql) == row(coupon).sold_out == (not bool(not_by_sql))


def test_a_dry_wave_rolls_over_although_people_stand_in_standby():
    first, second = make_waves(
        make_coupon(quota=2, opens_in=600, closes_in=7200, status="draft"),
        [utcnow() + timedelta(seconds=seconds) for seconds in (600, 3600)],
        quota=2,
        rolls_over=True,
        by=None,
    )
    for wave, word in ((first, "ONE"), (second, "TWO")):
        bring(wave, codes(2, word))
    change_coupon(first, step="publish")
    change_coupon(second, step="publish")
    withdraw_all_but_one(first)
    ended = utcnow() - timedelta(seconds=1)
    change_coupon(first, issue_start_at=ended - timedelta(seconds=60))
    queue(first, 2)
    admission.admit(first)
    change_coupon(first, issue_end_at=ended)
    assert rolling.roll_over(first) == 1
    assert row(second).total_quantity == 3
    assert audit.run(first).ok


def withdraw_all_but_one(coupon: int) -> None:
    pools.withdraw_codes(pools.files_of(coupon)[0].id, by=None)
    bring(coupon, ["ONLY-0001"])


# Files


def test_a_file_is_compared_with_itself_this_pool_other_pools_and_all_codes_ever_given():
    other, old = pooled(2, word="OTHER"), make_coupon()
    queue(old, 2)
    admission.admit(old)
    held_code, revoked_code = given(old)
    redeeming.revoke(revoked_code, None, "returned")
    coupon = pooled(2)
    upload = checked(coupon, ["NEW-1", "NEW-1", "SHOP-0001", "OTHER-0002", held_code, revoked_code, "new-1"])
    assert faults(upload) == [
        (2, "duplicate", "NEW-1"),
        (3, "duplicate_pool", "SHOP-0001"),
        (4, "duplicate_other", "OTHER-0002"),
        (5, "duplicate_issued", held_code),
        (6, "duplicate_issued", revoked_code),
    ]
    found = upload_of(upload)
    assert (found.good, found.duplicates, found.bad, found.state) == (2, 5, 0, CHECKED)
    assert rows_of(upload) == 2
    assert row(coupon).pool_left == 2
    assert row(other).pool_left == 2


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("ABC-123", ""),
        ("0000", ""),
        ("a!#$%&()*/<>?[]^_{|}~.:x", ""),
        ("x" * 40, ""),
        ("x" * 41, "too_long"),
        ("abc", "too_short"),
        ("", "empty"),
        ("1.23E+12", "rounded"),
        ("A B C D", "code_characters"),
        ("ABCD,", "code_characters"),
        ("AB;CD", "code_characters"),
        ('AB"CD', "code_characters"),
        ("AB'CD", "code_characters"),
        ("쿠폰코드1", "code_characters"),
        ("ABC\x07D", "code_characters"),
        ("ＡＢＣＤ", "code_characters"),
        ("=1+1+1", "formula"),
        ("@SUM", "formula"),
    ],
)
def test_what_can_be_a_code(code, wrong):
    assert what_is_wrong_with(code) == wrong


def test_leading_zeros_are_kept_and_counted_and_lengths_are_told():
    coupon = make_coupon(quota=3, opens_in=600)
    upload = checked(coupon, ["code", "0012345", "0099", "A0012"])
    found = upload_of(upload)
    assert (found.good, found.warned, faults(upload)) == (3, 2, [])
    assert pools.lengths_of(upload) == (4, 7)
    pools.count_codes(upload, by=None)
    assert row(coupon).pool_left == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "empty"),
        (b"code\n", "no_rows"),
        (b"ABCD,EFGH\n", "columns"),
        (b"PK\x03\x04whatever", "excel"),
        ("code\nABCD\n".encode("utf-16")[:-1], "cut"),
        (b'ABCD\n"EFGH', "cut"),
        (b"A\nB\n", "nothing_good"),
    ],
)
def test_a_file_that_cannot_be_taken_leaves_nothing(text, why):
    coupon = make_coupon()
    upload = uploads.begin(POOL_FILE, coupon, "codes.csv", by=None)
    uploads.read(upload, POOL_FILE, io.BytesIO(text))
    assert (upload_of(upload).state, upload_of(upload).why) == (REFUSED, why)
    assert rows_of(upload) == 0
    with pytest.raises(NotCounted):
        pools.count_codes(upload, by=None)
    assert row(coupon).pool_left is None


def test_a_line_of_a_cell_too_many_is_left_out():
    upload = checked(make_coupon(), ["ABCD", "EFGH,IJKL", "MNOP"])
    assert faults(upload) == [(2, "columns", "EFGH")]


def test_codes_of_a_file_that_is_compared_line_by_line_in_many_batches(monkeypatch):
    monkeypatch.setattr(uploads, "BATCH", 3)
    coupon = make_coupon(quota=None, opens_in=600)
    bring(coupon, codes(10))
    upload = checked(coupon, [*codes(4, "NEW"), *codes(10), *codes(8, "NEW")])
    found = upload_of(upload)
    assert (found.good, found.duplicates, rows_of(upload)) == (8, 14, 8)


def test_a_new_file_takes_the_place_of_one_that_was_only_checked_and_frees_its_codes():
    coupon, other = make_coupon(opens_in=600), make_coupon(opens_in=600)
    first = checked(coupon, codes(5))
    second = checked(coupon, codes(6))
    assert (upload_of(first).state, rows_of(first)) == (WITHDRAWN, 0)
    assert (upload_of(second).good, upload_of(second).duplicates) == (6, 0)
    pools.withdraw_codes(second, by=None)
    assert upload_of(checked(other, codes(6))).good == 6


def test_a_file_is_not_begun_while_another_one_is_read_unless_that_has_broken_off():
    coupon = make_coupon()
    reading = uploads.begin(POOL_FILE, coupon, "codes.csv", by=None)
    with pytest.raises(InvalidField):
        uploads.begin(POOL_FILE, coupon, "codes.csv", by=None)
    with db.engine.begin() as connection:
        late = {"heard_at": utcnow() - uploads.SILENT * 2}
        connection.execute(update(Upload).where(Upload.id == reading).values(**late))
    checked(coupon, codes(2))
    uploads.read(reading, POOL_FILE, io.BytesIO(b"LATE-0001\n"))
    assert upload_of(reading).state == WITHDRAWN


def test_an_old_file_that_is_forgotten_is_not_one_that_counts_by_now():
    coupon = make_coupon(quota=2, opens_in=600)
    upload = checked(coupon, codes(2))
    with db.engine.begin() as connection:
        connection.execute(
            update(Upload).where(Upload.id == upload).values(heard_at=utcnow() - uploads.KEPT * 2)
        )
    pools.count_codes(upload, by=None)
    uploads.forget_old()
    assert (upload_of(upload).state, rows_of(upload)) == (COUNTED, 2)


# What counts


def test_counting_twice_counts_once():
    coupon = make_coupon(quota=2, opens_in=600)
    upload = checked(coupon, codes(2))
    for _ in range(2):
        pools.count_codes(upload, by=None)
    assert row(coupon).pool_left == 2


def test_a_pool_begins_only_while_no_code_of_ours_was_given():
    coupon = make_coupon(quota=3)
    queue(coupon, 1)
    admission.admit(coupon)
    with pytest.raises(InvalidField):
        bring(coupon, codes(3))
    redeeming.revoke(given(coupon)[0], None, "returned")
    with pytest.raises(InvalidField):
        bring(coupon, codes(3))
    assert row(coupon).pool_left is None


def test_a_pool_that_begins_in_a_live_coupon_is_enough_for_its_quota():
    coupon = make_coupon(quota=3, opens_in=600)
    with pytest.raises(InvalidField):
        bring(coupon, codes(2))
    assert row(coupon).pool_left is None
    bring(coupon, codes(3))
    assert row(coupon).pool_left == 3


def test_whoever_waits_gets_a_code_of_the_pool_that_begins():
    coupon = make_coupon(quota=3)
    queue(coupon, 2)
    bring(coupon, codes(3))
    admission.admit(coupon)
    assert given(coupon) == codes(2)


def test_of_two_operators_the_second_sees_what_the_first_has_changed():
    coupon = make_coupon(opens_in=600, quota=2)
    seen = pools.told(pools.files_of(coupon))
    first = checked(coupon, codes(2))
    pools.count_codes(first, by=None, seen=seen)
    second = checked(coupon, codes(2, "MORE"))
    with pytest.raises(InvalidField, match=str(pools.MEANWHILE)):
        pools.count_codes(second, by=None, seen=seen)
    pools.count_codes(second, by=None, seen=pools.told(pools.files_of(coupon)))
    assert row(coupon).pool_left == 4


def test_a_file_that_is_older_than_one_in_the_pool_does_not_count():
    """Its codes would stand before the cursor, and never be given."""
    coupon = make_coupon(opens_in=600, quota=2)
    older = checked(coupon, codes(2))
    with db.engine.begin() as connection:
        values = {"kind": "codes", "coupon_id": coupon, "state": COUNTED, "good": 0, "percent": 100}
        connection.execute(insert(Upload).values(**values))
    with pytest.raises(InvalidField):
        pools.count_codes(older, by=None)


def test_an_archived_coupon_takes_no_codes_and_a_file_of_another_kind_is_none():
    coupon = make_coupon(status="draft")
    upload = checked(coupon, codes(2))
    archive(coupon, by=None)
    with pytest.raises(InvalidField):
        pools.count_codes(upload, by=None)
    with db.engine.begin() as connection:
        connection.execute(update(Upload).values(kind="people"))
    with pytest.raises(NotCounted):
        pools.count_codes(upload, by=None)
    with pytest.raises(NotCounted):
        pools.withdraw_codes(99, by=None)


def test_a_file_of_which_no_code_was_given_can_be_taken_out():
    coupon = pooled(2, quota=4)
    more = bring(coupon, codes(2, "MORE"))
    queue(coupon, 1)
    admission.admit(coupon)
    with pytest.raises(InvalidField):
        pools.withdraw_codes(pools.files_of(coupon)[0].id, by=None)
    for _ in range(2):
        pools.withdraw_codes(more, by=None)
    assert (row(coupon).pool_left, rows_of(more)) == (1, 0)
    assert audit.run(coupon).ok


def test_without_any_file_a_draft_draws_codes_of_ours_and_a_live_coupon_none():
    draft, live = make_coupon(status="draft"), make_coupon(quota=2, opens_in=600)
    for coupon, word in ((draft, "ONE"), (live, "TWO")):
        pools.withdraw_codes(bring(coupon, codes(2, word)), by=None)
    assert (row(draft).pool_left, row(live).pool_left) == (None, 0)
    assert row(live).sold_out


# Shown and redeemed as uploaded


OWN = ["Sale!2026", "0001234567", "a/b?c=d&e#f", "AbC-dEf_9", "100%OFF~", "x<y>z{|}", "s44gg6zxdbfyqq"]


def test_codes_are_shown_just_as_they_were_uploaded(client):
    coupon = make_coupon(quota=len(OWN), opens_in=600)
    bring(coupon, OWN)
    change_coupon(coupon, issue_start_at=utcnow() - timedelta(seconds=9))
    users = queue(coupon, len(OWN))
    admission.admit(coupon)
    for user, code in zip(users, OWN, strict=True):
        mine = held.by_coupon(user, coupon)
        assert mine is not None
        assert (mine.shown_code, claims.standing(coupon, user).code) == (code, code)
        found = redeeming.look_up(code)
        assert found is not None
        assert (found.shown_code, found.state) == (code, "usable")
    assert audit.run(coupon).ok


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("  Sale!2026 ", "Sale!2026"),
        ("ABCD-0001", "ABCD-0001"),
        ("abcd-0001", "ABCD-0001"),
        ("ＡＢＣＤ－０００１", "ABCD-0001"),
        ("ABCD–0001", "ABCD-0001"),
        ("ㅁㅠㅊㅇ-0001", "ABCD-0001"),
        ("코드: ABCD-0001", "ABCD-0001"),
        ("https://shop.example/admin/redeem?code=a%2Fb%3Fc", "a/b?c"),
        ("a/b?c", "a/b?c"),
        ("100%25", "100%25"),
        ("caseCASE", "caseCASE"),
        ("CASEcase", "CASEcase"),
        ("sale!2026", None),
        ("ABCD-000l", None),
        ("NOSUCHCODE", None),
    ],
)
def test_a_code_of_a_shop_is_found_as_people_type_it(typed, code):
    own = ["Sale!2026", "ABCD-0001", "a/b?c", "100%25", "caseCASE", "CASEcase"]
    coupon = make_coupon(quota=len(own))
    bring(coupon, own)
    queue(coupon, len(own))
    admission.admit(coupon)
    found = redeeming.look_up(typed)
    assert (found and found.code) == code


def test_an_exact_code_comes_before_one_that_looks_like_it():
    drawn = make_coupon(quota=1)
    queue(drawn, 1)
    admission.admit(drawn)
    ours = given(drawn)[0]
    with db.engine.begin() as connection:
        connection.execute(update(CouponIssue).values(code="S44GG6ZXDBF0"))
    assert ours != "S44GG6ZXDBF0"
    coupon = make_coupon(quota=1)
    bring(coupon, ["S44GG6ZXDBFO"])
    queue(coupon, 1)
    admission.admit(coupon)
    assert redeeming.look_up("S44GG6ZXDBFO").coupon_id == coupon
    assert redeeming.look_up("s44gg6zxdbfo").coupon_id == coupon
    assert redeeming.look_up("S44GG6ZXDBF0").coupon_id == drawn
    used, by_this = redeeming.use("S44GG6ZXDBFO", None)
    assert (used.coupon_id, by_this) == (coupon, True)
    redeeming.undo_use("S44GG6ZXDBFO", None, "mistake")
    assert redeeming.revoke("S44GG6ZXDBFO", None, "returned").shown_code == "S44GG6ZXDBFO"
    with db.engine.connect() as connection:
        assert connection.scalar(select(Revocation.code)) == "S44GG6ZXDBFO"


# Before going live, once more, and beside it


def finding(coupon: int) -> str:
    return next(each.level for each in check(coupon) if each.check == "pool")


def test_going_live_asks_for_a_code_for_each_coupon_of_the_quota():
    coupon = make_coupon(quota=3, status="draft", opens_in=600)
    assert finding(coupon) == OK
    bring(coupon, codes(2))
    assert finding(coupon) == BLOCKING
    with pytest.raises(NotReady) as refused:
        go_live(coupon, by=None)
    assert "pool" in [each.check for each in refused.value.found if each.level == BLOCKING]
    bring(coupon, codes(1, "MORE"))
    assert finding(coupon) == OK
    change_coupon(coupon, total_quantity=None)
    assert finding(coupon) == OK


def test_each_wave_has_a_pool_of_its_own_and_all_are_asked_for():
    draft = make_coupon(quota=2, status="draft", opens_in=600, closes_in=7200)
    times = [utcnow() + timedelta(seconds=seconds) for seconds in (600, 3600)]
    first, second = make_waves(draft, times, quota=2, by=None)
    bring(first, codes(2))
    assert row(second).pool_left is None
    assert finding(first) == BLOCKING
    bring(second, codes(2, "TWO"))
    assert finding(first) == OK
    make_waves(draft, times, quota=3, by=None)
    assert [row(wave).pool_left for wave in (first, second)] == [2, 2]
    assert finding(first) == BLOCKING


def test_a_duplicate_has_no_codes_and_a_rehearsal_takes_none():
    coupon = pooled(3, quota=None)
    made = duplicate_coupon(
        coupon, opens_at=utcnow() + timedelta(days=1), closes_at=utcnow() + timedelta(days=2), by=None
    )
    assert (row(made).pool_left, row(made).pool_upload_id) == (None, 0)
    assert settings_of(row(coupon))["total_quantity"] == 3


# The audit


def test_the_audit_finds_a_wrong_count():
    coupon = pooled(3)
    change_pool(coupon, pool_left=2)
    assert "pool left" in failing_checks(coupon)


@pytest.mark.parametrize(
    ("code", "check"),
    [("STRANGE-1", "pool codes"), ("SHOP-0003", "pool order")],
    ids=["the pool never had it", "it was given before its turn"],
)
def test_the_audit_finds_a_code_that_cannot_have_been_given(code, check):
    coupon = pooled(3)
    queue(coupon, 1)
    admission.admit(coupon)
    with db.engine.begin() as connection:
        connection.execute(update(CouponIssue).values(code=code))
    assert check in failing_checks(coupon)


def test_the_audit_tells_what_is_missing():
    coupon = pooled(3, quota=5)
    words = [str(each) for each in audit.run(coupon).checks if each.name == "pool left"]
    assert words == [
        "ok    pool left: 3 codes left by the coupon, 3 in its files; 2 coupons of the quota have no code"
    ]


def change_pool(coupon: int, **values: Any) -> None:
    with db.engine.begin() as connection:
        connection.execute(update(Coupon).where(Coupon.id == coupon).values(**values))


def test_the_database_refuses_less_than_no_code_and_one_code_twice():
    coupon = pooled(1)
    with pytest.raises(Exception, match=r"pool_left|CONSTRAINT"):
        change_pool(coupon, pool_left=-1)
    with pytest.raises(IntegrityError), db.engine.begin() as connection:
        connection.execute(insert(PoolCode).values(upload_id=99, line=1, code="SHOP-0001"))
