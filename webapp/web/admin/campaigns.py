"""The pages on which operators make a campaign once more, preview it, and put it aside."""

from flask import current_app, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from webapp.models import LIST, utcnow
from webapp.sale.archiving import archive, unarchive
from webapp.sale.coupons import InvalidField
from webapp.sale.duplicating import duplicate_coupon
from webapp.sale.lists import counting
from webapp.sale.previews import LASTS, sign_preview
from webapp.sale.submissions import SentBefore, new_token
from webapp.web.admin.coupons import COUPON, asked_coupon, blame, operator_id
from webapp.web.admin.forms import DuplicateForm
from webapp.web.admin.guard import bp


@bp.route(f"{COUPON}/duplicate", methods=["GET", "POST"])
def duplicate(coupon_id: int) -> Response | tuple[str, int]:
    """Make a draft of it. A second click finds the same draft; a changed form asks before it makes another one."""
    coupon, form, made = asked_coupon(coupon_id), DuplicateForm(), None
    if form.validate_on_submit():
        try:
            return _made(
                duplicate_coupon(coupon_id, **form.period(), by=operator_id(), sent=form.sent(coupon_id))
            )
        except InvalidField as error:
            blame(form, error)
        except SentBefore as before:
            if before.same:
                return _made(before.made_id)
            made, form.once.data = before.made_id, new_token()
    listed = sum(each.good for each in counting(coupon_id)) if coupon.audience == LIST else 0
    page = render_template("admin/duplicate.html", coupon=coupon, form=form, made=made, listed=listed)
    return page, 409 if made else 422 if form.is_submitted() else 200


@bp.get(f"{COUPON}/preview")
def preview(coupon_id: int) -> str:
    """Give a new link to previews. It is signed, so nothing is stored."""
    coupon = asked_coupon(coupon_id)
    key = sign_preview(current_app.config["SECRET_KEY"], coupon_id)
    address = url_for("preview.show", key=key, _external=True)
    return render_template("admin/preview.html", coupon=coupon, address=address, until=utcnow() + LASTS)


@bp.post(f"{COUPON}/archive")
def put_aside(coupon_id: int) -> Response:
    asked_coupon(coupon_id)
    try:
        (unarchive if "undo" in request.form else archive)(coupon_id, by=operator_id())
    except InvalidField as error:
        flash(str(error))
    else:
        flash(gettext("Saved."))
    return redirect(url_for("admin.show", coupon_id=coupon_id), 303)


def _made(coupon_id: int) -> Response:
    flash(gettext("The draft is saved. Nobody sees it until you publish it."))
    return redirect(url_for("admin.show", coupon_id=coupon_id), 303)
