"""The forms that pause and resume a coupon. Each knows which pause its page showed."""

from flask_babel import lazy_gettext as _
from flask_wtf import FlaskForm
from wtforms import BooleanField, HiddenField, SelectField, StringField
from wtforms.fields.choices import SelectChoice

from webapp.models import PAUSED, Coupon, CouponRow
from webapp.sale.coupons import InvalidField
from webapp.sale.pause_message import TEMPLATES, PauseMessage
from webapp.values.texts import one_line
from webapp.web.admin.forms import KoreanTime

RESUMED = _("Another operator has resumed it meanwhile, and it goes on. The message was not changed.")
PAUSED_ANEW = _("Another operator has paused it anew meanwhile. It stays paused; look at it once more.")
FIRST_PAUSE = "unknown"
"""Marks a pause of which nobody knows since when it lasts."""


def mark_of(coupon: Coupon | CouponRow) -> str:
    """Return a text that names the pause which the coupon is in, "" for none."""
    if coupon.status != PAUSED:
        return ""
    return coupon.paused_at.isoformat() if coupon.paused_at else FIRST_PAUSE


class WithoutToken(FlaskForm):  # type: ignore[misc]
    """A form that does not look at the token, which every POST needs: a pause fails by nothing else."""

    class Meta:
        csrf = False


class PauseForm(WithoutToken):
    """What a pause says; every field may stay empty."""

    pause_template = SelectField(
        _("Message"),
        choices=[SelectChoice("", _("No message")), *(SelectChoice(*each) for each in TEMPLATES.items())],
        validate_choice=False,  # the verb says what is wrong with it
    )
    pause_ko = StringField(
        _("Or in your own words"),
        description=_("They go before the message that was chosen."),
        filters=[one_line],
    )
    pause_en = StringField(
        _("The same in English"),
        description=_("Empty: the words above are shown in English, too."),
        filters=[one_line],
    )
    promised_at = KoreanTime(
        _("Goes on at"),
        description=_(
            "May stay empty. People see a countdown, and when it has passed, that it takes longer."
        ),
    )
    seen_pause = HiddenField()

    @classmethod
    def of(cls, coupon: Coupon) -> "PauseForm":
        return cls(None, obj=coupon, data={"seen_pause": mark_of(coupon)})

    def message(self) -> PauseMessage | None:
        """Return the message; None for an empty form of a page that showed no pause: it takes no message away."""
        found = PauseMessage(
            self.pause_template.data or "", self.pause_ko.data, self.pause_en.data, self.promised_at.data
        )
        return found if any(found) or self.seen_pause.data else None

    def look(self, row: CouponRow) -> None:
        """Raise InvalidField where this form would change the message of a pause that is over."""
        if self.seen_pause.data and mark_of(row) != self.seen_pause.data:
            raise InvalidField("status", PAUSED_ANEW if mark_of(row) else RESUMED)


class ResumeForm(WithoutToken):
    extend = BooleanField(_("Extend the period by the length of the pause"))
    seen_pause = HiddenField(id="resumed-pause")

    @classmethod
    def of(cls, coupon: Coupon) -> "ResumeForm":
        return cls(None, data={"seen_pause": mark_of(coupon)})

    def look(self, row: CouponRow) -> None:
        """Raise InvalidField where the coupon is in another pause than the one that this form's page showed."""
        if self.seen_pause.data and mark_of(row) not in ("", self.seen_pause.data):
            raise InvalidField("status", PAUSED_ANEW)
