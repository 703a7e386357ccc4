"""The pages on which operators read who decided what: of everything, and of one campaign."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import render_template, request
from flask_babel import gettext
from flask_babel import lazy_gettext as _
from sqlalchemy import Row

from webapp.accounts.names import account_of, names_of
from webapp.log.reading import Filter, latest
from webapp.log.verbs import VERBS
from webapp.sale.exports import NAMES as FILES
from webapp.sale.pause_message import TEMPLATES
from webapp.sale.waves import waves_of
from webapp.values.moments import DAY, read_moment
from webapp.web.addresses import read_id
from webapp.web.admin.coupons import COUPON, asked_coupon
from webapp.web.admin.guard import bp
from webapp.web.presenting import exact_text, thousands
from webapp.web.rights import NAMES

PER_PAGE = 50
WORDS = {
    "create coupon": _("Made the coupon"),
    "duplicate coupon": _("Made the coupon as a duplicate"),
    "change coupon": _("Changed the coupon"),
    "change quota": _("Changed the quota"),
    "publish": _("Published the coupon"),
    "pause": _("Paused the sale"),
    "resume": _("Resumed the sale"),
    "close": _("Closed the sale"),
    "write texts": _("Changed the texts"),
    "set picture": _("Changed the picture"),
    "make waves": _("Made the waves"),
    "roll over": _("The leftover went to the next wave"),
    "archive": _("Put into the archive"),
    "unarchive": _("Brought back from the archive"),
    "set audience": _("Changed who may have it"),
    "count list": _("Took over a list of people"),
    "withdraw list": _("Took a file off the list of people"),
    "add person": _("Added a person to the list"),
    "remove person": _("Took a person off the list"),
    "count codes": _("Put codes into the pool"),
    "withdraw codes": _("Took codes out of the pool"),
    "count members": _("Took over a file of members"),
    "set member": _("Changed a member's key or grade"),
    "ask for rehearsal": _("Asked for a rehearsal"),
    "stop rehearsal": _("Stopped the rehearsal"),
    "undo use": _("Undid the use of a code"),
    "revoke": _("Took a coupon back"),
    "export": _("Made a file for Excel"),
    "block": _("Blocked an account"),
    "unblock": _("Let an account in again"),
    "create account": _("Made an account"),
    "set password": _("Set a password"),
    "rename account": _("Renamed an account"),
    "delete account": _("Deleted an account"),
    "anonymise": _("Anonymised an account"),
    "grant role": _("Changed a role"),
    "invite": _("Invited a colleague"),
    "withdraw invitation": _("Withdrew an invitation"),
    "take invitation": _("Took the role of an invitation"),
    "propose": _("Asked for a decision of two"),
    "confirm": _("Confirmed a proposal"),
    "decline": _("Declined a proposal"),
    "withdraw": _("Withdrew a proposal"),
}
"""What the pages say for each verb."""
FIELDS = {
    "title": _("Title"),
    "title_en": _("Title in English"),
    "total_quantity": _("Quota"),
    "status": _("Status"),
    "issue_start_at": _("Opens"),
    "issue_end_at": _("Closes"),
    "valid_until": _("Valid until"),
    "discount_amount": _("Amount in won"),
    "min_available_amount": _("Least purchase in won"),
    "standby_limit": _("Places in standby"),
    "role": _("Role"),
    "invitation": _("Invitation"),
    "picture": _("Picture"),
    "audience": _("Who may have it"),
    "people": _("People"),
    "codes": _("Codes"),
    "number": _("Ticket number"),
    "benefit": _("Benefit"),
    "discount_percent": _("Percent"),
    "discount_cap": _("At most in won"),
    "benefit_words": _("Benefit in words"),
    "benefit_words_en": _("Benefit in words (English)"),
    "language": _("Language"),
    "description": _("Description"),
    "terms": _("Terms"),
    "place": _("Where to use it"),
    "contact": _("Contact"),
    "grades": _("Grades"),
    "grade": _("Grade"),
    "has_key": _("Has a member key"),
    "upload": _("Number of the file"),
    "replaces": _("In place of the list before"),
    "coupons": _("Coupons"),
    "quota": _("Quota of each wave"),
    "times": _("Opens"),
    "waves": _("Waves"),
    "one_each": _("One for each person"),
    "rolls_over": _("Leftover goes to the next wave"),
    "of": _("Duplicate of coupon"),
    "to": _("To coupon"),
    "rolled_out": _("Leftover"),
    "seconds": _("Seconds"),
    "paused_at": _("Paused since"),
    "promised_at": _("Promised to go on at"),
    "pause_template": _("Message"),
    "pause_ko": _("Message in own words"),
    "pause_en": _("Message in own words (English)"),
    "used_at": _("Used at"),
    "used_by": _("Used by account"),
    "proposal": _("Proposal"),
    "deed": _("What was asked for"),
    "asked_by": _("Asked for by account"),
    "file": _("File"),
}
"""What the pages say for those fields that people ask about; others are told by their names."""
STATUSES = {"draft": _("Draft"), "live": _("Live"), "paused": _("Paused"), "closed": _("Closed")}
WORDS_OF = {"role": NAMES, "status": STATUSES, "pause_template": TEMPLATES, "deed": WORDS, "file": FILES}
"""What the pages say for the values of a field that have names."""
MOMENTS = frozenset({"issue_start_at", "issue_end_at", "valid_until", "used_at", "paused_at", "promised_at"})


@bp.get("/log")
def whole_log() -> str:
    return _page(None)


@bp.get(f"{COUPON}/log")
def coupon_log(coupon_id: int) -> str:
    """Show the log of a coupon, with that of all waves of its campaign."""
    return _page(coupon_id)


def _page(coupon_id: int | None) -> str:
    coupon = None if coupon_id is None else asked_coupon(coupon_id)
    coupons = None if coupon is None else tuple(wave.id for wave in waves_of(coupon))
    wrong, facts = _asked()
    below = request.args.get("below", type=read_id)
    rows = [] if wrong else latest(Filter(coupons=coupons, **facts), most=PER_PAGE + 1, below=below)
    shown = rows[:PER_PAGE]
    return render_template(
        "admin/log.html",
        coupon=coupon,
        rows=shown,
        names=names_of(who for row in shown for who in (row.actor_id, row.user_id)),
        wrong=wrong,
        verbs={verb: WORDS[verb] for verb in VERBS},
        changes=changes,
        older=shown[-1].id if len(rows) > PER_PAGE else None,
    )


def _asked() -> tuple[dict[str, str], dict[str, Any]]:
    """Return what is wrong with the form, by field, and what it asks for."""
    wrong: dict[str, str] = {}
    facts: dict[str, Any] = {}
    if email := request.args.get("person", "").strip():
        facts["person"] = account_of(email)
        if facts["person"] is None:
            wrong["person"] = gettext("There is no account with this address.")
    if day := request.args.get("day", "").strip():
        try:
            facts["since"] = read_moment(day)
            facts["until"] = facts["since"] + DAY
        except ValueError:
            wrong["day"] = gettext("Write a day like 2026-12-01.")
    if (verb := request.args.get("verb", "")) in VERBS:
        facts["verb"] = verb
    return wrong, facts


def changes(row: Row[Any]) -> list[tuple[str, str, str]]:
    """Return what a row has changed: field, what was and what is, in words; "" for what was or is not told."""
    before, after = (json.loads(text or "{}") for text in (row.before, row.after))
    return [
        (str(FIELDS.get(name, name)), _told(name, before), _told(name, after))
        for name in dict.fromkeys((*before, *after))
    ]


def _told(name: str, values: Mapping[str, Any]) -> str:
    return worded(name, values[name]) if name in values else ""


def worded(name: str, value: Any) -> str:
    """Return the value of a field in words; a time is one, or its text."""
    if name in MOMENTS and value is not None:
        return exact_text(value if isinstance(value, datetime) else datetime.fromisoformat(value))
    if isinstance(value, dict):
        return str(gettext("%(count)s characters", count=thousands(value.get("characters", 0))))
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if name == "total_quantity" and value is None:
        return str(gettext("Unlimited"))
    words = {None: gettext("none"), True: gettext("yes"), False: gettext("no")}
    if value is None or isinstance(value, bool):
        return str(words[value])
    return thousands(value) if isinstance(value, int) else str(WORDS_OF.get(name, {}).get(value, value))
