"""The problems that an answer can tell of: the status and the words of each stable code."""

from typing import NamedTuple

from flask_babel import LazyString
from flask_babel import lazy_gettext as _


class Problem(NamedTuple):
    """The words are translated when they are read, in the language of that request."""

    status: int
    title: LazyString
    detail: LazyString


def problem_of(status: int) -> tuple[str, Problem]:
    """Return the code and the problem of an HTTP error that the framework raised."""
    code = _CODES.get(status, f"http_{status}")
    return code, PROBLEMS.get(code) or Problem(status, *_GENERAL)


_CODES = {404: "not_found", 401: "unauthenticated", 403: "forbidden", 503: "busy"}
_GENERAL = _("This request could not be understood"), _("Open the page again and try once more.")
_FAILED = Problem(
    500,
    _("Something went wrong on our side"),
    _("Your place in line is kept. Please try again in a moment."),
)

PROBLEMS = {
    "not_open": Problem(
        409, _("Not open yet"), _("The coupon has not opened yet. The button opens by itself.")
    ),
    "closed": Problem(410, _("This event has ended"), _("The period for this coupon is over.")),
    "sold_out": Problem(410, _("All coupons are gone"), _("Every coupon has been given out.")),
    "not_eligible": Problem(
        403,
        _("Not eligible"),
        _("This coupon is for people who were invited, or for members of some grades."),
    ),
    "other_wave": Problem(
        409,
        _("You have one already"),
        _("Everybody gets one over all waves, and you have one of another wave."),
    ),
    "not_found": Problem(
        404, _("Not found"), _("There is nothing at this address. The link may be old or mistyped.")
    ),
    "no_ticket": Problem(
        404,
        _("You have no number here"),
        _(
            "There is no receipt, because no request of yours got a number in this line. Requests before the "
            "start, after the end, or when all coupons are gone get none."
        ),
    ),
    "unauthenticated": Problem(401, _("Please sign in"), _("Sign in to take part.")),
    "forbidden": Problem(
        403,
        _("Not allowed"),
        _("Your account may not do this, and nothing was done. If it is part of your work, ask an owner."),
    ),
    "role_ended": Problem(
        403,
        _("Please sign in again"),
        _("You were signed out, or your role was changed. What you just asked for was not done."),
    ),
    "invitation_unknown": Problem(
        404,
        _("This is no invitation"),
        _("The link may have been cut on its way. Ask for it once more, or for a new one."),
    ),
    "invitation_proposed": Problem(
        409,
        _("This invitation is not open yet"),
        _("Another owner has not confirmed it yet. Open the link once more in a few minutes."),
    ),
    "invitation_withdrawn": Problem(
        410,
        _("This invitation was withdrawn"),
        _("Whoever invited you has taken it back, or may not invite any more. Ask an owner for a new one."),
    ),
    "invitation_used": Problem(
        410,
        _("This invitation was used"),
        _("An invitation works once. If it was not you who used it, tell an owner; else ask for a new one."),
    ),
    "invitation_too_old": Problem(
        410,
        _("This invitation is too old"),
        _("An invitation is good for 7 days. Ask an owner for a new one."),
    ),
    "invitation_less": Problem(
        409,
        _("Your account may do more already"),
        _("This invitation would take rights from your account. It stays open for somebody else."),
    ),
    "invitation_blocked": Problem(
        403, _("This account is blocked"), _("A blocked account takes no role. Please ask our support.")
    ),
    "bad_csrf": Problem(
        400,
        _("Please try again"),
        _("The page was out of date. Open it again and press the button once more."),
    ),
    "bad_host": Problem(
        400,
        _("This is not our address"),
        _("This page does not exist under this name. Open it by its usual address."),
    ),
    "wrong_credentials": Problem(401, _("Not signed in"), _("The e-mail address or the password is wrong.")),
    "limited": Problem(
        429, _("Please wait a moment"), _("That was too often in a short time. Please try again later.")
    ),
    "email_taken": Problem(
        409,
        _("This e-mail address is taken"),
        _("This e-mail address has an account already. Sign in instead."),
    ),
    "invalid": Problem(
        422,
        _("Please check what you typed"),
        _("Something is missing or not right. Each field says what."),
    ),
    "unreadable": Problem(
        422,
        _("This cannot be shown"),
        _("What Redis holds here is not as we write it, or not in a state for this."),
    ),
    "busy": Problem(503, _("Very busy"), _("Very busy. Retrying automatically")),
    "error": _FAILED,
    "http_500": _FAILED,
    "http_405": Problem(
        405,
        _("This address takes another kind of request"),
        _("Open the page again and use its button."),
    ),
    "http_413": Problem(
        413,
        _("That was too much"),
        _("What you sent is too large. Please shorten it and send it again."),
    ),
}
