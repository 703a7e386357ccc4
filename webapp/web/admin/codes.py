"""The page on which operators look up, use, and revoke a code."""

import re
import secrets

import redis
from flask import flash, redirect, render_template, request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _
from flask_wtf import FlaskForm
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from webapp.sale import redeeming
from webapp.sale.outcomes import Refused
from webapp.stores.swallowed import swallow
from webapp.web.admin.coupons import operator_id
from webapp.web.admin.forms import ReasonForm
from webapp.web.admin.guard import bp

NOT_ANSWERED = _("The line's Redis does not answer. Below is what stands; try again in a moment.")
MOST_TYPED = 2000
CLICK = re.compile(r"[\w-]{22}", re.ASCII)
"""The token in the form of a usable code, made by `_new_click`."""
UNCHANGED = {
    "used": _("This code has been used meanwhile, and stays as it is."),
    "unused": _("This code is not used."),
    "late": _("This code was used more than 10 minutes ago, and stays used."),
    "unknown": _("No such code"),
    "no_reason": _("Give a reason."),
}


@bp.get("/redeem")
def redeem() -> str:
    """Show the state of a code. The link beside a QR code leads here, and uses nothing."""
    return _code_page(_typed(request.args), ReasonForm(None))


@bp.post("/redeem")
def use() -> Response:
    """Use a code and redirect to its page, which can be loaded again.

    The click that used the code is told so again when it repeats. Every other click is told when the code was used, and
    by whom.
    """
    typed, click = _typed(request.form), request.form.get("click", "")
    click = click if CLICK.fullmatch(click) else _new_click()
    found, _used_now = redeeming.use(
        typed, operator_id(), click=click, although_blocked="although_blocked" in request.form
    )
    return redirect(url_for("admin.redeem", code=found.shown_code if found else typed, click=click), 303)


@bp.post("/unuse")
def undo_use() -> str | Response | tuple[str, int]:
    form, typed = ReasonForm(), _typed(request.form)
    if not form.validate():
        return _code_page(typed, form), 422
    try:
        redeeming.undo_use(typed, operator_id(), form.reason.data, which=request.form.get("used_at"))
    except redeeming.Unchanged as unchanged:
        flash(str(UNCHANGED[unchanged.code]))
    else:
        flash(gettext("The use was taken back."))
    return _to_code(typed)


@bp.post("/revoke")
def revoke() -> str | Response | tuple[str, int]:
    form, typed = ReasonForm(), _typed(request.form)
    if not form.validate():
        return _code_page(typed, form), 422
    try:
        redeeming.revoke(typed, operator_id(), form.reason.data)
    except redeeming.Unchanged as unchanged:
        flash(str(UNCHANGED[unchanged.code]))
    except (redis.RedisError, Refused) as error:
        swallow(
            "revocation not told",
            error,
            "the page says whether it is committed; the sweeper tells Redis then",
        )
        flash(str(NOT_ANSWERED))
    return _to_code(typed)


def _typed(fields: MultiDict[str, str]) -> str:
    return fields.get("code", "").strip()[:MOST_TYPED]


def _new_click() -> str:
    """Return a token for a form, by which its second click is known."""
    return secrets.token_urlsafe(16)


def _to_code(typed: str) -> Response:
    found = redeeming.look_up(typed)
    return redirect(url_for("admin.redeem", code=found.shown_code if found else typed), 303)


def _code_page(typed: str, form: FlaskForm) -> str:
    found = redeeming.look_up(typed)
    return render_template(
        "admin/redeem.html",
        typed=typed,
        found=found,
        # The holder may have forgotten the code, so an address shows the codes of its account.
        codes=redeeming.codes_of(typed) if found is None and "@" in typed else [],
        undone=redeeming.undone_uses(found.code) if found else [],
        form=form,
        click=_new_click(),
        used_now=found is not None and found.used_just_now(request.args.get("click")),
    )
