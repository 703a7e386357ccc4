"""Addresses of pages, and the ids in them."""

import re

from flask import Flask, url_for
from werkzeug.routing import BaseConverter, ValidationError

MOST_ID = 2**63 - 1
"""The greatest id that a column of SQL holds: a database fails for a greater one, instead of finding nothing."""
ID = "[1-9][0-9]{0,18}"
COUPON = "<id:coupon_id>"


def init_app(app: Flask) -> None:
    app.url_map.converters["id"] = IdConverter


def read_id(text: str) -> int:
    """Return the id of a row, as an address or a form names it. Raises ValueError for what can be none."""
    if not re.fullmatch(ID, text) or int(text) > MOST_ID:
        raise ValueError("no id")
    return int(text)


class IdConverter(BaseConverter):
    """The part of an address that names a row, such as `<id:coupon_id>`."""

    regex = ID

    def to_python(self, value: str) -> int:
        try:
            return read_id(value)
        except ValueError:
            raise ValidationError from None


def safe_next(target: str | None, otherwise: str | None = None) -> str:
    """Return the address to go on to: `target` if it is a path of this site, else `otherwise`, the list of coupons."""
    target = target or ""
    # Browsers read a backslash as a slash and skip control characters, and two slashes begin another host.
    if target.startswith("/") and target.isprintable() and not target.replace("\\", "/").startswith("//"):
        return target
    return otherwise or url_for("coupons.index")
