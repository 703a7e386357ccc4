"""What a coupon's page says in each language: title, description, terms, where to use it, whom to ask.

An empty text is shown in the other language, so that nobody reads nothing. Titles stand in `coupons`, because lists
show them; the other texts stand in `coupon_texts`.
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, insert, select, update

from webapp.log import record
from webapp.models import PLACE_LENGTH, TITLE_LENGTH, Coupon, CouponRow, CouponText
from webapp.sale.benefit import Message
from webapp.sale.coupons import InvalidField, refuse_archived
from webapp.sale.locking import CouponLock, locked_coupon
from webapp.stores.sql import db
from webapp.values.markdown import as_html
from webapp.values.texts import many_lines, one_line

TITLES = {"ko": "title", "en": "title_en"}
"""The column of `coupons` that holds the title in each language."""
LANGUAGES = tuple(TITLES)
MARKDOWN = ("description", "terms")
ONE_LINE = ("place", "contact")
FIELDS = ("title", *MARKDOWN, *ONE_LINE)
LENGTHS = {"title": TITLE_LENGTH, **dict.fromkeys(MARKDOWN, 5000), **dict.fromkeys(ONE_LINE, PLACE_LENGTH)}
"""The most characters of each text."""
MOST_WEIGHT = 6000
"""The most bytes of description and terms as a page carries them, with gzip: a page of 10 KB has room for them."""


class Said(NamedTuple):
    """A text as a page shows it, and the language that it is in."""

    text: str
    language: str


@dataclass(frozen=True)
class Content:
    """What the page says in one language; "" where nothing was written in it."""

    title: str = ""
    description: str = ""
    terms: str = ""
    place: str = ""
    contact: str = ""


class ChangedMeanwhile(InvalidField):
    """Somebody else has changed the field since the page was opened; `now` is what stands there."""

    def __init__(self, field: str, now: str) -> None:
        super().__init__(
            field, _("Somebody has changed this meanwhile. Save once more to put yours in its place.")
        )
        self.now = now


def content_of(coupon: Coupon | CouponRow) -> dict[str, Content]:
    """Return what was written, by language. Raises SQLAlchemyError."""
    with db.engine.connect() as connection:
        return _read(connection, coupon)


def said_in(language: str, written: Mapping[str, Content]) -> dict[str, Said]:
    """Return what a page in that language says, by field: its own text, or else the other language's."""
    order = sorted(LANGUAGES, key=lambda each: each != language)
    return {name: _first(name, order, written) for name in FIELDS}


def mark_of(text: str) -> str:
    """Return a short digest, by which `set_content` knows what a page has shown."""
    return sha256(text.encode()).hexdigest()[:16]


def set_content(
    coupon_id: int,
    language: str,
    texts: Mapping[str, str],
    *,
    by: int | None,
    shown: Mapping[str, str] | None = None,
) -> None:
    """Write texts of one language under the coupon's lock, and commit; a repeat changes nothing.

    Texts: those of FIELDS; what is left out stays. `by` is the operator, None for a command. `shown` holds the marks of
    what the operator saw: what they left as it was stays as it is now, and a text of theirs that another operator has
    changed since raises ChangedMeanwhile. Raises LookupError for an unknown coupon, and InvalidField for a text that is
    too long, an empty Korean title, or a coupon in the archive: nothing is changed then.
    """
    clean = {name: _clean(name, text) for name, text in texts.items()}
    with locked_coupon(coupon_id) as lock:
        if lock.coupon is None:
            raise LookupError(coupon_id)
        refuse_archived(lock.coupon)
        written = _read(lock.connection, lock.coupon)
        now = vars(written[language])
        changed = _changed(clean, now, shown or {})
        _validate(changed, written | {language: Content(**now | changed)}, language)
        _write(lock, language, changed)
        if changed:
            before = {name: now[name] for name in changed}
            facts = {"before": {"language": language, **before}, "after": {"language": language, **changed}}
            record(lock.connection, "write texts", by=by, coupon=coupon_id, **facts)
        lock.commit()


def _read(connection: Connection, coupon: Coupon | CouponRow) -> dict[str, Content]:
    rows = connection.execute(select(CouponText).where(CouponText.coupon_id == coupon.id))
    texts = {row.language: {name: getattr(row, name) for name in FIELDS[1:]} for row in rows}
    return {
        language: Content(title=getattr(coupon, column), **texts.get(language, {}))
        for language, column in TITLES.items()
    }


def _first(name: str, order: list[str], written: Mapping[str, Content]) -> Said:
    said = [Said(getattr(written[language], name), language) for language in order]
    return next((each for each in said if each.text), said[0])


def _clean(name: str, text: str) -> str:
    # What is far too long is refused as it is: cleaning it would take its time.
    if len(text) > 4 * LENGTHS[name]:
        return text
    return many_lines(text) if name in MARKDOWN else one_line(text)


def _changed(texts: Mapping[str, str], now: Mapping[str, str], shown: Mapping[str, str]) -> dict[str, str]:
    """Return the texts that differ from what stands and from what was shown. Raises ChangedMeanwhile."""
    mine = {
        name: text for name, text in texts.items() if text != now[name] and mark_of(text) != shown.get(name)
    }
    _refuse_unseen(mine, now, shown)
    return mine


def _refuse_unseen(changed: Mapping[str, str], now: Mapping[str, str], shown: Mapping[str, str]) -> None:
    for name in changed:
        if name in shown and shown[name] != mark_of(now[name]):
            raise ChangedMeanwhile(name, now[name])


def _validate(changed: Mapping[str, str], then: Mapping[str, Content], language: str) -> None:
    for name, text in changed.items():
        if len(text) > LENGTHS[name]:
            raise InvalidField(name, _("Write %(most)s characters at most.", most=f"{LENGTHS[name]:,}"))
    if language == "ko" and changed.get("title") == "":
        raise InvalidField("title", _("Give a title of 1 to %(most)s characters.", most=TITLE_LENGTH))
    if blamed := max(changed.keys() & set(MARKDOWN), key=lambda name: len(changed[name]), default=None):
        weight = max(_weight(said_in(each, then)) for each in LANGUAGES)
        if weight > MOST_WEIGHT:
            raise InvalidField(blamed, _too_heavy(weight))


def _weight(said: Mapping[str, Said]) -> int:
    return len(gzip.compress("".join(as_html(said[name].text) for name in MARKDOWN).encode()))


def _too_heavy(weight: int) -> Message:
    more = -(-(weight - MOST_WEIGHT) * 100 // weight)
    return _(
        "Description and terms are too long for a page that a crowd loads: shorten them by %(more)s%%.",
        more=more,
    )


def _write(lock: CouponLock, language: str, changed: dict[str, str]) -> None:
    texts = {name: text for name, text in changed.items() if name != "title"}
    if "title" in changed:
        titled = update(Coupon).values({TITLES[language]: changed["title"]})
        lock.connection.execute(titled.where(Coupon.id == lock.coupon.id))
    if texts:
        key = {"coupon_id": lock.coupon.id, "language": language}
        stands = update(CouponText).filter_by(**key).values(**texts)
        if not lock.connection.execute(stands).rowcount:
            lock.connection.execute(insert(CouponText).values(**key, **texts))
