"""Values as pages show them, in the visitor's language, and the state of the page that a visitor sees."""

import hashlib
import re
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import segno
from babel.dates import format_datetime
from flask import Flask, has_request_context, request
from flask_babel import Babel, get_locale
from flask_babel import gettext as _
from flask_login import current_user
from markupsafe import Markup
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from webapp.line.results import REVOKED
from webapp.models import AMOUNT, GIFT, PERCENT, Coupon
from webapp.sale.benefit import Worth
from webapp.sale.outcomes import LineStatus, Ticket, is_revoked
from webapp.values.markdown import as_html, as_text
from webapp.values.moments import SEOUL
from webapp.values.pictures import size_in
from webapp.web.barcodes import code128
from webapp.web.page_scripts import served_script
from webapp.web.pause_words import pause_words
from webapp.web.security import cookie_name

babel = Babel()

LANGUAGES = {"ko": "한국어", "en": "English"}
"""Each language by its own name; the first is for whoever prefers none of them."""
KOREAN = next(iter(LANGUAGES))
MOST_ACCEPTED = 256
"""Headers that a process remembers to have read; the browsers of a crowd send a few dozen."""
PATTERNS = {"ko": "M월 d일 (E) HH:mm", "en": "MMM d (E), HH:mm"}
YEAR_PATTERNS = {"ko": "y년 M월 d일 (E) HH:mm", "en": "MMM d, y (E), HH:mm"}
HREF = re.compile(r' href="[^"]*"')
EXACT_PATTERNS = {"ko": "y년 M월 d일 (E) HH:mm:ss.S", "en": "MMM d, y (E), HH:mm:ss.S"}


def init_app(app: Flask) -> None:
    app.jinja_env.filters.update(unlinked=unlinked, markdown=markdown, plain=as_text, picture_size=size_in)
    app.jinja_env.filters.update(
        titled=titled,
        gives=gives,
        won=won,
        when=when,
        exact=exact,
        moment=moment,
        thousands=thousands,
        live=live,
        pause_words=pause_words,
    )
    app.jinja_env.filters.update(
        qr=qr, barcode=barcode, revoked_for=lambda reason: reason.removeprefix(REVOKED)
    )
    app.jinja_env.tests["revoked"] = is_revoked
    app.jinja_env.globals.update(page_state=page_state, missed_words=missed_words, time_left=time_left)
    app.context_processor(
        lambda: {
            "language": str(get_locale()),
            "languages": LANGUAGES,
            "signed_in": current_user.is_authenticated,
        }
    )
    app.url_defaults(lambda endpoint, values: _add_version(app, endpoint, values))


def locale() -> str:
    """Return the language of this visitor: the chosen one, else the browser's, else Korean."""
    if not has_request_context():
        return KOREAN
    chosen = request.cookies.get(cookie_name("lang", secure=request.is_secure))
    return language_for(chosen, request.headers.get("Accept-Language"))


def language_for(chosen: str | None, accepted: str | None) -> str:
    """Return the language for the value of the cookie and of Accept-Language; the fast path asks too."""
    return chosen if chosen in LANGUAGES else _accepted_language(accepted or "")


@lru_cache(MOST_ACCEPTED)
def _accepted_language(header: str) -> str:
    return parse_accept_header(header, LanguageAccept).best_match(LANGUAGES) or KOREAN


def markdown(text: str) -> Markup:
    """Return the HTML of an operator's text, in which only what `webapp.values.markdown` lists is left."""
    return Markup(as_html(text))


def unlinked(html: Markup) -> Markup:
    """Return HTML of ours whose links lead nowhere: what looks like the page, and is none."""
    return Markup(HREF.sub("", html))


def titled(coupon: Coupon | Worth) -> str:
    """Return the title in the visitor's language, or the one that there is."""
    return (coupon.title_en if str(get_locale()) == "en" else "") or coupon.title


def gives(coupon: Coupon | Worth) -> str:
    """Return in the visitor's language what the coupon gives, or "" when it names no benefit."""
    if coupon.benefit == AMOUNT:
        return str(_("%(amount)s off", amount=won(coupon.discount_amount))) if coupon.discount_amount else ""
    if coupon.benefit == PERCENT:
        return _percentage(coupon.discount_percent, coupon.discount_cap)
    words = (coupon.benefit_words_en if str(get_locale()) == "en" else "") or coupon.benefit_words
    return str(_("Gift: %(what)s", what=words)) if coupon.benefit == GIFT else words


def _percentage(percent: int, cap: int | None) -> str:
    if cap is None:
        return str(_("%(percent)s%% off", percent=percent))
    return str(_("%(percent)s%% off, up to %(cap)s", percent=percent, cap=won(cap)))


def won(amount: int) -> str:
    return str(_("₩%(amount)s", amount=thousands(amount)))


def thousands(number: int) -> str:
    return f"{number:,}"


