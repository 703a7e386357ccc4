"""The page that says what a decision will do to how many people, before the button that makes it."""

from collections.abc import Callable, Mapping
from typing import Any

from flask import render_template, request
from flask_babel import lazy_gettext as _

from webapp.line.types import Gate
from webapp.models import Coupon, CouponRow, utcnow
from webapp.proposals import rule
from webapp.sale import consequences
from webapp.sale.consequences import Consequence
from webapp.sale.two_people import needs_two
from webapp.values.moments import write_moment
from webapp.web.presenting import thousands

WORDS = {
    "standby served": _("%(count)s in standby get a coupon now."),
    "standby stays": _("%(count)s stay in standby."),
    "waiting gain": _("%(count)s more of those who wait get one."),
    "waiting lose": _("%(count)s of those who wait would have got one, and get none."),
    "sold out": _("It is sold out at once. Nobody else gets one."),
    "open again": _("It is open again, with %(count)s for whoever comes first."),
    "still served": _("%(count)s who wait are still served, in order."),
    "nobody new": _("Nobody gets a place any more."),
    "ends now": _("It ends at once. Nobody gets a place any more."),
    "comes again": _("It opens again, for %(count)s minutes."),
    "longer": _("People can come for %(count)s minutes more."),
    "shorter": _("People can come for %(count)s minutes less."),
}
WITHOUT_END = _("It is open again, without an end.")
CONCERNED = ("total_quantity", "issue_end_at")
"""The fields of which a change is asked about."""


def sentences(found: list[Consequence]) -> list[str]:
    return [_sentence(each) for each in found]


def _sentence(each: Consequence) -> str:
    if each == ("open again", 0):
        return str(WITHOUT_END)
    return str(WORDS[each.what]) % {"count": thousands(each.number)}


class NotConfirmed(Exception):
    """The change touches somebody, and was not confirmed. `found` is what it does, `mark` names the change.

    `by_two` says that it waits for another operator then.
    """

    def __init__(self, found: list[Consequence], mark: str, *, by_two: bool) -> None:
        super().__init__(mark)
        self.found, self.mark, self.by_two = found, mark, by_two

    def page(self, coupon: Coupon) -> str:
        """Return the page that asks, with everything that was sent."""
        ours = ("csrf_token", "confirmed")
        sent = [(name, text) for name, text in request.form.items(multi=True) if name not in ours]
        words = sentences(self.found)
        return render_template(
            "admin/sure.html",
            coupon=coupon,
            sentences=words,
            sent=sent,
            confirmed=self.mark,
            by_two=self.by_two,
        )


def confirmed(gate: Gate | None) -> Callable[[CouponRow, Mapping[str, Any]], None]:
    """Return what agrees to a change that touches nobody by this gate, or that the form says was confirmed.

    For every other one it raises NotConfirmed.
    """

    def agree(coupon: CouponRow, changed: Mapping[str, Any]) -> None:
        found, mark = effects_of(coupon, gate, changed), _mark(changed)
        if found and request.form.get("confirmed") != mark:
            raise NotConfirmed(found, mark, by_two=rule.is_on() and needs_two(coupon, changed))

    return agree


def effects_of(
    coupon: Coupon | CouponRow, gate: Gate | None, changed: Mapping[str, Any]
) -> list[Consequence]:
    """Return what a change of a coupon does to people by this gate."""
    found = []
    if "total_quantity" in changed:
        found += consequences.of_quota(coupon, gate, changed["total_quantity"])
    if "issue_end_at" in changed:
        found += consequences.of_end(coupon, gate, changed["issue_end_at"], utcnow())
    return found


def _mark(fields: Mapping[str, Any]) -> str:
    """Return the change as a text: what was confirmed is this change, and no other one."""
    told = {name: fields[name] for name in CONCERNED if name in fields}
    return " ".join(
        f"{name}={write_moment(value) if name == 'issue_end_at' else value}" for name, value in told.items()
    )
