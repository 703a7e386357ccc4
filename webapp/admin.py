"""Operators: coupons and their lines. For everybody else nothing under /admin/ exists."""

import json
import re
import secrets
from datetime import datetime
from typing import Any

import redis
from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _
from flask_wtf import FlaskForm
from sqlalchemy import func, select
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response
from wtforms import BooleanField, DateTimeLocalField, Field, HiddenField, IntegerField, StringField
from wtforms.validators import DataRequired, InputRequired, Length, ValidationError
from wtforms.widgets import TextInput

from webapp import redeeming
from webapp.accounts import signed_in_user
from webapp.amounts import MOST, read_amount
from webapp.codes import grouped
from webapp.extensions import csrf, db, line_redis
from webapp.issuing import Refused, policy_of
from webapp.line import Gate, Line
from webapp.models import CLOSED, DRAFT, LIVE, PAUSED, REASON_LENGTH, Coupon, LineEvent, utcnow
from webapp.moments import read_moment, write_moment
from webapp.policy import (
    NOT_POSSIBLE,
    TITLE_LENGTH,
    PolicyError,
    change_coupon,
    coupon_by_id,
    create_coupon,
    has_opened,
    promised,
)
from webapp.submissions import Sent, SentBefore, new_token
from webapp.swallowed import swallow
from webapp.texts import one_line

bp = Blueprint("admin", __name__, url_prefix="/admin")

COUPON = "/coupons/<int(min=1, max=9223372036854775807):coupon_id>"
STEPS = {"publish": LIVE, "pause": PAUSED, "resume": LIVE, "close": CLOSED}
POSSIBLE = {DRAFT: ["publish"], LIVE: ["pause", "close"], PAUSED: ["resume", "close"], CLOSED: ["resume"]}
UNLIMITED = "unlimited"
PER_PAGE = 50
EVENTS_SHOWN = 50
LAST_PAGE = 1_000_000
FORM_BYTES = 1024 * 1024
"""Operators may paste too much into a field, and are told by the field."""
SAVED_ONLY = _(
    "The change is saved. The line's Redis does not answer; the line follows within seconds of its return."
)

NOT_ANSWERED = _("The line's Redis does not answer. Below is what stands; try again in a moment.")
MOST_TYPED = 2000
CLICK = re.compile(r"[\w-]{22}", re.ASCII)
"""What the form of a usable code carries, of `_new_click`."""
UNCHANGED = {
    "used": _("This code has been used meanwhile, and stays as it is."),
    "unused": _("This code is not used."),
    "late": _("This code was used more than 10 minutes ago, and stays used."),
    "unknown": _("No such code"),
    "no_reason": _("Give a reason."),
}

csrf.exempt(bp)  # `operators_only` checks, after it has made sure that who asks may know of the page


@bp.before_app_request
def operators_only() -> None:
    """Answer 404 to everybody who is not an operator in SQL now, for every address under /admin/, known or not.

    It stands before the routing's own answers, so that a 405 or a redirect gives nothing away either.
    """
    if not f"{request.path}/".startswith("/admin/"):
        return
    user = signed_in_user()
    if user is None or not user.is_operator:
        abort(404)
    if request.blueprint == bp.name:
        request.max_content_length = request.max_form_memory_size = FORM_BYTES
        csrf.protect()
        if request.is_json:
            abort(415)  # a form would take its values, of any type, for its fields


class WholeNumber(IntegerField):  # type: ignore[misc]
    """A number of at least 0, with or without thousands separators; None when left empty."""

    widget = TextInput()  # a number input would drop what it cannot read, and show nothing beside the error

    def process_formdata(self, valuelist: list[str]) -> None:
        typed, self.data = one_line("".join(valuelist)), None
        if not typed:
            return
        try:
            self.data = read_amount(typed)
        except ValueError as error:
            raise ValueError(gettext("Give a whole number from 0 to %(most)s.", most=f"{MOST:,}")) from error


