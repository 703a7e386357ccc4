"""The right that each address of operators needs, and the words for roles."""

from flask import Flask, g, has_request_context, url_for
from flask_babel import lazy_gettext as _
from flask_login import current_user

from webapp.accounts import roles
from webapp.accounts.roles import CHANGE, LOOK, QUEUE, REDEEM, TEAM
from webapp.models import OPERATOR, OWNER, TILL, USER, VIEWER

READING = frozenset({"GET", "HEAD"})
NEEDED = {
    "admin.redeem": REDEEM,
    "admin.use": REDEEM,
    "admin.undo_use": REDEEM,
    "admin.new": CHANGE,
    "admin.ask": CHANGE,
    "admin.duplicate": CHANGE,
    "admin.lines_of_codes": CHANGE,
    "admin.exports": CHANGE,  # the files name people, and hold codes
    "admin.export_file": CHANGE,
    "admin.revocations": CHANGE,
    "admin.team": TEAM,
    "admin.add_role": TEAM,
    "admin.change_role": TEAM,
    "admin.invite": TEAM,
    "admin.withdraw_invitation": TEAM,
}
"""The right that an endpoint needs. Whatever is not here needs LOOK to be read, and CHANGE to be sent something."""

NAMES = {
    OWNER: _("Owner"),
    OPERATOR: _("Operator"),
    TILL: _("Till"),
    VIEWER: _("Viewer"),
    USER: _("No role"),
}
MEANS = {
    OWNER: _("May do everything, and decides who has which role."),
    OPERATOR: _("Makes campaigns and runs them, and uses and revokes codes."),
    TILL: _("Checks and uses codes, and sees no other page."),
    VIEWER: _("Sees every campaign and every person, changes nothing, and sees no codes."),
}
"""What each role may do, in words."""


def init_app(app: Flask) -> None:
    app.jinja_env.globals.update(may=may)
    app.jinja_env.globals.update(role_names=NAMES, role_means=MEANS)


def right_of(endpoint: str | None, method: str, *, queue: bool = False) -> str:
    """Return the right that a request needs; `queue` for the dashboard of the queue."""
    if queue:
        return QUEUE
    return NEEDED.get(endpoint or "", LOOK if method in READING else CHANGE)


def role_now() -> str:
    """Return the visitor's role: as SQL told the guard of this request, else as the session has it."""
    if not has_request_context():
        return USER
    return str(g.get("role") or getattr(current_user, "role", USER))


def may(right: str) -> bool:
    """Say whether the visitor has a right, for pages: what they may not do is not shown."""
    return roles.may(role_now(), right)


def home_of(role: str) -> str:
    """Return the address that somebody with this role begins at."""
    if roles.may(role, LOOK):
        return url_for("admin.index")
    return url_for("admin.redeem" if roles.may(role, REDEEM) else "coupons.index")
