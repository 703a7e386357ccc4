"""The page from which operators download files for Excel."""

import logging
import re
from collections.abc import Iterator
from urllib.parse import quote

import redis
from flask import Response, flash, redirect, render_template, url_for
from flask_babel import gettext
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Response as WerkzeugResponse

from webapp.models import Coupon, utcnow
from webapp.sale.exports import EXPORTS, NAMES, NotLogged, export
from webapp.sale.outcomes import Refused
from webapp.stores.swallowed import swallow
from webapp.values.moments import SEOUL
from webapp.web.admin import log
from webapp.web.admin.coupons import COUPON, asked_coupon, operator_id
from webapp.web.admin.guard import bp
from webapp.web.presenting import titled

logger = logging.getLogger(__name__)

PAGE = f"{COUPON}/export"
WORDS = {f"verb {verb}": said for verb, said in log.WORDS.items()}
WORDS |= {f"field {field}": said for field, said in log.FIELDS.items()}
TITLE_LENGTH = 40
"""The most characters of a title in a file's name: some systems take 255 bytes in all."""
NOT_IN_NAMES = re.compile(r'[\\/:*?"<>|\x00-\x1f]+')
"""What Windows takes in no file's name."""
SENT_AS_THEY_ARE = "!#$&+-.^_`|~"
"""The signs of `attr-char` in RFC 5987."""


class BrokenOff(Exception):
    """A file could not be read to its end. The server closes the connection, and the browser says that it failed."""


@bp.get(PAGE)
def exports(coupon_id: int) -> str:
    return render_template("admin/export.html", coupon=asked_coupon(coupon_id), names=NAMES)


@bp.get(f"{PAGE}/<any({', '.join(EXPORTS)}):what>.csv")
def export_file(coupon_id: int, what: str) -> WerkzeugResponse:
    """Answer with a file that is written while it is sent. What fails before its first rows is told on the page."""
    coupon = asked_coupon(coupon_id)
    try:
        pieces = export(coupon_id, what, WORDS, by=operator_id())
        first = next(pieces)
    except NotLogged as error:
        swallow("export not logged", error, "there is no file, and the page says so", coupon_id=coupon_id)
        flash(gettext("The log cannot be written now, and no file leaves without it. Try again in a moment."))
        return redirect(url_for("admin.exports", coupon_id=coupon_id), 303)
    except (redis.RedisError, Refused) as error:
        swallow("export not begun", error, "the page says so", coupon_id=coupon_id)
        flash(
            gettext(
                "The line's Redis does not answer, so this file would not be whole. Try again in a moment."
            )
        )
        return redirect(url_for("admin.exports", coupon_id=coupon_id), 303)
    headers = {"Content-Disposition": _attachment(coupon, what), "Cache-Control": "no-store"}
    body = _sent(first, pieces, coupon_id)
    return Response(body, content_type="text/csv; charset=utf-8", headers=headers)


def _sent(first: str, rest: Iterator[str], coupon_id: int) -> Iterator[str]:
    """Yield the whole file, or raise BrokenOff. It ends when the browser goes away."""
    yield first
    try:
        yield from rest
    except (redis.RedisError, Refused, SQLAlchemyError) as error:
        logger.warning("export of coupon %s broken off: %s", coupon_id, type(error).__name__)
        raise BrokenOff from None


def _attachment(coupon: Coupon, what: str) -> str:
    """Return a Content-Disposition (RFC 6266) whose name says what it is, of which coupon, and when it was made."""
    made_at = f"{utcnow().astimezone(SEOUL):%Y-%m-%d %H%M}"
    title = NOT_IN_NAMES.sub(" ", titled(coupon)[:TITLE_LENGTH])
    name = f"{NAMES[what]} {' '.join(title.split())} {made_at}.csv"
    return (
        f"attachment; filename=\"{what}-{coupon.id}.csv\"; filename*=UTF-8''{quote(name, SENT_AS_THEY_ARE)}"
    )
