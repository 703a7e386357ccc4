"""The buttons that pause a coupon, with a message and a promised time, and resume it, with a later end."""

from flask import flash
from flask_babel import gettext
from werkzeug.wrappers import Response

from webapp.sale.coupons import InvalidField
from webapp.sale.pausing import pause as pause_coupon
from webapp.sale.pausing import resume as resume_coupon
from webapp.web.admin.coupons import (
    COUPON,
    SAVED_ONLY,
    asked_coupon,
    back,
    blame,
    operator_id,
    page_of,
    saved,
)
from webapp.web.admin.guard import bp
from webapp.web.admin.pause_forms import PauseForm, ResumeForm


@bp.post(f"{COUPON}/pause")
def pause(coupon_id: int) -> Response | tuple[str, int]:
    """Pause at once; a message that cannot be shown is asked for again afterwards."""
    asked_coupon(coupon_id)
    form = PauseForm()
    message = form.message() if form.validate() else None
    try:
        saved(lambda: pause_coupon(coupon_id, message, by=operator_id(), look=form.look))
    except InvalidField as error:
        if error.field not in form:
            flash(str(error))
            return back(coupon_id)
        blame(form, error)
        if error.__cause__:
            flash(str(SAVED_ONLY))
    if not form.errors:
        return back(coupon_id)
    flash(gettext("It is paused. The message is not shown yet: correct it below."))
    return page_of(asked_coupon(coupon_id), pause_form=form), 422


@bp.post(f"{COUPON}/resume")
def resume(coupon_id: int) -> Response | tuple[str, int]:
    asked_coupon(coupon_id)
    form = ResumeForm()
    try:
        extend = form.extend.data
        saved(lambda: resume_coupon(coupon_id, by=operator_id(), extend=extend, look=form.look))
    except InvalidField as error:
        if error.field in form:
            blame(form, error)
            return page_of(asked_coupon(coupon_id), resume_form=form), 422
        flash(str(error))
    return back(coupon_id)
