"""The pages on which operators create, change and watch coupons."""

from collections.abc import Callable, Sequence
from typing import Any

import redis
from flask import abort, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _
from flask_login import current_user
from flask_wtf import FlaskForm
from sqlalchemy import func, or_, select
from werkzeug.wrappers import Response
from wtforms import Field

from webapp.line.line import Line
from webapp.line.types import Gate, Policy
from webapp.models import DRAFT, LIVE, Coupon, CouponRow, LineEvent, utcnow
from webapp.proposals import rule
from webapp.proposals.reading import open_proposals
from webapp.sale.archiving import can_be_archived
from webapp.sale.consequences import of_close, of_end
from webapp.sale.coupons import (
    InvalidField,
    change_coupon,
    coupon_by_id,
    create_coupon,
    has_opened,
    promised,
)
from webapp.sale.outcomes import Refused
from webapp.sale.pausing import taken_by_pause
from webapp.sale.pools import missing_codes
from webapp.sale.records import policy_of, state_at
from webapp.sale.steps import steps_from
from webapp.sale.submissions import SentBefore, new_token
from webapp.sale.waves import Campaign, campaigns_of
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.stores.swallowed import swallow
from webapp.web.admin.consequences import NotConfirmed, confirmed, sentences
from webapp.web.admin.forms import EditCoupon, NewCoupon, QuotaForm
from webapp.web.admin.guard import bp
from webapp.web.admin.pause_forms import PauseForm, ResumeForm

COUPON = "/coupons/<id:coupon_id>"
PER_PAGE = 50
EVENTS_SHOWN = 50
LAST_PAGE = 1_000_000
SAVED_ONLY = _(
    "The change is saved. The line's Redis does not answer; the line follows within seconds of its return."
)


@bp.get("/")
def index() -> str:
    # Any number may be in the address, and the offset has to fit the database's integers.
    page = min(max(1, request.args.get("page", 1, type=int)), LAST_PAGE)
    archived = "archived" in request.args
    shown = Coupon.archived_at.is_not(None) if archived else Coupon.archived_at.is_(None)
    # The first wave stands for its campaign.
    campaigns = or_(Coupon.campaign_id.is_(None), Coupon.campaign_id == Coupon.id)
    newest = (
        select(Coupon)
        .where(shown, campaigns)
        .order_by(Coupon.id.desc())
        .offset((page - 1) * PER_PAGE)
        .limit(PER_PAGE + 1)
    )
    # One row more than is shown tells whether there is another page.
    coupons = list(db.session.scalars(newest))
    total = db.session.scalar(select(func.count(Coupon.id)).where(shown, campaigns))
    in_archive = archived or db.session.scalar(select(Coupon.archived_at.is_not(None)).where(~shown).limit(1))
    db.session.close()  # a request has one connection at a time
    rows = campaigns_of(coupons[:PER_PAGE])
    gates = _gates([wave for campaign in rows for wave in campaign.waves])
    return render_template(
        "admin/index.html",
        rows=[(campaign, _waiting(campaign, gates or {})) for campaign in rows],
        line_answers=gates is not None,
        total=total,
        archived=archived,
        in_archive=in_archive,
        newer=page - 1,
        older=page + 1 if len(coupons) > PER_PAGE else None,
    )


@bp.route("/coupons/new", methods=["GET", "POST"])
def new() -> str | Response | tuple[str, int]:
    """Make a draft. A second click finds the same draft; a changed form asks before it makes another one."""
    form, made = NewCoupon(), None
    if form.validate_on_submit():
        try:
            return _drafted(create_coupon(by=operator_id(), **form.terms(), status=DRAFT, sent=form.sent()))
        except InvalidField as error:
            blame(form, error)
        except SentBefore as before:
            if before.same:
                return _drafted(before.made_id)
            # The same page with other contents: a second coupon, if the operator sends the form once more.
            made, form.once.data = before.made_id, new_token()
    return render_template("admin/new.html", form=form, made=made), 409 if made else _status(form)


def _drafted(coupon_id: int) -> Response:
    flash(gettext("The draft is saved. Nobody sees it until you publish it."))
    return back(coupon_id)


@bp.route(COUPON, methods=["GET", "POST"])
def show(coupon_id: int) -> Response | tuple[str, int]:
    coupon = asked_coupon(coupon_id)
    if request.method != "POST":
        return page_of(coupon), 200
    form = EditCoupon(coupon, sent=True)
    try:
        if form.validate() and _changed(form, coupon, form.changed()):
            return back(coupon_id)
    except NotConfirmed as asked:
        return asked.page(coupon), 200
    return page_of(coupon, edit=form), 422


@bp.post(f"{COUPON}/quota")
def quota(coupon_id: int) -> Response | tuple[str, int]:
    coupon = asked_coupon(coupon_id)
    form = QuotaForm()
    try:
        if form.validate() and _changed(form, coupon, {"total_quantity": form.total_quantity.data}):
            return back(coupon_id)
    except NotConfirmed as asked:
        return asked.page(coupon), 200
    return page_of(coupon, quota_form=form), 422


@bp.get(f"{COUPON}/<any(close):step>")
def ask(coupon_id: int, step: str) -> str:
    coupon = asked_coupon(coupon_id)
    effects = sentences(of_close(gate_of(coupon)))
    return render_template("admin/ask.html", coupon=coupon, step=step, effects=effects)


