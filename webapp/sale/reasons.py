"""The reasons of a rejection in words, for whoever reads them out, and for files."""

from flask_babel import lazy_gettext as _

REASONS = {
    "blocked": _("The account was blocked when its turn came."),
    "deleted": _("The account was deleted before its turn came."),
    "not on the list": _("The person was taken off the list while they waited."),
    "not of these grades": _("The coupon is for members of other grades."),
    "has one of another wave": _(
        "The person has one of another wave already, and everybody gets one over all waves."
    ),
}
"""By the reason that `line_events` and the results keep."""
