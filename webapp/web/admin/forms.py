"""The forms of operators, and their fields."""

import json
from datetime import datetime
from typing import Any

from flask_babel import gettext
from flask_babel import lazy_gettext as _
from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    DateTimeLocalField,
    Field,
    HiddenField,
    IntegerField,
    SelectField,
    StringField,
)
from wtforms.fields.choices import SelectChoice
from wtforms.validators import DataRequired, InputRequired, Length, ValidationError
from wtforms.widgets import TextInput

from webapp.models import (
    AMOUNT,
    BENEFIT_LENGTH,
    GIFT,
    PERCENT,
    REASON_LENGTH,
    TITLE_LENGTH,
    WORDS,
    Coupon,
    CouponRow,
    utcnow,
)
from webapp.sale.coupons import TERMS, InvalidField
from webapp.sale.submissions import Sent, new_token
from webapp.values.amounts import MOST, read_amount
from webapp.values.moments import read_moment, write_moment
from webapp.values.texts import one_line

UNLIMITED = "unlimited"


class WholeNumber(IntegerField):  # type: ignore[misc]
    """A number of at least 0, with or without thousands separators; None when left empty."""

    widget = TextInput()  # a number input would drop an unreadable text, and show an error beside nothing

    def process_formdata(self, valuelist: list[str]) -> None:
        typed, self.data = one_line("".join(valuelist)), None
        if not typed:
            return
        try:
            self.data = read_amount(typed)
        except ValueError as error:
            raise ValueError(gettext("Give a whole number from 0 to %(most)s.", most=f"{MOST:,}")) from error


class KoreanTime(DateTimeLocalField):  # type: ignore[misc]
    """A time in Korea; `data` is UTC, None when left empty. A date alone is its beginning, or with `end` its end."""

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
        # The text is shown again as it was typed, also if it is no time.
        if self.raw_data:
            return str(self.raw_data[0])
        return shown_moment(self.data) if self.data else ""


def either_number_or_unlimited(form: FlaskForm, field: WholeNumber) -> None:
    """Refuse an empty field without "unlimited", so that no quota is unlimited by a forgotten field."""
    if form.unlimited.data and field.raw_data and field.raw_data[0].strip():
        raise ValidationError(gettext("Give a number or choose unlimited, not both."))
    if not form.unlimited.data and field.data is None:
        raise ValidationError(gettext("Give a number, or choose unlimited."))


_SHORT = Length(max=BENEFIT_LENGTH, message=_("This is too long."))
NO_AMOUNT = ("discount_amount", "discount_percent", "min_available_amount", "standby_limit")
"""The amounts that are 0 when they are left empty."""


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
    benefit = SelectField(
        _("Benefit"),
        choices=[
            SelectChoice(AMOUNT, _("An amount off")),
            SelectChoice(PERCENT, _("A percentage off")),
            SelectChoice(GIFT, _("A gift")),
            SelectChoice(WORDS, _("Something else, in words")),
        ],
        default=AMOUNT,
    )
    discount_amount = WholeNumber(_("Discount (won)"))
    discount_percent = WholeNumber(_("Discount (%)"))
    discount_cap = WholeNumber(_("At most (won)"), description=_("Empty: the discount has no cap."))
    benefit_words = StringField(_("What people get"), filters=[one_line], validators=[_SHORT])
    benefit_words_en = StringField(
        _("What people get, in English"),
        description=_("Empty: the words above are shown in English, too."),
        filters=[one_line],
        validators=[_SHORT],
    )
    min_available_amount = WholeNumber(_("Least purchase (won)"))
    standby_limit = WholeNumber(
        _("Places in standby"),
        description=_(
            "0: who comes when the coupons are gone is told so. Else up to so many people wait for one to come back."
        ),
    )
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
        """Ask once more about a start that has passed; the tick holds for that very time."""
        if field.data and field.data <= utcnow() and self.past_start.data != field._value():
            self.past_start.asked = True
            raise ValidationError(gettext("This time has passed. Tick the box if it may open at once."))

    def terms(self) -> dict[str, Any]:
        """Return the fields as `webapp.sale.coupons` takes them; an empty amount is 0."""
        values = {name: self[name].data for name in TERMS}
        return values | {name: values[name] or 0 for name in NO_AMOUNT}

    def typed(self) -> dict[str, str]:
        """Return the texts of the fields, to be compared with those that the page showed."""
        texts = {name: _typed_in(self[name]) for name in TERMS if name != "benefit"}
        texts["benefit"] = str(self.benefit.data)
        return texts | ({"total_quantity": UNLIMITED} if self.unlimited.data else {})


class NewCoupon(CouponForm):
    once = HiddenField(default=new_token)

    def sent(self) -> Sent:
        return Sent.of("".join(self.once.raw_data), self.terms())


class DuplicateForm(FlaskForm):  # type: ignore[misc]
    """The period of a duplicate; everything else is its model's."""

    once = HiddenField(default=new_token)
    issue_start_at = KoreanTime(_("Opens at"), validators=[InputRequired(_("Give a date and time."))])
    past_start = StringField(_("It may open at once"))
    issue_end_at = KoreanTime(
        _("Closes at"), validators=[InputRequired(_("Give a date and time."))], end=True
    )
    validate_issue_start_at = CouponForm.validate_issue_start_at

    def period(self) -> dict[str, Any]:
        return {"opens_at": self.issue_start_at.data, "closes_at": self.issue_end_at.data}

    def sent(self, coupon_id: int) -> Sent:
        return Sent.of("".join(self.once.raw_data), self.period() | {"duplicates": coupon_id})


