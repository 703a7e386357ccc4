"""Who may have a coupon, by SQL: everybody, the people on its list, or the members of some grades.

A list is made of uploads that count. It names people by e-mail address or by the shop's member key, with or without an
account here: somebody whom it names has the right from the moment in which there is an account for it.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, join, select
from sqlalchemy.orm import aliased

from webapp.line.keys import MOST_USER
from webapp.models import EVERYBODY, LIST, Coupon, CouponRow, ListedPerson, Member, Upload, User
from webapp.models.uploads import COUNTED
from webapp.sale.eligibility import IDS

READ = 20_000
"""Rows that are read at a time where there may be a million."""
PEOPLE = "people"
NOT_LISTED, OTHER_GRADE = "not on the list", "not of these grades"
"""The reasons of a rejection, as `line_events` and the results keep them."""


def audience_of(coupon: Coupon | CouponRow) -> str:
    """Return the audience that a row of `coupons` gives its gate: its version, or "" for everybody."""
    return "" if coupon.audience == EVERYBODY else str(coupon.audience_version)


def grades_of(coupon: Coupon | CouponRow) -> list[str]:
    return [grade for grade in coupon.grades.split(",") if grade]


def outsiders_among(
    connection: Connection, coupon: Coupon | CouponRow, ids: Collection[int]
) -> dict[int, str]:
    """Return the users who may not have the coupon, with the reason, by user id: one query, none for everybody.

    A user who has no account is none of them.
    """
    if coupon.audience == EVERYBODY or not ids:
        return {}
    outside = _outside(coupon).where(User.id.in_(IDS))
    reason = NOT_LISTED if coupon.audience == LIST else OTHER_GRADE
    return dict.fromkeys(connection.scalars(outside, {"ids": list(ids)}), reason)


def insiders_among(connection: Connection, coupon: Coupon | CouponRow, ids: Collection[int]) -> set[int]:
    """Return the users who may have the coupon, of those who have an account."""
    known = set(connection.scalars(select(User.id).where(User.id.in_(IDS)), {"ids": list(ids)}))
    return known - outsiders_among(connection, coupon, known).keys()


def count_outsiders(connection: Connection, coupon: Coupon | CouponRow) -> int:
    """Return how many accounts that are neither blocked nor invented may not have the coupon."""
    if coupon.audience == EVERYBODY:
        return 0
    outside = _outside(coupon).where(User.blocked_at.is_(None), User.rehearsal.is_(False)).subquery()
    return int(connection.scalar(select(func.count()).select_from(outside)) or 0)


def names_anybody(connection: Connection, coupon_id: int) -> bool:
    """Return whether the list of a coupon names anybody, with or without an account."""
    named = select(ListedPerson.upload_id).where(
        ListedPerson.upload_id.in_(counted_uploads(connection, coupon_id))
    )
    return connection.scalar(named.limit(1)) is not None


def counted_uploads(connection: Connection, coupon_id: int) -> list[int]:
    """Return the ids of the uploads that make the list of a coupon."""
    return list(connection.scalars(select(Upload.id).where(*counts_for(coupon_id)).order_by(Upload.id)))


def counts_for(coupon_id: int) -> tuple[ColumnElement[bool], ...]:
    return Upload.coupon_id == coupon_id, Upload.state == COUNTED, Upload.kind == PEOPLE


def bits_of(users: Iterable[Iterable[int]]) -> bytes:
    """Return one bit for each user id, as `Line.write_members` takes them."""
    bits = bytearray()
    for some in users:
        for user_id in some:
            byte, bit = divmod(user_id, 8)
            if byte >= len(bits):
                bits.extend(bytes(max(byte + 1 - len(bits), len(bits) // 2)))
            if user_id < MOST_USER:
                bits[byte] |= 0x80 >> bit
    return bytes(bits.rstrip(b"\0"))


def users_of(connection: Connection, coupon: Coupon | CouponRow) -> Iterator[list[int]]:
    """Yield the user ids of all who may have a coupon that is not for everybody, some thousands at a time."""
    if coupon.audience == LIST:
        for upload_id in counted_uploads(connection, coupon.id):
            yield from users_in(connection, upload_id)
        return
    by_grade = select(Member.email, User.id).join(User, User.email == Member.email)
    yield from _in_steps(connection, by_grade.where(Member.grade.in_(grades_of(coupon))), Member.email)


def users_in(connection: Connection, upload_id: int) -> Iterator[list[int]]:
    """Yield the user ids of those in an upload who have an account, some thousands at a time."""
    owner = aliased(User)
    named = (
        select(ListedPerson.identifier, func.coalesce(User.id, owner.id))
        .outerjoin(User, User.email == ListedPerson.identifier)
        .outerjoin(Member, Member.member_key == ListedPerson.identifier)
        .outerjoin(owner, owner.email == Member.email)
        .where(ListedPerson.upload_id == upload_id)
    )
    yield from _in_steps(connection, named, ListedPerson.identifier)


def _in_steps(connection: Connection, query: Select[str, int], unique: Any) -> Iterator[list[int]]:
    """Yield the second column READ rows at a time, by the unique first one, without those that are NULL."""
    last = ""
    while rows := connection.execute(query.where(unique > last).order_by(unique).limit(READ)).all():
        yield [user_id for _, user_id in rows if user_id is not None]
        last = rows[-1][0]


def _outside(coupon: Coupon | CouponRow) -> Select[int]:
    """Return the query for the ids of all accounts that may not have the coupon.

    Lists are joined: MariaDB would read the whole of them for an IN or an EXISTS, and so it looks each account up.
    """
    users = select(User.id).outerjoin(Member, Member.email == User.email)
    if coupon.audience != LIST:
        return users.where(func.coalesce(Member.grade, "").not_in(grades_of(coupon)))
    for name in (User.email, Member.member_key):
        upload, person = aliased(Upload), aliased(ListedPerson)
        on_a_list = join(upload, person, person.upload_id == upload.id)
        counts = (upload.coupon_id == coupon.id, upload.state == COUNTED, upload.kind == PEOPLE)
        users = users.outerjoin(on_a_list, and_(*counts, person.identifier == name))
        users = users.where(person.identifier.is_(None))
    return users
