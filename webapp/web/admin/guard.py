"""The guard of every address under /admin/."""

from collections.abc import Callable

from flask import Blueprint, abort, g, request, session
from flask_login import current_user
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Response

from webapp.accounts.roles import may
from webapp.accounts.visitor import read_visitor, signed_in_user
from webapp.models import USER
from webapp.values.sheets import MOST_BYTES
from webapp.web.errors import problem
from webapp.web.rights import right_of
from webapp.web.security import csrf

bp = Blueprint("admin", __name__, url_prefix="/admin")
FORM_BYTES = 1024 * 1024
"""The most bytes of an operator's form. A field that holds too much then says so itself, instead of a 413."""
FILE_BYTES: dict[str | None, int] = {}
"""The most bytes of a form that brings a file, by endpoint."""

UPLOADS: dict[str, Callable[[], Response]] = {}
"""The endpoints that take files, each with the answer to a file that is too large."""

WITHOUT_SQL: set[str | None] = set()
"""The endpoints that answer operators also while SQL is away: they only look, and say so themselves."""

csrf.exempt(bp)  # `colleagues_only` checks the token, after the role: others must get a 404 and not a 400


@bp.before_app_request
def colleagues_only() -> Response | None:
    """Answer under /admin/ only those whose role, as SQL has it now, gives the right that the address needs.

    Who has no role hears 404, for known and unknown addresses: the check comes before the routing's own answers, so
    that a 405 or a redirect gives nothing away either. Who has another role hears 403 in words, and so does who had
    one when the page was opened.
    """
    # With a slash behind, so that /admin counts and /administrator does not.
    if not f"{request.path}/".startswith("/admin/"):
        return None
    had_a_role = _role_of_session() != USER  # asked first: a session that ended is emptied
    role = _role()
    if role == USER:
        return problem("role_ended") if had_a_role else abort(404)
    g.role = role
    if not may(role, right_of(request.endpoint, request.method, queue=_is_of_queue())):
        return problem("forbidden")
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


def _role_of_session() -> str:
    """Return the role that the session carries, whether or not it has ended."""
    visitor = read_visitor(str(session.get("_user_id", "")))
    return visitor.role if visitor else USER


def _is_of_queue() -> bool:
    return f"{request.path}/".startswith("/admin/rq/")


def _role() -> str:
    """Return the visitor's role as SQL says now, USER for nobody. Raises SQLAlchemyError.

    While SQL is away the signed session says it to pages that only look. A session that ended does not count there
    either, because each process knows which have.
    """
    try:
        user = signed_in_user()
    except SQLAlchemyError:
        if request.endpoint not in WITHOUT_SQL:
            raise
        return str(current_user.role) if current_user.is_authenticated else USER
    return user.role if user else USER
