"""What stands around a coupon's page: its picture, an entry for calendars, a page to share it, and help."""

from datetime import timedelta

from flask import Blueprint, Response, abort, render_template, url_for
from flask_babel import gettext as _

from webapp.models import DRAFT, Coupon
from webapp.sale import pictures
from webapp.sale.coupons import coupon_by_id
from webapp.sale.outcomes import Refused
from webapp.web.addresses import COUPON
from webapp.web.presenting import gives, titled

bp = Blueprint("content", __name__)
FOR_EVER = "public, max-age=31536000, immutable"
"""Cache-Control of what stands under a hash of its contents."""
ENTRY_LASTS = timedelta(minutes=10)
REMINDED = timedelta(minutes=-10)


@bp.get(f"/pictures/<name>-<any({', '.join(pictures.SIZES)}):size>.jpg")
def picture(name: str, size: str) -> Response:
    try:
        body = pictures.jpeg(name, size)
    except LookupError:
        abort(404)
    return Response(body, content_type="image/jpeg", headers={"Cache-Control": FOR_EVER})


@bp.get(f"/coupons/{COUPON}/calendar.ics")
def calendar(coupon_id: int) -> Response:
    """Answer with the opening as an entry for any calendar, which reminds ten minutes before."""
    coupon = _shown(coupon_id)
    name = f"firstcome-{coupon_id}.ics"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-cache"}
    return Response(_entry(coupon), content_type="text/calendar; charset=utf-8", headers=headers)


@bp.get(f"/coupons/{COUPON}/share")
def share(coupon_id: int) -> str:
    address = url_for("coupons.show", coupon_id=coupon_id, _external=True)
    return render_template("coupons/share.html", coupon=_shown(coupon_id), address=address)


@bp.get("/help")
def help_page() -> str:
    return render_template("help.html")


def _shown(coupon_id: int) -> Coupon:
    """Return a coupon that visitors may see."""
    coupon = coupon_by_id(coupon_id)
    if coupon is None or coupon.status == DRAFT:
        raise Refused("not_found")
    return coupon


def _entry(coupon: Coupon) -> bytes:
    # icalendar takes 4 MB of a process, and few processes ever need it.
    from icalendar import Alarm, Calendar, Event

    address = url_for("coupons.show", coupon_id=coupon.id, _external=True)
    entry = Event.new(
        uid=address,
        sequence=coupon.revision,
        stamp=coupon.created_at,
        start=coupon.issue_start_at,
        end=coupon.issue_start_at + ENTRY_LASTS,
        summary=titled(coupon),
        description="\n".join(filter(None, [gives(coupon), _("Sign in early to save time"), address])),
        url=address,
    )
    reminder = Alarm()
    reminder.add("action", "DISPLAY")
    reminder.add("description", titled(coupon))
    reminder.add("trigger", REMINDED)
    entry.add_component(reminder)
    whole = Calendar.new(prodid="-//FirstCome//", name=titled(coupon))
    whole.add_component(entry)
    return bytes(whole.to_ical())
