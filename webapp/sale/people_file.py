"""The file that names people: one e-mail address, or one member key of the shop, in a line."""

import re
import unicodedata

from webapp.models import ListedPerson
from webapp.models.uploads import KEY_LENGTH
from webapp.sale import uploads
from webapp.sale.audience import PEOPLE, users_in
from webapp.sale.uploads import Entry, Fault, Kind
from webapp.stores.sql import db
from webapp.values.emails import EMAIL_LENGTH, normalised_email
from webapp.values.sheets import ROUNDED
from webapp.values.texts import one_line

EMAIL = re.compile(r"[^@\s,;]+@[^@\s,;.]+(\.[^@\s,;.]+)+")


def identifier_of(text: str) -> str | Fault:
    """Return the one spelling of an address or of a member key, or what is wrong with it."""
    if not text:
        return Fault("empty", "")
    if "@" in text:
        email = normalised_email(text)
        return email if EMAIL.fullmatch(email) and len(email) <= EMAIL_LENGTH else Fault("not_email", text)
    return key_of(text)


def key_of(text: str) -> str | Fault:
    """Return a member key as it is kept, or what is wrong with it. Lower and upper case are two keys."""
    if ROUNDED.fullmatch(text):
        return Fault("rounded", text)
    key = unicodedata.normalize("NFC", text)
    if len(key) > KEY_LENGTH:
        return Fault("too_long", text)
    return key if key == one_line(key) and " " not in key and "@" not in key else Fault("characters", text)


def _read_person(cells: tuple[str, ...], _line: int) -> Entry | Fault:
    found = identifier_of(cells[0])
    return found if isinstance(found, Fault) else Entry({"identifier": found}, found)


def _count_known(upload_id: int) -> int:
    with db.engine.connect() as connection:
        return sum(len(some) for some in users_in(connection, upload_id))


PEOPLE_FILE = uploads.register(
    Kind(
        PEOPLE,
        {
            "identifier": (
                *("email", "emailaddress", "mail", "memberkey", "key", "member", "identifier", "memberid"),
                *("이메일", "이메일주소", "메일", "회원번호", "회원키", "회원id", "회원아이디", "아이디"),
            )
        },
        ListedPerson,
        _read_person,
        known=_count_known,
    )
)
