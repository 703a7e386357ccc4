"""Decisions of operators about who may have a coupon. SQL commits first, and Redis is told afterwards."""

from collections.abc import Collection
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from webapp.line.line import Line
from webapp.log import record
from webapp.models import (
    AUDIENCES,
    GRADES,
    GRADES_LENGTH,
    LIST,
    Coupon,
    CouponIssue,
    ListedPerson,
    Member,
    Upload,
    User,
    utcnow,
)
from webapp.models.uploads import CHECKED, COUNTED, GRADE_LENGTH, WITHDRAWN
from webapp.sale import members, publishing, uploads
from webapp.sale.audience import PEOPLE, bits_of, counted_uploads, counts_for, users_in
from webapp.sale.coupons import InvalidField, refuse_archived
from webapp.sale.locking import CouponLock, locked_coupon
from webapp.sale.members import Ready
from webapp.sale.people_file import identifier_of
from webapp.sale.uploads import Fault
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.values.texts import one_line

BY_HAND = "by hand"
"""The name of the upload that holds the people whom operators have added one by one."""
MEANWHILE = _("Somebody has changed who may have this coupon meanwhile. Look at it once more.")
"""Two operators at once: the second sees what the first has changed, and decides anew."""


class NotCounted(Exception):
    """An upload cannot count: it is not checked (any more), or it is not of this coupon."""


def count_people(upload_id: int, *, replace: bool, by: int | None, seen_version: int | None = None) -> None:
    """Make a checked file count: its people are added to the list, or with `replace` are the list.

    From then on the coupon is for its list. A repeat changes nothing. `seen_version` is the audience version that the
    operator saw. Raises NotCounted, InvalidField when that has changed meanwhile; redis.RedisError or Refused after the
    commit: the change stands, and the sweeper tells Redis.
    """
    upload = uploads.upload_by_id(upload_id)
    if upload is None or upload.kind != PEOPLE or upload.coupon_id is None:
        raise NotCounted(upload_id)
    ready = _ready(upload.coupon_id, upload_id, replace=replace)
    with locked_coupon(upload.coupon_id) as lock:
        state = lock.connection.scalar(select(Upload.state).where(Upload.id == upload_id))
        if state == COUNTED:
            return
        if state != CHECKED:
            raise NotCounted(upload_id)
        _refuse_if_changed(lock, seen_version)
        if replace:
            _withdraw(lock, Upload.coupon_id == upload.coupon_id)
        counted = {"state": COUNTED, "counted_by": by, "counted_at": utcnow()}
        lock.connection.execute(update(Upload).where(Upload.id == upload_id).values(**counted))
        _raise_version(lock, audience=LIST)
        facts = {"upload": upload_id, "people": upload.good, "replaces": replace}
        record(lock.connection, "count list", by=by, coupon=upload.coupon_id, after=facts)
        lock.commit()
    _tell(upload.coupon_id, ready)
    if replace:
        forget_withdrawn(upload.coupon_id)


def _ready(coupon_id: int, upload_id: int, *, replace: bool) -> Ready | None:
    """Make the bits of the list that is to come, before anybody holds the lock: then no click waits for them."""
    began = utcnow()
    with db.engine.connect() as connection:
        coupon = connection.execute(select(Coupon).where(Coupon.id == coupon_id)).one_or_none()
        if coupon is None:
            return None
        ids = [upload_id] if replace else {*counted_uploads(connection, coupon_id), upload_id}
        bits = bits_of(some for each in ids for some in users_in(connection, each))
    return Ready(str(coupon.audience_version + 1), bits, began)


def withdraw_upload(upload_id: int, *, by: int | None, seen_version: int | None = None) -> None:
    """Take the people of one file off the list again. A repeat changes nothing. Raises as `count_people` does."""
    upload = uploads.upload_by_id(upload_id)
    if upload is None or upload.kind != PEOPLE or upload.coupon_id is None:
        raise NotCounted(upload_id)
    with locked_coupon(upload.coupon_id) as lock:
        state = lock.connection.scalar(select(Upload.state).where(Upload.id == upload_id))
        if state == WITHDRAWN:
            return
        if state == COUNTED:
            _refuse_if_changed(lock, seen_version)
            _raise_version(lock)
        _withdraw(lock, Upload.id == upload_id, by=by)
        if state == COUNTED:
            facts = {"upload": upload_id, "people": upload.good}
            record(lock.connection, "withdraw list", by=by, coupon=upload.coupon_id, before=facts)
        lock.commit()
    _tell(upload.coupon_id)
    uploads.remove_lines(upload_id)


