"""What the shop says of its members: the key and the grade of each e-mail address. Only operators set them.

They belong to the address, with or without an account here, so they count as soon as somebody registers with it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from webapp.log import record
from webapp.models import EVERYBODY, Coupon, CouponIssue, Member, StagedMember, Upload, User, utcnow
from webapp.models.uploads import CHECKED, COUNTED, GRADE_LENGTH
from webapp.sale import members, uploads
from webapp.sale.coupons import InvalidField
from webapp.sale.lists import NotCounted
from webapp.sale.members import ACCOUNTS
from webapp.sale.people_file import identifier_of, key_of
from webapp.sale.uploads import BATCH, Entry, Fault, Kind
from webapp.stores.sql import db
from webapp.values.texts import one_line


def _read_member(cells: tuple[str, ...], line: int) -> Entry | Fault:
    email = identifier_of(cells[0])
    if isinstance(email, Fault) or "@" not in email:
        return email if isinstance(email, Fault) else Fault("not_email", cells[0])
    key = key_of(cells[1]) if cells[1] else None
    if isinstance(key, Fault):
        return key
    grade = one_line(cells[2]) or None
    if grade and (len(grade) > GRADE_LENGTH or "," in grade):
        return Fault("grade", cells[2])
    return Entry({"email": email, "line": line, "member_key": key, "grade": grade}, email)


def _keys_of_two(upload_id: int) -> Iterator[tuple[int, Fault]]:
    """Take lines away whose member key is that of another address, in the file or already."""
    other = aliased(StagedMember)
    mine = StagedMember.upload_id == upload_id
    twice = select(StagedMember.line, StagedMember.email, StagedMember.member_key).join(
        other,
        (other.upload_id == upload_id)
        & (other.member_key == StagedMember.member_key)
        & (other.line < StagedMember.line),
    )
    taken = select(StagedMember.line, StagedMember.email, StagedMember.member_key).join(
        Member, (Member.member_key == StagedMember.member_key) & (Member.email != StagedMember.email)
    )
    with db.engine.begin() as connection:
        found = {
            line: (email, key)
            for query in (twice, taken)
            for line, email, key in connection.execute(query.where(mine))
        }
        for email, _key in found.values():
            connection.execute(delete(StagedMember).where(mine, StagedMember.email == email))
    yield from ((line, Fault("key_taken", key or "")) for line, (_email, key) in sorted(found.items()))


def _count_known(upload_id: int) -> int:
    known = select(func.count()).select_from(StagedMember).join(User, User.email == StagedMember.email)
    with db.engine.connect() as connection:
        return connection.scalar(known.where(StagedMember.upload_id == upload_id)) or 0


ACCOUNTS_FILE = uploads.register(
    Kind(
        ACCOUNTS,
        {
            "email": ("email", "emailaddress", "mail", "이메일", "이메일주소", "메일"),
            "member_key": (
                "memberkey",
                "key",
                "memberid",
                "회원번호",
                "회원키",
                "회원id",
                "회원아이디",
                "아이디",
            ),
            "grade": ("grade", "tier", "level", "등급", "회원등급"),
        },
        StagedMember,
        _read_member,
        _keys_of_two,
        _count_known,
    )
)


def import_members(upload_id: int, *, by: int | None) -> None:
    """Make a checked file about accounts count: all of it in one transaction. An empty cell takes a key or grade away.

    Addresses that the file does not name stay as they are. A repeat changes nothing. Raises NotCounted,
    SQLAlchemyError.
    """
    with db.engine.begin() as connection:
        # The row of the upload is its lock: of two operators the second finds it counted.
        mine = update(Upload).where(Upload.id == upload_id, Upload.kind == ACCOUNTS)
        connection.execute(mine.values(counted_by=by))
        state = connection.scalar(select(Upload.state).where(Upload.id == upload_id))
        if state == COUNTED:
            return
        if state != CHECKED:
            raise NotCounted(upload_id)
        for rows in _staged(connection, upload_id):
            _put(connection, rows)
        judge_from_here(connection)
        connection.execute(mine.values(state=COUNTED, counted_at=utcnow()))
        good = connection.scalar(select(Upload.good).where(Upload.id == upload_id))
        record(connection, "count members", by=by, after={"upload": upload_id, "people": good})


def _staged(connection: Connection, upload_id: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the staged rows some thousands at a time, in the order of addresses."""
    columns, last = (StagedMember.email, StagedMember.member_key, StagedMember.grade), ""
    query = select(*columns).where(StagedMember.upload_id == upload_id).order_by(StagedMember.email)
    while rows := connection.execute(query.where(StagedMember.email > last).limit(BATCH)).all():
        yield [dict(row._mapping) for row in rows]
        last = rows[-1].email


