"""The page on which operators revoke many coupons by a list of codes: what will happen is shown before the button."""

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

import redis
from flask import flash, render_template, request
from flask_babel import gettext
from flask_babel import lazy_gettext as _
from sqlalchemy.exc import SQLAlchemyError

from webapp.sale.bulk_revoking import Listed, look_at, revoke_all
from webapp.sale.outcomes import Refused
from webapp.stores.swallowed import swallow
from webapp.web.admin.coupons import operator_id
from webapp.web.admin.forms import ReasonForm
from webapp.web.admin.guard import bp
from webapp.web.presenting import thousands

SHOWN = 50
MOST = 2000
"""Lines that one request takes, within seconds; the command takes any number."""
WHY = {
    "unknown": _("There is no such code."),
    "twice": _("This code stands in the list already."),
    "used": _("This code is used, and stays as it is."),
    "revoked": _("This code was taken back before."),
}
"""Why a code of the list stays as it is."""


@bp.get("/revocations")
def revocations() -> str:
    return _page(ReasonForm(None), [])


@bp.post("/revocations")
def revoke_list() -> str | tuple[str, int]:
    """Show what the list would do; with that confirmed, do it. A repeat finds the codes revoked."""
    lines, form = request.form.get("codes", "").splitlines(), ReasonForm()
    if wrong := _why_not(lines):
        return _page(form, [], wrong=wrong), 422
    listed = look_at(lines)
    if not form.validate():
        return _page(form, listed), 422
    if request.form.get("confirmed") == mark_of(listed):
        _revoke(listed, form.reason.data)
        return _page(ReasonForm(None), [])
    return _page(form, listed, sure=any(each.verdict == "issued" for each in listed))


def mark_of(listed: Sequence[Listed]) -> str:
    """Return a digest of the codes that would be revoked: what was confirmed is this list, and no other one."""
    codes = " ".join(each.code for each in listed if each.verdict == "issued")
    return sha256(codes.encode()).hexdigest()


def _why_not(lines: Sequence[str]) -> str | None:
    if not any(line.strip() for line in lines):
        return str(gettext("Write a code in each line."))
    if len(lines) > MOST:
        return str(gettext("%(most)s lines are possible at once.", most=thousands(MOST)))
    return None


def _revoke(listed: Sequence[Listed], reason: str) -> None:
    try:
        done = revoke_all(listed, by=operator_id(), reason=reason)
    except (SQLAlchemyError, redis.RedisError, Refused) as error:
        swallow("revoking broken off", error, "what was revoked stays so, and the page asks for a repeat")
        flash(
            gettext(
                "It broke off in the middle. Send the same list once more: what is done is not done twice."
            )
        )
        return
    flash(gettext("Taken back: %(count)s.", count=thousands(done.count)))
    if done.kept:
        flash(gettext("%(count)s were used or taken back in between.", count=thousands(done.kept)))


def _page(form: ReasonForm, listed: Sequence[Listed], *, wrong: str | None = None, sure: bool = False) -> str:
    revoked = [each for each in listed if each.verdict == "issued"]
    kept = [each for each in listed if each.verdict != "issued"]
    return render_template(
        "admin/revocations.html",
        form=form,
        wrong=wrong,
        sure=sure,
        looked_at=bool(listed),
        count=len(revoked),
        campaigns=Counter((each.coupon_id, each.title) for each in revoked).most_common(),
        kept=kept[:SHOWN],
        more=max(0, len(kept) - SHOWN),
        why=WHY,
        mark=mark_of(listed),
    )
