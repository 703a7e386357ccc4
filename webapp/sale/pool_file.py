"""The file that brings codes of a shop's own: one in a line, taken exactly as it stands there."""

import re
from collections.abc import Iterator
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, delete, insert, select, update

from webapp.models import CODE_LENGTH, CouponIssue, PoolCode, Revocation, Upload
from webapp.models.uploads import CHECKED, READING, WITHDRAWN
from webapp.sale import uploads
from webapp.sale.coupons import InvalidField
from webapp.sale.drawing import CODES
from webapp.sale.uploads import BATCH, DUPLICATE, Entry, Fault, Kind
from webapp.stores.sql import Base, db
from webapp.values.sheets import FORMULA, ROUNDED

SHORTEST = 4
CODE = re.compile(r"[!-~]+", re.ASCII)
NOT_IN_ONE = frozenset("\"'`,;")
"""Printable characters that a code cannot have: they separate the cells of a table, or quote them."""
LEADING_ZERO = "leading_zero"
"""The warning of a code of digits that begins with 0: once a table program has saved the file, the 0 is gone."""
IN_POOL, IN_OTHER, ISSUED = f"{DUPLICATE}_pool", f"{DUPLICATE}_other", f"{DUPLICATE}_issued"
"""Where a code stands already: in this coupon's pool, in another one's, or with somebody who holds or held it."""


def _read_code(cells: tuple[str, ...], line: int) -> Entry | Fault:
    code = cells[0]
    if wrong := what_is_wrong_with(code):
        return Fault(wrong, code)
    warning = LEADING_ZERO if code.isdecimal() and code.startswith("0") else ""
    return Entry({"line": line, "code": code}, code, warning)


def what_is_wrong_with(code: str) -> str:
    """Return why a text can be no code, as a kind of fault, or "" when it can."""
    if not code:
        return "empty"
    if ROUNDED.fullmatch(code):
        return "rounded"
    if not CODE.fullmatch(code) or NOT_IN_ONE & set(code):
        return "code_characters"
    if code.startswith(FORMULA):
        return "formula"
    if len(code) < SHORTEST:
        return "too_short"
    return "too_long" if len(code) > CODE_LENGTH else ""


def _keep(connection: Connection, table: type[Base], rows: list[dict[str, Any]]) -> dict[int, Fault]:
    """Insert the codes that no file has brought before, and return the others: whose they are decides the database."""
    ignoring = insert(table).prefix_with("IGNORE", dialect="mysql").prefix_with("IGNORE", dialect="mariadb")
    connection.execute(ignoring.prefix_with("OR IGNORE", dialect="sqlite"), rows)
    upload_id, lines = rows[0]["upload_id"], [row["line"] for row in rows]
    mine = (PoolCode.upload_id == upload_id, PoolCode.line.between(min(lines), max(lines)))
    kept = set(connection.scalars(select(PoolCode.line).where(*mine)))
    missing = {row["code"]: row["line"] for row in rows if row["line"] not in kept}
    return _owners_of(connection, upload_id, missing) if missing else {}


def _owners_of(connection: Connection, upload_id: int, missing: dict[str, int]) -> dict[int, Fault]:
    coupon_id = connection.scalar(select(Upload.coupon_id).where(Upload.id == upload_id))
    owners = select(PoolCode.code, Upload.coupon_id).join(Upload, Upload.id == PoolCode.upload_id)
    found = connection.execute(owners.where(PoolCode.code.in_(missing)))
    others = {code for code, owner in found if owner != coupon_id}
    return {line: Fault(IN_OTHER if code in others else IN_POOL, code) for code, line in missing.items()}


def _held_already(upload_id: int) -> Iterator[tuple[int, Fault]]:
    """Yield the codes that somebody holds or held, and take them out of the file."""
    for table in (CouponIssue, Revocation):
        held = select(PoolCode.line, PoolCode.code).join(table, table.code == PoolCode.code)
        with db.engine.begin() as connection:
            rows = connection.execute(held.where(PoolCode.upload_id == upload_id)).all()
            for start in range(0, len(rows), BATCH):
                lines = [row.line for row in rows[start : start + BATCH]]
                gone = (PoolCode.upload_id == upload_id, PoolCode.line.in_(lines))
                connection.execute(delete(PoolCode).where(*gone))
        yield from ((row.line, Fault(ISSUED, row.code)) for row in rows)


def _make_room(coupon_id: int | None) -> None:
    """Have a file that was only checked give way to a new one. Raises InvalidField while another one is read."""
    mine = (Upload.coupon_id == coupon_id, Upload.kind == CODES)
    with db.engine.begin() as connection:
        reading = connection.execute(select(Upload).where(*mine, Upload.state == READING)).all()
        if any(not uploads.has_broken_off(each) for each in reading):
            raise InvalidField(
                "file", _("A file of this coupon is being read. Wait until it is, and look at it.")
            )
        idle = Upload.state.in_((READING, CHECKED))
        connection.execute(update(Upload).where(*mine, idle).values(state=WITHDRAWN))


def forget_withdrawn() -> None:
    """Remove the codes of files that were withdrawn: they can be uploaded again then, for any coupon."""
    codes = select(PoolCode.line).where(PoolCode.upload_id == Upload.id).exists()
    withdrawn = (Upload.kind == CODES, Upload.state == WITHDRAWN, codes)
    with db.engine.connect() as connection:
        ids = connection.scalars(select(Upload.id).where(*withdrawn)).all()
    for upload_id in ids:
        uploads.remove_lines(upload_id)


POOL_FILE = uploads.register(
    Kind(
        CODES,
        {
            "code": (
                "code",
                "codes",
                "coupon",
                "couponcode",
                "serial",
                "pin",
                "코드",
                "쿠폰코드",
                "쿠폰번호",
                "쿠폰",
                "번호",
            )
        },
        PoolCode,
        _read_code,
        judge=_held_already,
        make_room=_make_room,
        clear=forget_withdrawn,
        keep=_keep,
        not_listed=frozenset({LEADING_ZERO}),
    )
)