def set_audience(
    coupon_id: int,
    audience: str,
    grades: Collection[str] = (),
    *,
    by: int | None,
    seen_version: int | None = None,
) -> None:
    """Decide who may have the coupon: everybody, its list, or the members of some grades. A repeat changes nothing.

    Raises LookupError, InvalidField; redis.RedisError or Refused after the commit, and the change stands.
    """
    if audience not in AUDIENCES:
        raise InvalidField("audience", _("Choose who may have this coupon."))
    names = _clean_grades(grades) if audience == GRADES else ""
    with locked_coupon(coupon_id) as lock:
        if lock.coupon is None:
            raise LookupError(coupon_id)
        if (lock.coupon.audience, lock.coupon.grades) == (audience, names):
            return
        _refuse_if_changed(lock, seen_version)
        _raise_version(lock, audience=audience, grades=names)
        before = {"audience": lock.coupon.audience, "grades": lock.coupon.grades}
        after = {"audience": audience, "grades": names}
        record(lock.connection, "set audience", by=by, coupon=coupon_id, before=before, after=after)
        lock.commit()
    _tell(coupon_id)


def _clean_grades(grades: Collection[str]) -> str:
    names = list(dict.fromkeys(filter(None, (one_line(grade) for grade in grades))))
    joined = ",".join(names)
    if not names:
        raise InvalidField("grades", _("Name at least one grade."))
    if (
        max(map(len, names)) > GRADE_LENGTH
        or len(joined) > GRADES_LENGTH
        or any("," in name for name in names)
    ):
        raise InvalidField("grades", _("A grade has %(most)s characters at most.", most=GRADE_LENGTH))
    return joined


def add_person(coupon_id: int, text: str, *, by: int | None) -> bool:
    """Put one person on the list; return whether there is an account. From then on the coupon is for its list.

    A repeat changes nothing. Raises LookupError, InvalidField; redis.RedisError or Refused after the commit.
    """
    identifier = _identifier(text)
    with locked_coupon(coupon_id) as lock:
        if lock.coupon is None:
            raise LookupError(coupon_id)
        user_id = _owner(lock.connection, identifier)
        if lock.coupon.audience == LIST and _is_listed(lock.connection, coupon_id, identifier):
            return user_id is not None
        upload_id = _upload_by_hand(lock, by)
        if not _is_listed(lock.connection, coupon_id, identifier):
            person = {"upload_id": upload_id, "identifier": identifier}
            lock.connection.execute(insert(ListedPerson).values(**person))
            _recount(lock.connection, [upload_id])
        before, was = _raise_version(lock, audience=LIST), lock.coupon
        facts = {"user": user_id, "before": {"audience": was.audience}, "after": {"audience": LIST}}
        record(lock.connection, "add person", by=by, coupon=coupon_id, **facts)
        lock.commit()
    marks = {user_id: True} if user_id and was.audience == LIST else None
    _tell(coupon_id, marks=marks, before=before)
    return user_id is not None


def remove_person(coupon_id: int, text: str, *, by: int | None) -> bool:
    """Take one person off the list, in whichever files they are; return whether they were on it.

    If they wait, they are rejected at their turn; a coupon that was issued stays theirs. Raises as `add_person` does.
    """
    identifier = _identifier(text)
    with locked_coupon(coupon_id) as lock:
        if lock.coupon is None:
            raise LookupError(coupon_id)
        ids = counted_uploads(lock.connection, coupon_id)
        here = (ListedPerson.upload_id.in_(ids), ListedPerson.identifier == identifier)
        held = lock.connection.scalars(select(ListedPerson.upload_id).where(*here)).all()
        if not held:
            return False
        lock.connection.execute(delete(ListedPerson).where(*here))
        _recount(lock.connection, held, gone=1)
        before = _raise_version(lock)
        user_id = _owner(lock.connection, identifier)
        # Whoever is named twice, by address and by key, keeps the right by the other name.
        still = user_id is not None and any(
            _is_listed(lock.connection, coupon_id, name) for name in _names(lock.connection, user_id)
        )
        listed = lock.coupon.audience == LIST
        record(lock.connection, "remove person", by=by, coupon=coupon_id, user=user_id)
        lock.commit()
    _tell(coupon_id, marks={user_id: still} if user_id and listed else None, before=before)
    return True


def _identifier(text: str) -> str:
    found = identifier_of(text.strip())
    if isinstance(found, Fault):
        raise InvalidField("person", _("This is no e-mail address and no member key."))
    return found