class EditCoupon(CouponForm):
    """The coupon as the page showed it (`before`), and as the operator has changed it."""

    shown = HiddenField()

    def __init__(self, coupon: Coupon | CouponRow, *, sent: bool = False) -> None:
        # If another form of the page was sent, its fields are not those of this form.
        options = {} if sent else {"formdata": None}
        super().__init__(obj=coupon, unlimited=coupon.total_quantity is None, **options)
        self.before: dict[str, Any] = (EditCoupon(coupon) if sent else self).typed()
        # The hidden copy is older than the row if another operator has changed that meanwhile.
        shown = seen_texts(self.shown.data)
        self.before |= {name: shown[name] for name in TERMS if name in shown}
        self.shown.data = json.dumps(self.before)

    def changed(self) -> dict[str, Any]:
        """Return the fields that this operator has changed. Changes of another operator meanwhile stay as they are."""
        typed = self.typed()
        return {name: value for name, value in self.terms().items() if typed[name] != self.before[name]}

    def look(self, row: CouponRow) -> None:
        """Raise InvalidField when another operator has changed a field since, which this one changes, too.

        Sent once more, this one's text stands: the operator has read the other's.
        """
        now = EditCoupon(row).typed()
        for name, wanted in self.changed().items():
            if now[name] != self.before[name] and getattr(row, name) != wanted:
                self.before[name] = now[name]
                self.shown.data = json.dumps(self.before)
                raise overtaken(name, now[name])

    def validate_issue_start_at(self, field: KoreanTime) -> None:
        if _typed_in(field) != self.before[field.name]:
            super().validate_issue_start_at(field)

    def explain(self, *, promised: bool, opened: bool) -> None:
        """Show in the page which fields cannot be changed any more, and why."""
        if opened:
            self.issue_start_at.render_kw = {"readonly": True}
            self.issue_start_at.description = _("It has opened: the start stays.")
        if promised:
            self._explain_promised_benefit()
            self.min_available_amount.description = _("Promised to people already: it can only become less.")
            self.valid_until.description = _("Promised to people already: later, or empty for no end.")

    def _explain_promised_benefit(self) -> None:
        for name in ("discount_amount", "discount_percent", "discount_cap"):
            self[name].description = _("Promised to people already: it can only become more.")
        for name in ("benefit", "benefit_words"):
            self[name].description = _("Promised to people already: it stays.")


class QuotaForm(FlaskForm):  # type: ignore[misc]
    total_quantity = WholeNumber(_("Quota"), id="quota", validators=[either_number_or_unlimited])
    unlimited = BooleanField(_("Unlimited"), id="quota-unlimited")
    shown_quota = HiddenField()

    @classmethod
    def of(cls, coupon: Coupon) -> "QuotaForm":
        quota = coupon.total_quantity
        return cls(None, obj=coupon, unlimited=quota is None, data={"shown_quota": quota_text(quota)})

    def look(self, row: CouponRow) -> None:
        """Raise InvalidField when another operator has changed the quota since. Sent once more, this one's stands."""
        now, shown = quota_text(row.total_quantity), self.shown_quota.data
        self.shown_quota.data = now
        if shown and now not in (shown, quota_text(self.total_quantity.data)):
            raise overtaken("total_quantity", now)


class ReasonForm(FlaskForm):  # type: ignore[misc]
    reason = StringField(
        _("Reason"),
        filters=[one_line],
        validators=[
            DataRequired(_("Give a reason.")),
            Length(max=REASON_LENGTH, message=_("This is too long.")),
        ],
    )


def _typed_in(field: Field) -> str:
    """Return the text of a field; of a time the one that we would write, because browsers leave out noughts of it."""
    is_time = isinstance(field, KoreanTime) and field.data is not None
    return shown_moment(field.data) if is_time else str(field._value())


def quota_text(quota: int | None) -> str:
    return UNLIMITED if quota is None else str(quota)


def overtaken(name: str, now: str) -> InvalidField:
    """Return what the second of two operators reads: `now` is the text that the first has put into the field."""
    text = gettext("Unlimited") if now == UNLIMITED else now.replace("T", " ") or "–"
    return InvalidField(
        name,
        _(
            "Another operator has changed this meanwhile, to: %(now)s. Save once more to put yours in its place.",
            now=text,
        ),
    )


def shown_moment(moment: datetime) -> str:
    """Return the time as an input of type datetime-local writes it: whole minutes if possible, else milliseconds."""
    text = write_moment(moment)
    # The input takes three decimals of a second, and the column keeps six.
    return text.removesuffix(":00") if "." not in text else text[:-3]


def write_seen(terms: dict[str, str]) -> str:
    """Return the terms that a page shows as the text of a hidden field, which `seen_texts` reads again."""
    return json.dumps(terms)


def seen_texts(text: str | None) -> dict[str, str]:
    """Return the terms in a hidden field. What is no text is left out, and so counts as changed since."""
    return {name: value for name, value in _object(text).items() if isinstance(value, str)}


def _object(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
