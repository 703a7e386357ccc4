"""The preview of a coupon's page, for colleagues who have its link."""

from flask import Blueprint, Response, current_app, make_response, render_template, request
from flask_babel import get_locale

from webapp.sale.content import content_of, said_in
from webapp.sale.coupons import coupon_by_id
from webapp.sale.previews import STATES, preview, read_preview
from webapp.sale.waves import place_of
from webapp.web.pages.coupons import offer_of
from webapp.web.security import KEPT_BY_NOBODY

bp = Blueprint("preview", __name__)


@bp.get("/preview")
def show() -> Response:
    """Show the page in the state that was asked for. The key stands in the query, which no log keeps."""
    key = request.args.get("key", "")
    found = read_preview(current_app.config["SECRET_KEY"], key)
    coupon = coupon_by_id(found[0]) if found else None
    if found is None or coupon is None:
        return _unkept(render_template("coupons/preview_over.html"), 410)
    state = request.args.get("state", "")
    seen = preview(coupon, state if state in STATES else "scheduled")
    page = render_template(
        "coupons/show.html",
        offer=offer_of(coupon, seen.line.state, seen.line.issued, preview=True, place=place_of(coupon)),
        said=said_in(str(get_locale()), content_of(coupon)),
        signed_in=seen.signed_in,
        ticket=seen.ticket,
        held=seen.held,
        last_issued=seen.last_issued,
        line=seen.line,
        states=list(STATES),
        shown_state=seen.state,
        key=key,
        until=found[1],
    )
    return _unkept(page, 200)


def _unkept(page: str, status: int) -> Response:
    response = make_response(page, status)
    response.headers["Cache-Control"] = KEPT_BY_NOBODY
    response.headers["X-Robots-Tag"] = "noindex"
    return response
