"""The guard of every address under /admin/."""

from collections.abc import Callable

from flask import Blueprint, abort, request
from werkzeug.wrappers import Response

from webapp.accounts.visitor import signed_in_user
from webapp.values.sheets import MOST_BYTES
from webapp.web.security import csrf

bp = Blueprint("admin", __name__, url_prefix="/admin")
FORM_BYTES = 1024 * 1024
"""The most bytes of an operator's form. A field that holds too much then says so itself, instead of a 413."""
FILE_BYTES: dict[str | None, int] = {}
"""The most bytes of a form that brings a file, by endpoint."""

UPLOADS: dict[str, Callable[[], Response]] = {}
"""The endpoints that take files, each with the answer to a file that is too large."""

csrf.exempt(bp)  # `operators_only` checks the token, after the role: others must get a 404 and not a 400


@bp.before_app_request
def operators_only() -> Response | None:
    """Answer 404 under /admin/, for known and unknown addresses, unless SQL says now that the visitor is an operator.

    The check comes before the routing's own answers, so that a 405 or a redirect gives nothing away either.
    """
    # With a slash behind, so that /admin counts and /administrator does not.
    if not f"{request.path}/".startswith("/admin/"):
        return None
    user = signed_in_user()
    if user is None or not user.is_operator:
        abort(404)
    if request.blueprint == bp.name:
        request.max_form_memory_size = FORM_BYTES
        request.max_content_length = FILE_BYTES.get(request.endpoint, FORM_BYTES)
        if request.endpoint in UPLOADS:
            # Said before anything of it is read, by a form that carries more than a file may.
            request.max_content_length = MOST_BYTES + FORM_BYTES
            if (request.content_length or 0) > request.max_content_length:
                return UPLOADS[request.endpoint]()
        csrf.protect()
        if request.is_json:
            abort(415)  # a form would take JSON values of any type for its fields
    return None
