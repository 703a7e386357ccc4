"""Finding somebody who asks: by e-mail address, name, member key, code or ticket number."""

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import redis
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, select, union
from sqlalchemy.orm import InstrumentedAttribute

from webapp.line.line import holders_of
from webapp.models import DRAFT, Coupon, CouponIssue, LineEvent, Member, Revocation, User
from webapp.models.uploads import KEY_LENGTH
from webapp.sale.codes import meant_by
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.stores.swallowed import swallow
from webapp.values.emails import normalised_email
from webapp.values.texts import one_line

MOST_FOUND = 50
LINES = 50
"""The newest coupons, among whose lines somebody is looked for."""
MOST_TYPED = 300
NUMBER = re.compile(r"#?(\d{1,16})번?", re.ASCII)
LAST_CHARACTER = "\U0010ffff"


class Found(NamedTuple):
    """An account that fits what was typed: `by` says in what, and a number is one of a coupon.

    `email` and `name` are None when the account was deleted. `user_id` is None for a member of the shop who has no
    account here.
    """

    user_id: int | None
    by: str
    email: str | None = None
    name: str | None = None
    coupon_id: int | None = None
    title: str | None = None
    number: int | None = None


class Search(NamedTuple):
    """What was found, MOST_FOUND at most, and whether the lines in Redis could be asked."""

    found: list[Found]
    whole: bool = True
    more: bool = False


def find(typed: str) -> Search:
    """Return everybody who fits a text: exactly in address, member key, code or number, or in how a name begins.

    Invented people of rehearsals are left out by name. Raises SQLAlchemyError.
    """
    text = one_line(unicodedata.normalize("NFC", typed[:MOST_TYPED]))
    if not text:
        return Search([])
    number, whole = NUMBER.fullmatch(text.replace(",", "")), True
    with db.engine.connect() as connection:
        found = [*_by_code(connection, text), *_by_member_key(connection, text), *_by_words(connection, text)]
        if number:
            titles = newest_coupons(connection)
            in_lines, whole = _by_number_in_lines(connection, titles, int(number[1]))
            found += [*_by_number(connection, titles, int(number[1])), *in_lines]
    unique = list(dict.fromkeys(found))
    return Search(unique[:MOST_FOUND], whole, more=len(unique) > MOST_FOUND)


def newest_coupons(connection: Connection) -> dict[int, str]:
    """Return the titles of the newest coupons that were published, by id, the newest first."""
    newest = select(Coupon.id, Coupon.title).where(Coupon.status != DRAFT).order_by(Coupon.id.desc())
    return {row.id: row.title for row in connection.execute(newest.limit(LINES))}


def _by_words(connection: Connection, text: str) -> Iterator[Found]:
    """Look for an address, or for the beginning of an address or of a name, in any case."""
    email = normalised_email(text)
    if "@" in email:
        ways = [select(User.id).where(User.email == email)]
    else:
        spellings = dict.fromkeys((text, text.lower(), text.upper(), text.title()))
        names = [_beginning(User.name, spelling, User.rehearsal.is_(False)) for spelling in spellings]
        ways = [_beginning(User.email, email), *names]
    fitting = union(*ways).subquery()
    query = select(User.id, User.email, User.name).join(fitting, fitting.c.id == User.id)
    for user_id, address, name in connection.execute(query.order_by(User.id.desc()).limit(MOST_FOUND + 1)):
        yield Found(user_id, "email" if address.startswith(email) else "name", address, name)


def _beginning(column: InstrumentedAttribute[str], text: str, *also: ColumnElement[bool]) -> Select[int]:
    """Select the first accounts in which a column begins so.

    A range uses the index on every database, and knows no wildcards; in its order a query ends after the first ones,
    however many thousands there are.
    """
    fits = and_(column >= text, column < text + LAST_CHARACTER, *also)
    first = select(User.id).where(fits).order_by(column).limit(MOST_FOUND + 1).subquery()
    return select(first.c.id)


def _by_member_key(connection: Connection, text: str) -> Iterator[Found]:
    key = select(Member.email, User.id, User.name).outerjoin(User, User.email == Member.email)
    if len(text) <= KEY_LENGTH:
        for email, user_id, name in connection.execute(key.where(Member.member_key == text)):
            yield Found(user_id, "member_key", email, name)


def _by_code(connection: Connection, text: str) -> Iterator[Found]:
    """Look for the code that is meant likeliest, as the till does."""
    for codes in meant_by(text):
        tables = (CouponIssue, Revocation)
        found = [
            each for table in tables for each in _decided(connection, "code", table, table.code.in_(codes))
        ]
        if found:
            yield from found
            return


def _by_number(connection: Connection, coupon_ids: Collection[int], number: int) -> Iterator[Found]:
    for table in (CouponIssue, Revocation, LineEvent):
        of = and_(table.coupon_id.in_(coupon_ids), table.ticket_number == number)
        yield from _decided(connection, "number", table, of)


def _decided(
    connection: Connection,
    by: str,
    table: type[CouponIssue | Revocation | LineEvent],
    of: ColumnElement[bool],
) -> Iterator[Found]:
    """Look among the decisions of a table, whether or not their accounts exist."""
    query = (
        select(table.user_id, User.email, User.name, Coupon.id, Coupon.title, table.ticket_number)
        .join_from(table, Coupon, Coupon.id == table.coupon_id)
        .outerjoin(User, User.id == table.user_id)
        .where(of, table.user_id.is_not(None))
        .order_by(Coupon.id.desc())
        .limit(MOST_FOUND + 1)
    )
    for user_id, email, name, coupon_id, title, number in connection.execute(query):
        yield Found(user_id, by, email, name, coupon_id, title, number)


def _by_number_in_lines(
    connection: Connection, titles: Mapping[int, str], number: int
) -> tuple[list[Found], bool]:
    """Look for who waits with the number, or stands in standby, and say whether Redis answered."""
    try:
        places = holders_of(line_redis(), titles, number)
    except redis.RedisError as error:
        swallow("lines not searched", error, "the page says so")
        return [], False
    accounts = {user.id: user for user in _accounts(connection, [user_id for _, user_id in places])}
    found = [
        Found(user_id, "number", *_names(accounts.get(user_id)), coupon_id, titles[coupon_id], number)
        for coupon_id, user_id in places
    ]
    return found, True


def _accounts(connection: Connection, ids: Sequence[int]) -> list[Row[Any]]:
    accounts = select(User.id, User.email, User.name).where(User.id.in_(ids))
    return [*connection.execute(accounts)]


def _names(user: Row[Any] | None) -> tuple[str | None, str | None]:
    return (user.email, user.name) if user else (None, None)
