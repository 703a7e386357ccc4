"""The pages on which operators find somebody who asks, and read what happened to them."""

from collections.abc import Iterable

from flask import abort, current_app, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _
from werkzeug.wrappers import Response

from webapp.accounts import blocking
from webapp.accounts.names import names_of
from webapp.accounts.owners import RoleRefused
from webapp.sale import receipts, timeline
from webapp.sale.finding import MOST_TYPED, find, newest_coupons
from webapp.sale.reasons import REASONS
from webapp.sale.receipts import Receipt
from webapp.sale.timeline import Chapter
from webapp.stores.sql import db
from webapp.web.addresses import read_id
from webapp.web.admin.coupons import operator_id
from webapp.web.admin.guard import bp
from webapp.web.presenting import exact_text, thousands

PERSON = "/people/<id:user_id>"
WORDS = {
    "usable": _("Number %(number)s won the coupon, and it can be used."),
    "used": _("Number %(number)s won the coupon, and it was used."),
    "expired": _("Number %(number)s won the coupon, which was not used in time."),
    "revoked": _("Number %(number)s won the coupon, and it was taken back: %(reason)s"),
    "rejected": _("Number %(number)s got no coupon. %(reason)s"),
    "lost": _("The place of number %(number)s was lost in a failure, and could not be given back."),
    "waiting": _("Number %(number)s waits in line. Before it: %(ahead)s."),
    "standby": _(
        "The coupons were gone before number %(number)s had its turn. It is number %(place)s of those who get what "
        "comes back."
    ),
}
"""What there is to say of a number, by the verdict of its chapter."""
NOTHING = {
    "unknown": _("SQL knows of no number of this account. The line cannot be asked now."),
    "scheduled": _("There is no number: the coupon has not opened yet."),
    "sold_out": _("There is no number: no click arrived before the coupons were gone."),
    "closed": _("There is no number: no click arrived before the coupon had closed."),
    "open": _("There is no number: no click has arrived yet."),
}
"""Why there is no number, by the state of the coupon."""
SHOWN = {
    "perhaps before": _(
        "Redis has started anew since the decision. Whether a page had shown it before, is not known."
    ),
    "no": _("As far as is known, no page has shown them this yet."),
    "unknown": _("Whether a page has shown them this, is not known any more."),
}
"""What there is to say of whether somebody was told what was decided, where the time alone does not say it."""
PAUSED = _("The sale is paused, and places are kept.")
GONE_AT = _("They were gone at %(time)s.")
LAST_ONE = _("The last one went to number %(number)s.")
LAST_ONE_AT = _("The last one went to number %(number)s, which arrived at %(time)s.")


@bp.get("/people")
def find_people() -> str:
    typed = request.args.get("q", "").strip()[:MOST_TYPED]
    search = find(typed)
    return render_template("admin/find.html", typed=typed, search=search)


@bp.get(PERSON)
def person(user_id: int) -> str | tuple[str, int]:
    user, asked = timeline.person(user_id), request.args.get("coupon", type=read_id)
    chapters = timeline.timeline(user_id, asked)
    if user is None and not any(chapter.events for chapter in chapters):
        abort(404)
    with db.engine.connect() as connection:
        coupons = newest_coupons(connection)
    return render_template(
        "admin/person.html",
        user=user,
        user_id=user_id,
        chapters=chapters,
        asked=asked,
        coupons=coupons,
        operators=names_of(_operators(chapters)),
        receipt=lambda chapter: _receipt(user_id, chapter),
        in_words=in_words,
        shown_words=SHOWN,
    )


@bp.post(f"{PERSON}/<any(block, unblock):step>")
def block_person(user_id: int, step: str) -> Response:
    """Block an account or let it in again. Whoever has a role loses it before that."""
    try:
        (blocking.block if step == "block" else blocking.unblock)(user_id, by=operator_id())
    except LookupError:
        abort(404)
    except RoleRefused:
        flash(gettext("This account has a role. An owner has to take it away first."))
    else:
        if step == "block":
            flash(gettext("The account is blocked, and signed out everywhere."))
    return redirect(url_for("admin.person", user_id=user_id), 303)


def _operators(chapters: Iterable[Chapter]) -> set[int | None]:
    return {event.by for chapter in chapters for event in chapter.events}


def _receipt(user_id: int, chapter: Chapter) -> str | None:
    """Return the signed receipt of the person's number, as their own page shows it."""
    if chapter.number is None or chapter.epoch is None:
        return None
    receipt = Receipt(chapter.coupon.id, user_id, chapter.number, chapter.epoch)
    return receipts.sign(current_app.config["SECRET_KEY"], receipt)


def in_words(chapter: Chapter) -> str:
    """Return the one answer to why the person has the coupon, or does not; it can be read out."""
    said = WORDS.get(chapter.verdict)
    if said is None:
        return _why_nothing(chapter)
    ahead = chapter.ahead or 0
    facts = {
        "number": thousands(chapter.number or 0),
        "reason": REASONS.get(chapter.reason or "", chapter.reason),
        "ahead": thousands(ahead),
        "place": thousands(ahead + 1),
    }
    paused = f" {PAUSED}" if chapter.verdict == "waiting" and chapter.state == "paused" else ""
    return str(said) % facts + paused + (_last_one(chapter) if chapter.verdict == "standby" else "")


def _why_nothing(chapter: Chapter) -> str:
    """Say why there is no number: every click that comes in time leaves one."""
    if not chapter.line_answers:
        return str(NOTHING["unknown"])
    if chapter.sold_out_at is None:
        return str(NOTHING.get(chapter.state, NOTHING["open"]))
    gone = str(GONE_AT) % {"time": exact_text(chapter.sold_out_at)}
    return f"{NOTHING['sold_out']} {gone}{_last_one(chapter)}"


def _last_one(chapter: Chapter) -> str:
    if chapter.last_issued is None:
        return ""
    number, at = thousands(chapter.last_issued), chapter.last_arrived_at
    return f" {LAST_ONE_AT if at else LAST_ONE}" % {"number": number, "time": at and exact_text(at)}
