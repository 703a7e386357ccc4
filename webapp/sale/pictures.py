"""The picture of a coupon, in SQL, so that every web host can serve it."""

from datetime import timedelta
from functools import lru_cache

from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError

from webapp.log import record
from webapp.models import Coupon, Picture, utcnow
from webapp.sale.benefit import Message
from webapp.sale.coupons import InvalidField, refuse_archived
from webapp.sale.locking import locked_coupon
from webapp.stores.native import natively
from webapp.stores.sql import db
from webapp.values.pictures import LEAST_SIDE, MOST_BYTES, MOST_PIXELS, Drawn, NoPicture, draw

KEPT_UNUSED = timedelta(days=1)
"""So long a picture that no coupon shows any more is served to pages that were opened before."""
MOST_KEPT = 16
"""Pictures that a process keeps, of one size each: 5 MB at most."""
SIZES = ("small", "large")
MB = 1024 * 1024
WHY_NOT = {
    "empty": _("Choose a file."),
    "heavy": _("This file is too large. %(most)s MB are possible.", most=MOST_BYTES // MB),
    "svg": _("An SVG is a drawing that can hold programs. Save it as PNG, and upload that."),
    "heic": _("HEIC and AVIF do not show everywhere. Save the picture as JPEG, and upload that."),
    "kind": _("This is no picture that can be shown. JPEG, PNG and WebP are possible."),
    "changed": _(
        "Another operator has changed the picture meanwhile. If yours is to stand here, send it once more."
    ),
    "broken": _("This picture is damaged or cut off. Save it anew, and upload it once more."),
}


def set_picture(
    coupon_id: int, data: bytes | None, *, by: int | None, shown: str | None = None
) -> str | None:
    """Give the coupon the picture of a file, or none for None, and return the picture's name.

    `by` is the operator, None for a command; `shown` the picture's name, "" for none, as the operator saw it. A repeat
    changes nothing. Raises LookupError for an unknown coupon, SQLAlchemyError, and InvalidField, in words for people,
    for a file that is no picture, a coupon in the archive, and a picture that somebody else has put there since:
    nothing is changed then.
    """
    drawn = None if data is None else _drawn(data)
    with locked_coupon(coupon_id) as lock:
        if lock.coupon is None:
            raise LookupError(coupon_id)
        refuse_archived(lock.coupon)
        name = drawn.name if drawn else None
        if shown is not None and lock.coupon.picture not in (shown or None, name):
            raise InvalidField("picture", WHY_NOT["changed"])
        if drawn:
            _keep(lock.connection, drawn)
        lock.connection.execute(update(Coupon).where(Coupon.id == coupon_id).values(picture=name))
        _forget_unused(lock.connection)
        if name != lock.coupon.picture:
            facts = {"before": {"picture": lock.coupon.picture}, "after": {"picture": name}}
            record(lock.connection, "set picture", by=by, coupon=coupon_id, **facts)
        lock.commit()
    return name


@lru_cache(MOST_KEPT)
def jpeg(name: str, size: str) -> bytes:
    """Return the JPEG of a picture in that size; a repeat is looked up. Raises LookupError, SQLAlchemyError."""
    with db.engine.connect() as connection:
        found = connection.scalar(select(getattr(Picture, size)).where(Picture.name == name))
    if found is None:
        raise LookupError(name)
    return bytes(found)


def _drawn(data: bytes) -> Drawn:
    try:
        return natively(draw, data)
    except NoPicture as error:
        raise InvalidField("picture", _why_not(error)) from error


def _why_not(error: NoPicture) -> Message:
    width, height = error.size
    if error.why == "pixels":
        return _(
            "This picture is too large: %(width)s × %(height)s. %(most)s million pixels are possible.",
            width=width,
            height=height,
            most=MOST_PIXELS // 1_000_000,
        )
    if error.why == "tiny":
        return _(
            "This picture is too small: %(width)s × %(height)s. Each side needs %(least)s pixels.",
            width=width,
            height=height,
            least=LEAST_SIDE,
        )
    return WHY_NOT[error.why]


def _keep(connection: Connection, drawn: Drawn) -> None:
    """Write the picture, unless it stands: then it is as young as a new one, so that nobody forgets it now."""
    young = update(Picture).where(Picture.name == drawn.name).values(created_at=utcnow())
    if connection.execute(young).rowcount:
        return
    try:
        connection.execute(insert(Picture).values(**drawn._asdict()))
    except IntegrityError:
        connection.execute(young)  # somebody has written the same picture in this moment


def _forget_unused(connection: Connection) -> None:
    shown = exists().where(Coupon.picture == Picture.name)
    connection.execute(delete(Picture).where(Picture.created_at < utcnow() - KEPT_UNUSED, ~shown))
