"""The pages on which operators write what a campaign says, and upload its picture."""

import json

from flask import flash, redirect, render_template, request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import HiddenField, StringField, TextAreaField

from webapp.models import Coupon
from webapp.sale import content as contents
from webapp.sale.content import ChangedMeanwhile, Content, mark_of, set_content
from webapp.sale.coupons import InvalidField
from webapp.sale.pictures import set_picture
from webapp.values.pictures import MOST_BYTES
from webapp.web.admin.coupons import COUPON, asked_coupon, blame, operator_id
from webapp.web.admin.guard import FILE_BYTES, bp
from webapp.web.presenting import LANGUAGES

FILE_BYTES["admin.picture"] = (
    MOST_BYTES + 1024 * 1024
)  # so that a file that is a little too large is told so in words
MARKDOWN = _(
    "**bold**, *italic*, - a list, # a heading, [a link](https://example.com). HTML is shown as it is typed."
)


class ContentForm(FlaskForm):  # type: ignore[misc]
    """The texts of one language; `shown` holds the marks of what the page showed."""

    title = StringField(_("Title"))
    description = TextAreaField(_("Description"), description=MARKDOWN)
    terms = TextAreaField(
        _("Terms"), description=_("In Markdown, too. They are on the coupon's page in every state.")
    )
    place = StringField(_("Where to use it"))
    contact = StringField(_("Contact"), description=_("Whom people ask: a telephone number, an address."))
    shown = HiddenField()

    def texts(self) -> dict[str, str]:
        return {name: self[name].data or "" for name in contents.FIELDS}

    def marks(self) -> dict[str, str]:
        """Return the marks that the page carried; without any, nothing counts as seen."""
        try:
            found = json.loads(self.shown.data or "{}")
        except (ValueError, RecursionError):
            found = {}
        carried = found if isinstance(found, dict) else {}
        return {name: str(carried.get(name, "")) for name in contents.FIELDS}

    def show(self, now: Content) -> None:
        """Have the page carry the marks of what stands now."""
        self.shown.data = json.dumps({name: mark_of(getattr(now, name)) for name in contents.FIELDS})


@bp.route(f"{COUPON}/content", methods=["GET", "POST"], defaults={"lang": "ko"})
@bp.route(f"{COUPON}/content/<any({', '.join(contents.LANGUAGES)}):lang>", methods=["GET", "POST"])
def content(coupon_id: int, lang: str) -> Response | tuple[str, int]:
    coupon = asked_coupon(coupon_id)
    written = contents.content_of(coupon)[lang]
    form = ContentForm(data=vars(written))
    if request.method != "POST":
        return _page(coupon, lang, form)
    try:
        if form.validate():
            set_content(coupon_id, lang, form.texts(), by=operator_id(), shown=form.marks())
            flash(gettext("Saved."))
            return redirect(url_for("admin.content", coupon_id=coupon_id, lang=lang), 303)
    except InvalidField as error:
        blame(form, error)
        return _page(coupon, lang, form, error)
    return _page(coupon, lang, form)


def _page(coupon: Coupon, lang: str, form: ContentForm, error: InvalidField | None = None) -> tuple[str, int]:
    """Show the form. What somebody else wrote meanwhile is shown beside it, and counts as seen from then on."""
    written = contents.content_of(coupon)
    if error is None or isinstance(error, ChangedMeanwhile):
        form.show(written[lang])
    page = render_template(
        "admin/content.html",
        coupon=coupon,
        lang=lang,
        names=LANGUAGES,
        form=form,
        said=contents.said_in(lang, written),
        meanwhile=error.now if isinstance(error, ChangedMeanwhile) else None,
    )
    return page, 422 if error or form.errors else 200


@bp.route(f"{COUPON}/picture", methods=["GET", "POST"])
def picture(coupon_id: int) -> Response | tuple[str, int]:
    coupon, wrong = asked_coupon(coupon_id), None
    if request.method == "POST":
        file = request.files.get("picture")
        data = None if "remove" in request.form else file.read() if file else b""
        try:
            set_picture(coupon_id, data, by=operator_id(), shown=request.form.get("shown"))
        except InvalidField as error:
            wrong, coupon = str(error), asked_coupon(coupon_id)
        else:
            flash(gettext("Saved."))
            return redirect(url_for("admin.picture", coupon_id=coupon_id), 303)
    return render_template("admin/picture.html", coupon=coupon, wrong=wrong), 422 if wrong else 200
