"""The page on which operators decide who may have a coupon."""

from collections.abc import Callable
from typing import Any

import redis
from flask import Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from webapp.line.line import Line
from webapp.models import DRAFT, EVERYBODY, Coupon
from webapp.sale import lists
from webapp.sale.audience import PEOPLE
from webapp.sale.coupons import InvalidField
from webapp.sale.members import members_are_whole
from webapp.sale.people_file import PEOPLE_FILE
from webapp.stores.script_redis import line_redis
from webapp.stores.swallowed import swallow
from webapp.web.admin import files
from webapp.web.admin.coupons import COUPON, asked_coupon, operator_id
from webapp.web.admin.guard import UPLOADS, bp

PAGE = f"{COUPON}/people"
SHOWN_FAULTS = 20
MOST_TYPED = 300


@bp.get(PAGE)
def people(coupon_id: int) -> str:
    coupon = asked_coupon(coupon_id)
    upload = files.upload_to_decide(coupon_id, PEOPLE)
    typed = request.args.get("q", "").strip()[:MOST_TYPED]
    return render_template(
        "admin/people.html",
        coupon=coupon,
        counting=lists.counting(coupon_id),
        known=_known(coupon),
        **files.shown(upload),
        typed=typed,
        found=_found(coupon_id, typed),
    )


@bp.post(f"{PAGE}/audience")
def set_audience(coupon_id: int) -> WerkzeugResponse:
    grades = request.form.get("grades", "").split(",")
    audience = request.form.get("audience", "")
    return _decided(
        coupon_id,
        lambda version, by: lists.set_audience(coupon_id, audience, grades, by=by, seen_version=version),
    )


@bp.post(f"{PAGE}/upload")
def upload_people(coupon_id: int) -> WerkzeugResponse:
    asked_coupon(coupon_id)
    sent = files.sent_file()
    if sent is None:
        return _back(coupon_id)
    return _back(coupon_id, upload=files.receive(PEOPLE_FILE, coupon_id, sent, by=operator_id()))


@bp.post(f"{PAGE}/count")
def count_people(coupon_id: int) -> WerkzeugResponse:
    upload_id, replace = files.sent_upload(coupon_id, PEOPLE).id, "replace" in request.form
    return _decided(
        coupon_id,
        lambda version, by: lists.count_people(upload_id, replace=replace, by=by, seen_version=version),
    )


@bp.post(f"{PAGE}/withdraw")
def withdraw_people(coupon_id: int) -> WerkzeugResponse:
    upload_id = files.sent_upload(coupon_id, PEOPLE).id
    return _decided(
        coupon_id, lambda version, by: lists.withdraw_upload(upload_id, by=by, seen_version=version)
    )


@bp.post(f"{PAGE}/add")
def add_person(coupon_id: int) -> WerkzeugResponse:
    return _change_person(coupon_id, lists.add_person)


@bp.post(f"{PAGE}/remove")
def remove_person(coupon_id: int) -> WerkzeugResponse:
    return _change_person(coupon_id, lists.remove_person)


def _change_person(coupon_id: int, verb: Callable[..., bool]) -> WerkzeugResponse:
    typed = request.form.get("person", "")[:MOST_TYPED]
    return _decided(coupon_id, lambda _version, by: verb(coupon_id, typed, by=by), q=typed.strip())


@bp.get(f"{PAGE}/lines/<id:upload_id>.csv")
def lines_of_people(coupon_id: int, upload_id: int) -> Response:
    return files.faults_file(upload_id, coupon_id)


UPLOADS["admin.upload_people"] = files.too_large


def _decided(
    coupon_id: int, decide: Callable[[int | None, int | None], object], **query: Any
) -> WerkzeugResponse:
    """Take a decision of the operator, and say what came of it."""
    coupon = asked_coupon(coupon_id)
    version = request.form.get("version", type=int)
    with files.said("list not told"):
        decide(coupon.audience_version if version is None else version, operator_id())
    return _back(coupon_id, **query)


def _back(coupon_id: int, **query: Any) -> WerkzeugResponse:
    return redirect(url_for("admin.people", coupon_id=coupon_id, **query), 303)


def _known(coupon: Coupon) -> dict[str, Any]:
    """Return what the line knows of the list: `whole`, None when its Redis does not answer, and how many accounts."""
    if coupon.status == DRAFT or coupon.audience == EVERYBODY:
        return {"whole": True, "accounts": None}
    line = Line(line_redis(), coupon.id)
    try:
        whole = members_are_whole(line.gate(), coupon)
        return {"whole": whole, "accounts": line.count_members() if whole else None}
    except redis.RedisError as error:
        swallow("list not shown", error, "the page shows what SQL knows")
        return {"whole": None, "accounts": None}


def _found(coupon_id: int, typed: str) -> bool | None:
    """Say whether the list names whom the operator looks for; None when nobody is looked for."""
    if not typed:
        return None
    try:
        return lists.is_on_list(coupon_id, typed)
    except InvalidField:
        return False
