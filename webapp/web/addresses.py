"""Addresses of pages, and the pattern of a coupon's id in them."""

from flask import url_for


def safe_next(target: str | None, otherwise: str | None = None) -> str:
    """Return the address to go on to: `target` if it is a path of this site, else `otherwise`, the list of coupons."""
    target = target or ""
    # Browsers read a backslash as a slash and skip control characters, and two slashes begin another host.
    if target.startswith("/") and target.isprintable() and not target.replace("\\", "/").startswith("//"):
        return target
    return otherwise or url_for("coupons.index")


COUPON = "<int(min=1, max=9223372036854775807):coupon_id>"
