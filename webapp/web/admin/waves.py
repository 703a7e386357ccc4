"""The page on which operators make the waves of a campaign, and see them as one."""

from datetime import datetime, timedelta

from flask import flash, redirect, render_template, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import BooleanField, HiddenField
from wtforms.validators import InputRequired, NumberRange

from webapp.models import DRAFT
from webapp.sale.coupons import InvalidField
from webapp.sale.waves import MOST_WAVES, make_waves, told, waves_of
from webapp.values.amounts import MOST
from webapp.web.admin.coupons import COUPON, asked_coupon, blame, operator_id
from webapp.web.admin.forms import KoreanTime, WholeNumber
from webapp.web.admin.guard import bp

MOST_DAYS = 31


class WavesForm(FlaskForm):  # type: ignore[misc]
    """So many waves of so many coupons, some days apart, from a first time on."""

    seen = HiddenField()
    times = KoreanTime(_("The first wave opens at"), validators=[InputRequired(_("Give a date and time."))])
    count = WholeNumber(
        _("How many waves"),
        description=_("1 makes it a coupon without waves again."),
        validators=[NumberRange(1, MOST_WAVES, _("Give 1 to %(most)s waves.", most=MOST_WAVES))],
    )
    days = WholeNumber(
        _("How many days apart"),
        default=1,
        validators=[NumberRange(1, MOST_DAYS, _("Give a number from 1 to %(most)s.", most=MOST_DAYS))],
    )
    quota = WholeNumber(
        _("Quota of each wave"),
        validators=[NumberRange(1, MOST, _("Give a whole number from 1 to %(most)s.", most=f"{MOST:,}"))],
    )
    one_each = BooleanField(_("One for each person over all waves"), default=True)
    rolls_over = BooleanField(_("What is left of a wave goes to the next one"))

    def openings(self) -> list[datetime]:
        first, days, count = self.times.data, self.days.data, self.count.data
        if first is None or days is None or count is None:
            return []  # the validators have refused it
        return [first + timedelta(days=at * days) for at in range(count)]


@bp.route(f"{COUPON}/waves", methods=["GET", "POST"])
def waves(coupon_id: int) -> Response | tuple[str, int]:
    """Show the waves; while all are drafts, make them. A second click finds the same waves."""
    coupon = asked_coupon(coupon_id)
    rows = waves_of(coupon)
    first = rows[0]
    form = WavesForm(
        times=first.issue_start_at,
        count=len(rows) if len(rows) > 1 else None,
        days=(rows[1].issue_start_at - first.issue_start_at).days or 1 if len(rows) > 1 else 1,
        quota=first.total_quantity,
        one_each=len(rows) == 1 or first.one_per_campaign,
        rolls_over=first.rolls_over,
    )
    if form.validate_on_submit():
        try:
            _make(coupon_id, form)
            flash(gettext("Saved."))
            return redirect(url_for("admin.waves", coupon_id=first.id), 303)
        except InvalidField as error:
            blame(form, error)
    form.seen.data = told(rows)
    can_change = all(row.status == DRAFT and row.archived_at is None for row in rows)
    page = render_template("admin/waves.html", coupon=coupon, form=form, rows=rows, can_change=can_change)
    return page, 422 if form.is_submitted() else 200


def _make(coupon_id: int, form: WavesForm) -> None:
    make_waves(
        coupon_id,
        form.openings(),
        quota=form.quota.data or 0,
        one_each=form.one_each.data,
        rolls_over=form.rolls_over.data,
        by=operator_id(),
        seen=form.seen.data or "",
    )