@bp.post(f"{COUPON}/<any(close):step>")
def take(coupon_id: int, step: str) -> Response:
    """Take a step. A draft is published from the page of checks, and pausing and resuming have forms of their own."""
    asked_coupon(coupon_id)
    try:
        _change(coupon_id, step=step)
    except InvalidField as error:
        flash(str(error))
    return back(coupon_id)


def asked_coupon(coupon_id: int) -> Coupon:
    coupon = coupon_by_id(coupon_id)
    if coupon is None:
        abort(404)
    return coupon


def operator_id() -> int:
    """Return the id of the operator who asks: `guard.colleagues_only` has let nobody else in."""
    return int(current_user.id)


def back(coupon_id: int) -> Response:
    return redirect(url_for("admin.show", coupon_id=coupon_id), 303)


def page_of(coupon: Coupon, *, edit: EditCoupon | None = None, **sent: FlaskForm) -> str:
    """Show the coupon, with the form that was sent and has errors, if there is one.

    Beside `edit` these are `quota_form`, `pause_form` and `resume_form`.
    """
    gates = _gates([coupon])
    gate = (gates or {}).get(coupon.id)
    edit = edit or EditCoupon(coupon)
    edit.explain(promised=promised(coupon, gate), opened=has_opened(coupon, gate))
    newest = select(LineEvent).where(LineEvent.coupon_id == coupon.id).order_by(LineEvent.id.desc())
    return render_template(
        "admin/show.html",
        coupon=coupon,
        steps=[] if coupon.archived_at else steps_from(coupon.status),
        can_be_archived=can_be_archived(coupon),
        gate=gate,
        line_answers=gates is not None,
        line_behind=gate is not None and _rules(gate.policy) != _rules(policy_of(coupon)),
        proposals=open_proposals(coupon.id) if rule.is_on() else [],
        events=db.session.scalars(newest.limit(EVENTS_SHOWN)).all(),
        form=edit,
        **{
            "quota_form": QuotaForm.of(coupon),
            "pause_form": PauseForm.of(coupon),
            "resume_form": ResumeForm.of(coupon),
            **sent,
        },
        **_extension(coupon, gate),
    )


def _extension(coupon: Coupon, gate: Gate | None) -> dict[str, Any]:
    """Return the end that the coupon gets if it is resumed now with a later end, and what that does; else nothing."""
    now = utcnow()
    taken = taken_by_pause(coupon, now)
    if not taken:
        return {}
    end = coupon.issue_end_at + taken
    return {"extended_to": end, "extended_effects": sentences(of_end(coupon, gate, end, now))}


def _waiting(campaign: Campaign, gates: dict[int, Gate]) -> int | None:
    """Return how many wait in the lines of a campaign; None when no line of it is open."""
    known = [gates[wave.id].waiting for wave in campaign.waves if wave.id in gates]
    return sum(known) if known else None


def _gates(coupons: Sequence[Coupon | CouponRow]) -> dict[int, Gate] | None:
    """Return the gates by coupon id, without those that are missing or of the past; None when Redis does not answer.

    Looking begins no epoch.
    """
    try:
        found = {each.id: Line(line_redis(), each.id).gate() for each in coupons if each.status != DRAFT}
    except redis.RedisError as error:
        swallow("lines not shown", error, "the page shows what SQL knows")
        return None
    return {coupon_id: gate for coupon_id, gate in found.items() if gate and gate.opened}


def gate_of(coupon: Coupon) -> Gate | None:
    return (_gates([coupon]) or {}).get(coupon.id)


def _rules(policy: Policy) -> tuple[str, int | None, int, int, int]:
    return policy.status, policy.quota, policy.opens_at_ms, policy.closes_at_ms, policy.standby_limit


@bp.app_template_filter()
def phase(coupon: Coupon | CouponRow) -> str:
    """Return the status, or for a live coupon the state that follows from it now."""
    if coupon.status != LIVE:
        return str(coupon.status)
    state = state_at(coupon, utcnow())
    return "ended" if state == "closed" else state


bp.add_app_template_filter(missing_codes)


def _changed(form: EditCoupon | QuotaForm, coupon: Coupon, fields: dict[str, Any]) -> bool:
    """Change the coupon and return whether it could be. Raises NotConfirmed, and then nothing was changed."""
    if not fields:
        flash(gettext("Saved."))
        return True
    try:
        _change(coupon.id, look=form.look, agree=confirmed(gate_of(coupon)), **fields)
    except InvalidField as error:
        blame(form, error)
        return False
    return True


def _change(coupon_id: int, **fields: Any) -> None:
    saved(lambda: change_coupon(coupon_id, by=operator_id(), **fields))


def saved(change: Callable[[], None]) -> None:
    """Change a coupon and flash the outcome. Raises InvalidField, and then nothing was changed."""
    try:
        change()
    except (redis.RedisError, Refused) as error:
        swallow("change not published", error, "it is committed, and the sweeper publishes it")
        flash(str(SAVED_ONLY))
    else:
        flash(gettext("Saved."))


def blame(form: FlaskForm, error: InvalidField) -> None:
    # An error about a field that this form does not show stands beside its first one.
    field: Field = form[error.field] if error.field in form else next(iter(form))
    field.errors = [str(error)]


def _status(form: FlaskForm) -> int:
    return 422 if form.is_submitted() else 200