def _put(connection: Connection, rows: list[dict[str, Any]]) -> None:
    emails = [row["email"] for row in rows]
    # Deleted first: a key may move from one address to another within a file.
    connection.execute(delete(Member).where(Member.email.in_(emails)))
    kept = [row for row in rows if row["member_key"] or row["grade"]]
    if kept:
        connection.execute(insert(Member), kept)


KEEP = object()
"""In place of a key or a grade: it stays as it is."""


def set_member(email: str, *, by: int | None, key: Any = KEEP, grade: Any = KEEP) -> None:
    """Give an address a key or a grade, or take either away (None). A repeat changes nothing.

    Raises InvalidField; the lines are told afterwards, now or by the sweeper.
    """
    address = identifier_of(email)
    if isinstance(address, Fault) or "@" not in address:
        raise InvalidField("email", _("This is not an e-mail address."))
    row = {"member_key": _clean_key(key), "grade": _clean_grade(grade)}
    try:
        with db.engine.begin() as connection:
            held = connection.execute(select(Member).where(Member.email == address)).one_or_none()
            before = held._mapping if held else {"member_key": None, "grade": None}
            row = {name: before[name] if value is KEEP else value for name, value in row.items()}
            _put(connection, [{"email": address, **row}])
            _touch(connection, address)
            user_id = connection.scalar(select(User.id).where(User.email == address))
            _log(connection, user_id, dict(before), row, by)
    except IntegrityError as error:
        raise InvalidField("member_key", _("Another address has this member key.")) from error
    if user_id is not None:
        members.tell_account(user_id)


def _log(
    connection: Connection,
    user_id: int | None,
    before: Mapping[str, Any],
    row: Mapping[str, Any],
    by: int | None,
) -> None:
    """Write what has changed, but for the key itself, which names a person."""
    if before != {**before, **row}:
        told = [{"grade": each["grade"], "has_key": bool(each["member_key"])} for each in (before, row)]
        record(connection, "set member", by=by, user=user_id, before=told[0], after=told[1])


def _clean_key(key: Any) -> Any:
    if key is KEEP or key is None:
        return key
    found = key_of(key.strip())
    if isinstance(found, Fault) or not found:
        raise InvalidField("member_key", _("A member key has no spaces, no @ and 64 characters at most."))
    return found


def _clean_grade(grade: Any) -> Any:
    if grade is KEEP or grade is None:
        return grade
    name = one_line(grade)
    if not name or len(name) > GRADE_LENGTH or "," in name:
        raise InvalidField("grade", _("A grade has %(most)s characters at most.", most=GRADE_LENGTH))
    return name


def move(connection: Connection, old: str, new: str) -> None:
    """Let key and grade go with an account to its new address, in the transaction that gives it that."""
    if old != new:
        connection.execute(delete(Member).where(Member.email == new))
        connection.execute(update(Member).where(Member.email == old).values(email=new))
        _touch(connection, new)


def forget(connection: Connection, email: str) -> None:
    """Forget what the shop says of an address whose owner is to be forgotten. Its coupons stay."""
    connection.execute(delete(Member).where(Member.email == email))
    judge_from_here(connection)


def _touch(connection: Connection, email: str) -> None:
    connection.execute(update(User).where(User.email == email).values(changed_at=utcnow()))
    judge_from_here(connection)


def judge_from_here(connection: Connection) -> None:
    """Have the audit judge nobody by a grade or a name from now on who was issued a coupon before."""
    last = select(func.coalesce(func.max(CouponIssue.id), 0)).where(CouponIssue.coupon_id == Coupon.id)
    restricted = update(Coupon).where(Coupon.audience != EVERYBODY)
    connection.execute(restricted.values(audience_after=last.scalar_subquery()))
