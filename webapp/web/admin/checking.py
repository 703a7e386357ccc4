"""The page of checks, from which alone a draft goes live in the console."""

from collections.abc import Collection
from dataclasses import dataclass, field

import redis
from flask import flash, redirect, render_template, request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms.validators import NumberRange, Optional

from webapp.models import DRAFT, Coupon
from webapp.sale.coupons import InvalidField
from webapp.sale.going_live import ChangedMeanwhile, NotReady, go_live, seen_of
from webapp.sale.levels import Finding, blocking
from webapp.sale.outcomes import Refused
from webapp.sale.prospects import MOST_PEOPLE, MOST_RUSH_S, Prospect, Rush
from webapp.sale.readiness import findings
from webapp.stores.swallowed import swallow
from webapp.web.admin.coupons import COUPON, SAVED_ONLY, asked_coupon, operator_id
from webapp.web.admin.forms import CouponForm, WholeNumber, seen_texts, write_seen
from webapp.web.admin.guard import bp

CHECK = f"{COUPON}/check"
OTHERS = {"waves": _("Waves"), "pool_left": _("Codes of your own that are left")}
"""What may have changed besides the fields of the form."""


class RushForm(FlaskForm):  # type: ignore[misc]
    """How many people are expected, and within how many seconds; what is left empty has a default."""

    class Meta:
        csrf = False  # it only asks; the form that goes live has a token of its own

    people = WholeNumber(
        _("Expected people"),
        validators=[Optional(), NumberRange(1, MOST_PEOPLE, _("Give a number from 1 on."))],
    )
    seconds = WholeNumber(
        _("within how many seconds"),
        validators=[Optional(), NumberRange(1, MOST_RUSH_S, _("Give a number from 1 to 86,400."))],
    )

    def rush(self) -> Rush:
        if not self.validate():
            return Rush()
        return Rush(self.people.data, self.seconds.data)


@dataclass(frozen=True)
class Refusal:
    """Why the draft did not go live, as the page tells it."""

    why: str
    changes: dict[str, tuple[str, str]] = field(default_factory=dict)


@bp.get(CHECK)
def check(coupon_id: int) -> str:
    return _page(asked_coupon(coupon_id), RushForm(request.args))


@bp.post(CHECK)
def check_and_go_live(coupon_id: int) -> Response | tuple[str, int]:
    """Make the draft live; a second click finds it live. When it cannot go live, the page says why."""
    form, confirmed = RushForm(request.form), request.form.getlist("confirm")
    seen = seen_texts(request.form.get("seen"))
    try:
        now_live = go_live(
            asked_coupon(coupon_id).id, by=operator_id(), seen=seen, confirmed=confirmed, rush=form.rush()
        )
        flash(gettext("It is live.") if now_live else gettext("It had gone live already."))
    except (redis.RedisError, Refused) as error:
        swallow("change not published", error, "it is committed, and the sweeper publishes it")
        flash(str(SAVED_ONLY))
    except NotReady as error:
        why = _("Something blocks it now.") if blocking(error.found) else _("Confirm each warning first.")
        return _page(
            asked_coupon(coupon_id), form, Refusal(str(why)), found=error.found, confirmed=confirmed
        ), 422
    except ChangedMeanwhile as error:
        why = _("Another operator has changed it since you opened this page. Nothing went live.")
        return _page(asked_coupon(coupon_id), form, Refusal(str(why), error.changes)), 409
    except InvalidField as error:
        flash(str(error))
    return redirect(url_for("admin.show", coupon_id=coupon_id), 303)


def _page(
    coupon: Coupon,
    form: RushForm,
    refusal: Refusal | None = None,
    *,
    found: list[Finding] | None = None,
    confirmed: Collection[str] = (),
) -> str:
    prospect = Prospect(coupon, form.rush())
    return render_template(
        "admin/check.html",
        coupon=coupon,
        is_draft=coupon.status == DRAFT,
        found=found or findings(prospect),
        seen=write_seen(seen_of(coupon, prospect.waves)),
        refusal=refusal,
        confirmed=confirmed,
        form=form,
        names={each.name: each.label.text for each in CouponForm(formdata=None)} | OTHERS,
    )
