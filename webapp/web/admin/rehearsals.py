"""The page on which an operator has a campaign rehearsed, watches it, and reads the report."""

from flask import flash, redirect, render_template, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import BooleanField, HiddenField
from wtforms.validators import InputRequired

from webapp.models import Coupon
from webapp.sale import rehearsing
from webapp.sale.coupons import InvalidField
from webapp.sale.rehearsing import UnderWay
from webapp.sale.submissions import Sent, SentBefore, new_token
from webapp.web.admin.coupons import COUPON, asked_coupon, operator_id
from webapp.web.admin.forms import WholeNumber
from webapp.web.admin.guard import bp

REHEARSE = f"{COUPON}/rehearse"
REFRESH_S = 2


class RehearsalForm(FlaskForm):  # type: ignore[misc]
    people = WholeNumber(_("Invented people"), validators=[InputRequired(_("Give a number."))])
    seconds = WholeNumber(
        _("Click within so many seconds"),
        description=_("0: all at once."),
        validators=[InputRequired(_("Give a number."))],
    )
    although_near = BooleanField(_("Rehearse all the same"))
    once = HiddenField(default=new_token)

    def sent(self) -> Sent:
        return Sent.of(self.once.data, {"people": self.people.data, "seconds": self.seconds.data})


@bp.get(REHEARSE)
def rehearsal(coupon_id: int) -> str:
    coupon = asked_coupon(coupon_id)
    usual = {"people": rehearsing.usual_people(coupon), "seconds": 0}
    return _page(coupon, RehearsalForm(formdata=None, data=usual))


@bp.post(REHEARSE)
def rehearse(coupon_id: int) -> Response | tuple[str, int]:
    """Ask for a rehearsal. A second click is led to the first one's."""
    coupon, form, near = asked_coupon(coupon_id), RehearsalForm(), None
    if form.validate():
        try:
            rehearsing.ask(
                coupon_id,
                by=operator_id(),
                people=form.people.data,
                seconds=form.seconds.data or 0,
                although_near=form.although_near.data,
                sent=form.sent(),
            )
            return _back(coupon_id)
        except SentBefore:
            return _back(coupon_id)
        except UnderWay as other:
            flash(str(_other(coupon_id, other)))
            return _back(coupon_id)
        except InvalidField as error:
            near = str(error) if error.field == "near" else None
            if error.field in form:
                form[error.field].errors = [str(error)]
    return _page(coupon, form, near), 422


@bp.post(f"{REHEARSE}/stop")
def stop_rehearsal(coupon_id: int) -> Response:
    asked_coupon(coupon_id)
    if not rehearsing.stop(coupon_id, by=operator_id()):
        flash(gettext("It was over already."))
    return _back(coupon_id)


def _other(coupon_id: int, other: UnderWay) -> object:
    if other.rehearsal.coupon_id == coupon_id:
        return _("A rehearsal of this coupon is under way already.")
    return _(
        "A rehearsal of another coupon is under way. Only one is played at a time; try again in some minutes."
    )


def _page(coupon: Coupon, form: RehearsalForm, near: str | None = None) -> str:
    last = rehearsing.latest(coupon.id)
    return render_template(
        "admin/rehearse.html",
        coupon=coupon,
        form=form,
        near=near,
        last=last,
        report=rehearsing.report_of(last) if last else {},
        outdated=last is not None and last.terms != rehearsing.digest_of(coupon),
        refresh_s=REFRESH_S if last and last.under_way else None,
    )


def _back(coupon_id: int) -> Response:
    return redirect(url_for("admin.rehearsal", coupon_id=coupon_id), 303)