class KoreanTime(DateTimeLocalField):  # type: ignore[misc]
    """A time as people in Korea read it; UTC in `data`, None when left empty. A date alone begins or `end`s its day."""

    def __init__(self, *args: Any, end: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        self.end = end

    def process_formdata(self, valuelist: list[str]) -> None:
        typed, self.data = "".join(valuelist), None
        if not typed:
            return
        try:
            self.data = read_moment(typed, end=self.end)
        except ValueError as error:
            raise ValueError(gettext("Give a date and time, such as 2026-12-01T10:00.")) from error

    def _value(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        return _shown_moment(self.data) if self.data else ""


def either_number_or_unlimited(form: FlaskForm, field: WholeNumber) -> None:
    """Have "unlimited" chosen, so that nobody gets it by forgetting a field."""
    if form.unlimited.data and field.raw_data and field.raw_data[0].strip():
        raise ValidationError(gettext("Give a number or choose unlimited, not both."))
    if not form.unlimited.data and field.data is None:
        raise ValidationError(gettext("Give a number, or choose unlimited."))


class CouponForm(FlaskForm):  # type: ignore[misc]
    title = StringField(
        _("Title"),
        filters=[one_line],
        validators=[
            DataRequired(_("Give a title.")),
            Length(max=TITLE_LENGTH, message=_("This is too long.")),
        ],
    )
    total_quantity = WholeNumber(_("Quota"), validators=[either_number_or_unlimited])
    unlimited = BooleanField(_("Unlimited"))
    discount_amount = WholeNumber(_("Discount (won)"))
    min_available_amount = WholeNumber(_("Least purchase (won)"))
    issue_start_at = KoreanTime(_("Opens at"), validators=[InputRequired(_("Give a date and time."))])
    past_start = StringField(_("It may open at once"))
    issue_end_at = KoreanTime(
        _("Closes at"),
        description=_("The first moment at which no more tickets are given."),
        validators=[InputRequired(_("Give a date and time."))],
        end=True,
    )
    valid_until = KoreanTime(
        _("Valid until"), description=_("Until when an issued coupon can be used; may stay empty."), end=True
    )

    def validate_issue_start_at(self, field: KoreanTime) -> None:
        """Ask once more about a start that has passed; the answer holds for that very time."""
        if field.data and field.data <= utcnow() and self.past_start.data != field._value():
            self.past_start.asked = True
            raise ValidationError(gettext("This time has passed. Tick the box if it may open at once."))

    def policy(self) -> dict[str, Any]:
        """Return the fields as `webapp.policy` takes them; an amount that was left empty is 0."""
        values = {name: self[name].data for name in POLICY_FIELDS}
        return values | {name: values[name] or 0 for name in ("discount_amount", "min_available_amount")}

    def typed(self) -> dict[str, str]:
        texts = {name: str(self[name]._value()) for name in POLICY_FIELDS}
        return texts | ({"total_quantity": UNLIMITED} if self.unlimited.data else {})


class NewCoupon(CouponForm):
    once = HiddenField(default=new_token)

    def sent(self) -> Sent:
        return Sent.of("".join(self.once.raw_data), self.policy())


class EditCoupon(CouponForm):
    """The coupon as the page showed it (`before`), and as it was typed over."""

    shown = HiddenField()

    def __init__(self, coupon: Coupon, *, sent: bool = False) -> None:
        options = {} if sent else {"formdata": None}
        super().__init__(obj=coupon, unlimited=coupon.total_quantity is None, **options)
        self.before: dict[str, Any] = (EditCoupon(coupon) if sent else self).typed()
        shown = _object(self.shown.data)
        self.before |= {name: shown[name] for name in POLICY_FIELDS if name in shown}
        self.shown.data = json.dumps(self.before)

    def changed(self) -> dict[str, Any]:
        """Return the fields that were typed over. What somebody else changed meanwhile is left as they want it."""
        typed = self.typed()
        return {name: value for name, value in self.policy().items() if typed[name] != self.before[name]}

    def validate_issue_start_at(self, field: KoreanTime) -> None:
        if field._value() != self.before[field.name]:
            super().validate_issue_start_at(field)

    def explain(self, *, promised: bool, opened: bool) -> None:
        """Say in the page what cannot be changed any more, and why."""
        if opened:
            self.issue_start_at.render_kw = {"readonly": True}
            self.issue_start_at.description = _("It has opened: the start stays.")
        if promised:
            self.discount_amount.description = _("Promised to people already: it can only become more.")
            self.min_available_amount.description = _("Promised to people already: it can only become less.")
            self.valid_until.description = _("Promised to people already: later, or empty for no end.")


class QuotaForm(FlaskForm):  # type: ignore[misc]
    total_quantity = WholeNumber(_("Quota"), id="quota", validators=[either_number_or_unlimited])
    unlimited = BooleanField(_("Unlimited"), id="quota-unlimited")


class ReasonForm(FlaskForm):  # type: ignore[misc]
    reason = StringField(
        _("Reason"),
        filters=[one_line],
        validators=[
            DataRequired(_("Give a reason.")),
            Length(max=REASON_LENGTH, message=_("This is too long.")),
        ],
    )


POLICY_FIELDS = (
    "title",
    "total_quantity",
    "discount_amount",
    "min_available_amount",
    "issue_start_at",
    "issue_end_at",
    "valid_until",
)


@bp.get("/")
def index() -> str:
    page = min(max(1, request.args.get("page", 1, type=int)), LAST_PAGE)
    newest = select(Coupon).order_by(Coupon.id.desc()).offset((page - 1) * PER_PAGE).limit(PER_PAGE + 1)
    coupons = list(db.session.scalars(newest))
    gates = _gates(coupons[:PER_PAGE])
    return render_template(
        "admin/index.html",
        rows=[(coupon, _phase(coupon), (gates or {}).get(coupon.id)) for coupon in coupons[:PER_PAGE]],
        line_answers=gates is not None,
        total=db.session.scalar(select(func.count(Coupon.id))),
        newer=page - 1,
        older=page + 1 if len(coupons) > PER_PAGE else None,
    )


@bp.route("/coupons/new", methods=["GET", "POST"])
def new() -> str | Response | tuple[str, int]:
    """Make a draft. A second click is led to it, and a form that was changed since asks before it makes another."""
    form, made = NewCoupon(), None
    if form.validate_on_submit():
        try:
            return _drafted(create_coupon(**form.policy(), status=DRAFT, sent=form.sent()))
        except PolicyError as error:
            _blame(form, error)
        except SentBefore as before:
            if before.same:
                return _drafted(before.made_id)
            made, form.once.data = before.made_id, new_token()
    return render_template("admin/new.html", form=form, made=made), 409 if made else _status(form)


def _drafted(coupon_id: int) -> Response:
    flash(gettext("The draft is saved. Nobody sees it until you publish it."))
    return _back(coupon_id)


@bp.route(COUPON, methods=["GET", "POST"])
def show(coupon_id: int) -> Response | tuple[str, int]:
    coupon = _coupon(coupon_id)
    if request.method != "POST":
        return _page(coupon), 200
    form = EditCoupon(coupon, sent=True)
    if form.validate() and _changed(form, coupon_id, form.changed()):
        return _back(coupon_id)
    return _page(coupon, edit=form), 422


@bp.post(f"{COUPON}/quota")
def quota(coupon_id: int) -> Response | tuple[str, int]:
    coupon = _coupon(coupon_id)
    form = QuotaForm()
    if form.validate() and _changed(form, coupon_id, {"total_quantity": form.total_quantity.data}):
        return _back(coupon_id)
    return _page(coupon, quota_form=form), 422


@bp.get(f"{COUPON}/<any(publish, close):step>")
def ask(coupon_id: int, step: str) -> str:
    coupon = _coupon(coupon_id)
    start = write_moment(coupon.issue_start_at)
    return render_template("admin/ask.html", coupon=coupon, step=step, start=start, now=utcnow())


@bp.post(f"{COUPON}/<any({', '.join(STEPS)}):step>")
def take(coupon_id: int, step: str) -> Response:
    coupon = _coupon(coupon_id)
    if step == "publish" and _opens_unasked(coupon):
        return redirect(url_for("admin.ask", coupon_id=coupon_id, step=step), 303)
    try:
        if step not in POSSIBLE[coupon.status] and coupon.status != STEPS[step]:
            raise PolicyError("status", NOT_POSSIBLE)
        _change(coupon_id, status=STEPS[step])
    except PolicyError as error:
        flash(str(error))
    return _back(coupon_id)


def _opens_unasked(coupon: Coupon) -> bool:
    """Whether publishing would open the coupon at once, and whoever publishes was not told so of this very start."""
    asked = request.form.get("past_start") == write_moment(coupon.issue_start_at)
    return coupon.status == DRAFT and coupon.issue_start_at <= utcnow() and not asked


@bp.get("/redeem")
def redeem() -> str:
    """Say what a code is worth. The link that stands beside a QR code leads here, and uses nothing."""
    return _code_page(_typed(request.args), ReasonForm(None))


@bp.post("/redeem")
def use() -> Response:
    """Use a code, and lead to the page that says so, which can be loaded again.

    The click that used it is told so as often as it comes; every other hears when the code was used, and by whom.
    """
    typed, click = _typed(request.form), request.form.get("click", "")
    click = click if CLICK.fullmatch(click) else _new_click()
    found, _used_now = redeeming.use(
        typed, _operator_id(), click=click, although_blocked="although_blocked" in request.form
    )
    return redirect(url_for("admin.redeem", code=grouped(found.code) if found else typed, click=click), 303)


@bp.post("/unuse")
def undo_use() -> str | Response | tuple[str, int]:
    form, typed = ReasonForm(), _typed(request.form)
    if not form.validate():
        return _code_page(typed, form), 422
    try:
        redeeming.undo_use(typed, _operator_id(), form.reason.data, which=request.form.get("used_at"))
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
        redeeming.revoke(typed, _operator_id(), form.reason.data)
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
    """Return what a form carries so that whoever sends it twice is known."""
    return secrets.token_urlsafe(16)


def _operator_id() -> int | None:
    user = signed_in_user()
    return user.id if user else None


def _to_code(typed: str) -> Response:
    found = redeeming.look_up(typed)
    return redirect(url_for("admin.redeem", code=grouped(found.code) if found else typed), 303)


def _code_page(typed: str, form: FlaskForm) -> str:
    found = redeeming.look_up(typed)
    return render_template(
        "admin/redeem.html",
        typed=typed,
        found=found,
        codes=redeeming.codes_of(typed) if found is None and "@" in typed else [],
        undone=redeeming.undone_uses(found.code) if found else [],
        form=form,
        click=_new_click(),
        used_now=found is not None and found.used_just_now(request.args.get("click")),
    )


def _coupon(coupon_id: int) -> Coupon:
    coupon = coupon_by_id(coupon_id)
    if coupon is None:
        abort(404)
    return coupon


def _back(coupon_id: int) -> Response:
    return redirect(url_for("admin.show", coupon_id=coupon_id), 303)


def _page(coupon: Coupon, *, edit: EditCoupon | None = None, quota_form: QuotaForm | None = None) -> str:
    """Show the coupon, with the form in it that was sent and has to be mended, if there is one."""
    gates = _gates([coupon])
    gate = (gates or {}).get(coupon.id)
    edit = edit or EditCoupon(coupon)
    edit.explain(promised=promised(coupon, gate), opened=has_opened(coupon, gate))
    newest = select(LineEvent).where(LineEvent.coupon_id == coupon.id).order_by(LineEvent.id.desc())
    return render_template(
        "admin/show.html",
        coupon=coupon,
        phase=_phase(coupon),
        steps=POSSIBLE[coupon.status],
        gate=gate,
        line_answers=gates is not None,
        line_behind=gate is not None and _rules(gate.policy) != _rules(policy_of(coupon)),
        events=db.session.scalars(newest.limit(EVENTS_SHOWN)).all(),
        form=edit,
        quota_form=quota_form or QuotaForm(None, obj=coupon, unlimited=coupon.total_quantity is None),
    )


def _gates(coupons: list[Coupon]) -> dict[int, Gate] | None:
    """Return the lines' numbers by coupon id, as far as there are lines, or None when Redis does not answer.

    Nothing is seeded by looking.
    """
    try:
        found = {each.id: Line(line_redis(), each.id).gate() for each in coupons if each.status != DRAFT}
    except redis.RedisError as error:
        swallow("lines not shown", error, "the page shows what SQL knows")
        return None
    return {coupon_id: gate for coupon_id, gate in found.items() if gate is not None}


def _rules(policy: Any) -> tuple[Any, ...]:
    return policy.status, policy.quota, policy.opens_at_ms, policy.closes_at_ms


def _phase(coupon: Coupon) -> str:
    """Return the status, and for a live coupon what it comes to now, by this server's clock."""
    now = utcnow()
    if coupon.status != LIVE:
        return coupon.status
    if now < coupon.issue_start_at:
        return "scheduled"
    if now >= coupon.issue_end_at:
        return "ended"
    return "sold_out" if coupon.sold_out else "open"


def _changed(form: FlaskForm, coupon_id: int, fields: dict[str, Any]) -> bool:
    try:
        _change(coupon_id, **fields)
    except PolicyError as error:
        _blame(form, error)
        return False
    return True


def _change(coupon_id: int, **fields: Any) -> None:
    """Change the coupon and say how it went. Raises PolicyError, and then nothing was changed."""
    try:
        if fields:
            change_coupon(coupon_id, **fields)
    except (redis.RedisError, Refused) as error:
        swallow("change not published", error, "it is committed, and the sweeper publishes it")
        flash(str(SAVED_ONLY))
    else:
        flash(gettext("Saved."))


def _blame(form: FlaskForm, error: PolicyError) -> None:
    field: Field = form[error.field] if error.field in form else next(iter(form))
    field.errors = [str(error)]


def _status(form: FlaskForm) -> int:
    return 422 if form.is_submitted() else 200


def _shown_moment(moment: datetime) -> str:
    """Return the time as an input of type datetime-local has it: whole minutes when it can be, else milliseconds."""
    text = write_moment(moment)
    return text.removesuffix(":00") if "." not in text else text[:-3]


def _object(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
