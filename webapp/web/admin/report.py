"""The page that tells how a sale went, to be read and to be printed."""

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from babel.dates import format_date, format_timedelta
from flask import redirect, render_template, url_for
from flask_babel import get_locale, gettext
from flask_babel import lazy_gettext as _
from werkzeug.wrappers import Response

from webapp.accounts.names import names_of
from webapp.sale import report as reports
from webapp.sale.figures import Figures, bars_for
from webapp.sale.history import paces, whole_sale
from webapp.sale.reasons import REASONS
from webapp.values.moments import SEOUL
from webapp.web.admin.coupons import COUPON, asked_coupon
from webapp.web.admin.guard import bp
from webapp.web.admin.log import WORDS, changes

PAGE = f"{COUPON}/report"
MOST_DAYS = 92
"""Days in a row that the chart of uses shows; of a longer time it shows the days with uses alone."""
EPOCHS = {
    "Redis lost the line": _("The line lost its data, and began anew. Receipts gave the places back."),
    "the gate did not fit SQL or a receipt": _("The line did not fit the records, and began anew."),
    "Redis started again, or an epoch was begun and not opened": _(
        "The line's Redis started again, and the line went on."
    ),
}
"""What happened to a line, by the reason that `line_events` keeps."""


class Bar(NamedTuple):
    """A bar of a chart: what stands below it, and how high it is."""

    name: str
    height: int


@bp.get(PAGE)
def report(coupon_id: int) -> str:
    asked_coupon(coupon_id)
    found = reports.report_of(coupon_id)
    came, came_width_s = came_bars(coupon_id)
    return render_template(
        "admin/report.html",
        coupon=found.coupon,
        report=found,
        issued=issued_bars(found.figures) if found.figures else [],
        came=came,
        came_width_s=came_width_s,
        used=used_bars(found.figures) if found.figures else [],
        reasons=REASONS,
        happened=EPOCHS | WORDS,
        names=names_of(each.entry.actor_id for each in found.incidents if each.entry),
        changes=changes,
        lasting=lasting,
        unit=unit,
        instant=reports.instant,
    )


@bp.post(PAGE)
def count_report(coupon_id: int) -> Response:
    """Have the report counted and audited; a second click finds it asked for."""
    asked_coupon(coupon_id)
    reports.want(coupon_id)
    return redirect(url_for("admin.report", coupon_id=coupon_id), 303)


def issued_bars(figures: Figures) -> list[Bar]:
    """Return when the coupons were issued: each bar is named by the time at which it begins."""
    return _by_time(figures.begins_at, figures.width_s, figures.bars)


def came_bars(coupon_id: int) -> tuple[list[Bar], int]:
    """Return when people came, by the history of the live board, and how many seconds a bar is; none without one."""
    samples = whole_sale(coupon_id)
    if len(samples) < 2 or samples[0].came == samples[-1].came:
        return [], 0
    first, last = (int(sample.at.timestamp()) for sample in (samples[0], samples[-1]))
    begins_at, width_s = bars_for(first, last)
    parts = (last - begins_at) // width_s + 1
    since, until = (datetime.fromtimestamp(at, UTC) for at in (begins_at, begins_at + parts * width_s))
    came = [round(pace.claims * width_s) for pace in paces(samples, since, until, parts)]
    return _by_time(begins_at, width_s, came), width_s


def _by_time(begins_at: int, width_s: int, counts: list[int]) -> list[Bar]:
    shown = "%H:%M:%S" if width_s * len(counts) < 24 * 3600 else "%m-%d %H:%M"
    begins = (begins_at + number * width_s for number in range(len(counts)))
    names = (f"{datetime.fromtimestamp(second, UTC).astimezone(SEOUL):{shown}}" for second in begins)
    return [Bar(*each) for each in zip(names, counts, strict=True)]


def used_bars(figures: Figures) -> list[Bar]:
    """Return how many were used on each day, also on those between without any."""
    days = {date.fromisoformat(day): count for day, count in figures.days.items()}
    if not days:
        return []
    first, span = min(days), (max(days) - min(days)).days + 1
    shown = [first + timedelta(days=number) for number in range(span)] if span <= MOST_DAYS else sorted(days)
    return [Bar(_day(day), days.get(day, 0)) for day in shown]


def _day(day: date) -> str:
    pattern = {"ko": "M월 d일 (E)", "en": "MMM d (E)"}[str(get_locale())]
    return str(format_date(day, pattern, locale=get_locale()))


def unit(seconds: int) -> str:
    """Return the width of a bar in words, such as 5 minutes."""
    return str(format_timedelta(timedelta(seconds=seconds), threshold=1, locale=get_locale()))


def lasting(seconds: float) -> str:
    """Return a span of time in words, to the tenth of a second below an hour."""
    if seconds < 60:
        return str(gettext("%(seconds)s s", seconds=f"{seconds:.1f}"))
    if seconds < 3600:
        minutes, rest = divmod(seconds, 60)
        return str(gettext("%(minutes)s min %(seconds)s s", minutes=int(minutes), seconds=f"{rest:.1f}"))
    hours, rest = divmod(int(seconds), 3600)
    return str(gettext("%(hours)s h %(minutes)s min", hours=f"{hours:,}", minutes=rest // 60))