def is_on_list(coupon_id: int, text: str) -> bool:
    """Return whether a list names this address or key. Raises InvalidField."""
    identifier = _identifier(text)
    with db.engine.connect() as connection:
        return _is_listed(connection, coupon_id, identifier)


def counting(coupon_id: int) -> list[Row[Any]]:
    """Return the uploads that make the list, the newest first."""
    with db.engine.connect() as connection:
        return list(
            connection.execute(select(Upload).where(*counts_for(coupon_id)).order_by(Upload.id.desc()))
        )


def forget_withdrawn(coupon_id: int) -> None:
    """Remove the lines of files that were withdrawn: they name people for nothing."""
    withdrawn = (Upload.coupon_id == coupon_id, Upload.state == WITHDRAWN, Upload.kind == PEOPLE)
    with db.engine.connect() as connection:
        ids = connection.scalars(select(Upload.id).where(*withdrawn)).all()
    for upload_id in ids:
        uploads.remove_lines(upload_id)


def _is_listed(connection: Connection, coupon_id: int, identifier: str) -> bool:
    ids = counted_uploads(connection, coupon_id)
    here = select(ListedPerson.upload_id).where(
        ListedPerson.upload_id.in_(ids), ListedPerson.identifier == identifier
    )
    return connection.scalar(here.limit(1)) is not None


def _owner(connection: Connection, identifier: str) -> int | None:
    """Return the account of an address, or of the member with that key."""
    if "@" in identifier:
        return connection.scalar(select(User.id).where(User.email == identifier))
    of_key = select(User.id).join(Member, Member.email == User.email).where(Member.member_key == identifier)
    return connection.scalar(of_key)


def _names(connection: Connection, user_id: int) -> list[str]:
    names = select(User.email, Member.member_key).outerjoin(Member, Member.email == User.email)
    return [name for name in connection.execute(names.where(User.id == user_id)).one() if name]


def _upload_by_hand(lock: CouponLock, by: int | None) -> int:
    of = (*counts_for(lock.coupon.id), Upload.file_name == BY_HAND)
    found = lock.connection.scalar(select(Upload.id).where(*of).limit(1))
    if found is not None:
        return found
    made = {
        "coupon_id": lock.coupon.id,
        "kind": PEOPLE,
        "state": COUNTED,
        "file_name": BY_HAND,
        "percent": 100,
    }
    who = {"uploaded_by": by, "counted_by": by, "counted_at": utcnow()}
    return int(lock.connection.execute(insert(Upload).values(**made, **who)).lastrowid)


def _recount(connection: Connection, ids: Collection[int], *, gone: int = 0) -> None:
    """Count the people of uploads after one has come or gone."""
    change = Upload.good - gone if gone else Upload.good + 1
    connection.execute(update(Upload).where(Upload.id.in_(ids)).values(good=change))


def _withdraw(lock: CouponLock, which: Any, *, by: int | None = None) -> None:
    """Withdraw uploads of people that count or were checked; a file that is being read goes on."""
    mine = (which, Upload.kind == PEOPLE, Upload.state.in_((COUNTED,) if by is None else (COUNTED, CHECKED)))
    lock.connection.execute(update(Upload).where(*mine).values(state=WITHDRAWN))


def _raise_version(lock: CouponLock, **changed: Any) -> str:
    """Change who may have the coupon, and return the version before. Raises InvalidField for one in the archive."""
    refuse_archived(lock.coupon)
    version = int(lock.coupon.audience_version)
    last = select(func.max(CouponIssue.id)).where(CouponIssue.coupon_id == lock.coupon.id)
    changed |= {"audience_version": version + 1, "audience_after": lock.connection.scalar(last) or 0}
    lock.connection.execute(update(Coupon).where(Coupon.id == lock.coupon.id).values(**changed))
    return str(version)


def _refuse_if_changed(lock: CouponLock, seen_version: int | None) -> None:
    if lock.coupon is None:
        raise LookupError
    if seen_version is not None and seen_version != lock.coupon.audience_version:
        raise InvalidField("audience", MEANWHILE)


def _tell(
    coupon_id: int,
    ready: Ready | None = None,
    *,
    marks: dict[int, bool] | None = None,
    before: str = "",
) -> None:
    """Tell Redis of a change that is committed: by the bits that differ, by all that are ready, or anew from SQL."""
    publishing.publish_policy(coupon_id)
    if marks:
        line = Line(line_redis(), coupon_id)
        line.mark_members(marks, was=before, audience=str(int(before) + 1))
    members.write_members(coupon_id, most=members.AT_ONCE, ready=ready)
