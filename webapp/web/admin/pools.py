"""The page on which operators give a coupon codes of their own."""

from collections.abc import Callable
from typing import Any

from flask import Response, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from webapp.models.uploads import CHECKED
from webapp.sale import pools
from webapp.sale.coupons import InvalidField
from webapp.sale.drawing import CODES
from webapp.sale.pool_file import POOL_FILE
from webapp.web.admin import files
from webapp.web.admin.coupons import COUPON, asked_coupon, operator_id
from webapp.web.admin.guard import UPLOADS, bp

PAGE = f"{COUPON}/codes"
SHOWN_FAULTS = 20


@bp.get(PAGE)
def codes(coupon_id: int) -> str:
    coupon, upload, taken = (
        asked_coupon(coupon_id),
        files.upload_to_decide(coupon_id, CODES),
        pools.files_of(coupon_id),
    )
    is_checked = upload is not None and upload.state == CHECKED
    return render_template(
        "admin/pool.html",
        coupon=coupon,
        pool=pools.pool_of(coupon),
        ours_given=pools.has_given_ours(coupon),
        files=[(each, pools.is_untouched(coupon, each)) for each in taken],
        seen=pools.told(taken),
        lengths=pools.lengths_of(upload.id) if upload and is_checked else None,
        **files.shown(upload),
    )


@bp.post(f"{PAGE}/upload")
def upload_codes(coupon_id: int) -> WerkzeugResponse:
    asked_coupon(coupon_id)
    sent = files.sent_file()
    if sent is None:
        return _back(coupon_id)
    try:
        return _back(coupon_id, upload=files.receive(POOL_FILE, coupon_id, sent, by=operator_id()))
    except InvalidField as error:
        flash(str(error))
        return _back(coupon_id)


@bp.post(f"{PAGE}/count")
def count_codes(coupon_id: int) -> WerkzeugResponse:
    return _decided(coupon_id, pools.count_codes)


@bp.post(f"{PAGE}/withdraw")
def withdraw_codes(coupon_id: int) -> WerkzeugResponse:
    return _decided(coupon_id, pools.withdraw_codes)


@bp.get(f"{PAGE}/lines/<id:upload_id>.csv")
def lines_of_codes(coupon_id: int, upload_id: int) -> Response:
    return files.faults_file(upload_id, coupon_id)


UPLOADS["admin.upload_codes"] = files.too_large


def _decided(coupon_id: int, verb: Callable[..., None]) -> WerkzeugResponse:
    """Take a decision of the operator about a file of this coupon, and say what came of it."""
    upload = files.sent_upload(coupon_id, CODES)
    with files.said("pool not told"):
        verb(upload.id, by=operator_id(), seen=request.form.get("seen", ""))
    return _back(coupon_id)


def _back(coupon_id: int, **query: Any) -> WerkzeugResponse:
    return redirect(url_for("admin.codes", coupon_id=coupon_id, **query), 303)