def qr(text: str) -> Markup:
    """Return a QR code as an SVG element that fills its place; it is on white in the dark theme too, for scanners."""
    drawn = segno.make(text, error="m", micro=False)
    return Markup(drawn.svg_inline(border=4, omitsize=True, dark="#000", light="#fff"))


def barcode(text: str) -> Markup:
    """Return a Code 128 as an SVG element that fills its place; it is on white in the dark theme too, for scanners."""
    bars, width = code128(text)
    drawn = "".join(f"M{at} 0h{wide}v1h-{wide}z" for at, wide in bars)
    white = f'<path fill="#fff" d="M0 0h{width}v1H0z"/>'
    svg = f'<svg viewBox="0 0 {width} 1" preserveAspectRatio="none">{white}<path d="{drawn}"/></svg>'
    return Markup(svg)


def missed_words(ticket: Ticket, last_issued: int | None, *, standby: bool = False) -> str:
    """Return in words how narrowly a user in standby missed a coupon, or their place where `standby` is offered.

    The people before them count. A difference of numbers says nothing, because numbers leap in a new epoch.
    """
    if standby and ticket.missed_by is not None:
        return str(_("You are number %(place)s in standby", place=thousands(ticket.missed_by)))
    if last_issued is None:
        return str(_("All coupons are gone"))
    # A restored ticket can have a lower number than a coupon that was issued while it was lost.
    if ticket.number is not None and ticket.number < last_issued:
        return str(_("All coupons were gone when your place was found again"))
    if ticket.missed_by is None or ticket.missed_by == 1:
        return str(_("It ran out just before you"))
    return str(_("It ran out %(places)s places before yours", places=thousands(ticket.missed_by)))


def live(text: str, field: str) -> Markup:
    """Return a value with a mark, by which the page's script finds it and keeps it fresh."""
    return Markup('<b data-field="{}">{}</b>').format(field, text)


def when(moment: datetime) -> Markup:
    """Return date and time in Korea, with the year if it is not the present one.

    If the visitor's clock is not Korea's, the page's script names the zone and adds the visitor's own time.
    """
    this_year = datetime.now(SEOUL).year
    patterns = PATTERNS if moment.astimezone(SEOUL).year == this_year else YEAR_PATTERNS
    return Markup('<time datetime="{}" data-zone="KST">{}</time>').format(*_korean_time(moment, patterns))


def exact(moment: datetime) -> Markup:
    """Return the time to the tenth of a second, rounded down, with its zone. Receipts show it."""
    return Markup('<time datetime="{}">{}</time>').format(_tenth(moment).isoformat(), exact_text(moment))


def exact_text(moment: datetime) -> str:
    return f"{_korean_time(_tenth(moment), EXACT_PATTERNS)[1]} KST"


def _tenth(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 100_000 * 100_000)


def time_left(seconds: int) -> str:
    """Return the time that is left, with the days in front if there are any, as static/claim.js shows it."""
    days, rest = divmod(max(0, seconds), 24 * 3600)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    words = _("{n} day") if days == 1 else _("{n} days")
    return f"{words.replace('{n}', str(days))} {clock}" if days else clock


def moment(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)


def page_state(signed_in: bool, ticket: Ticket | None, serving: LineStatus, *, excluded: bool = False) -> str:
    """Return the name of the partial in `templates/coupons/` for this visitor.

    A visitor who has a result or a ticket sees that, whatever the coupon does meanwhile. `excluded`: the coupon is for
    others, and so are its places in standby. Before the start nobody is told so: that page is the same for all who are
    signed in.
    """
    own = {"issued": "issued", "waiting": "waiting", "sold_out": "standby", "rejected": "rejected"}
    if ticket is not None and ticket.state in own:
        return own[ticket.state]
    if excluded and (serving.state in ("open", "paused") or serving.takes_late_comers):
        return "excluded"
    # Nobody has to sign in to read that it is over.
    if serving.state in ("closed", "sold_out"):
        return {"closed": "ended", "sold_out": "sold_out"}[serving.state]
    return serving.state if signed_in else "anonymous"


def _korean_time(moment: datetime, patterns: dict[str, str]) -> tuple[str, str]:
    language = str(get_locale())
    return moment.isoformat(), format_datetime(moment.astimezone(SEOUL), patterns[language], locale=language)


def _add_version(app: Flask, endpoint: str, values: dict[str, Any]) -> None:
    if endpoint == "static" and "filename" in values:
        values["v"] = _version(app.static_folder or "", values["filename"])


@cache
def _version(folder: str, filename: str) -> str | None:
    """Return a short hash of the served bytes, so that browsers fetch the file of a new release."""
    path = Path(folder) / filename
    served = served_script(filename) or (path.read_bytes() if path.is_file() else None)
    return hashlib.sha256(served).hexdigest()[:10] if served else None
