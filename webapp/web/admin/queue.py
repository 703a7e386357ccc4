"""RQ's dashboard under /admin/rq/, for owners (see `webapp.web.admin.guard.colleagues_only`), with its holes closed.

The dashboard has no guard of its own. It changes state on GET, unpickles data from Redis, prints texts of jobs
unescaped, and makes its own connections. Here it reads JSON only, its writes need a page of ours, and its texts are
escaped.
"""

import re
import secrets
from typing import Any

from flask import Flask, Response, abort, request, url_for
from flask_babel import get_locale, gettext
from flask_wtf.csrf import generate_csrf
from markupsafe import Markup
from redis.exceptions import ResponseError
from rq import Queue, Worker
from rq.exceptions import DeserializationError, InvalidJobOperation, NoSuchJobError, TimeoutFormatError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker
from rq_dashboard import blueprint, web
from werkzeug.exceptions import MethodNotAllowed

from webapp.stores.malformed import ERRORS, is_malformed, set_queue_aside
from webapp.stores.queue import QUEUE_NAME, bell_queue
from webapp.web.errors import problem
from webapp.web.security import csrf

URL_PREFIX = "/admin/rq"
CSRF_COOKIE = "_csrf_token"
"""The cookie with the token that the dashboard's script sends as X-CSRFToken."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
REGISTRIES = frozenset({"queued", "scheduled", "deferred", "started", "finished", "failed", "canceled"})
ORDERS = frozenset({"asc", "dsc"})
MOST_PER_PAGE = 200

UNREADABLE = (
    ValueError,
    AssertionError,
    TimeoutFormatError,
    DeserializationError,
    InvalidJobOperation,
    ResponseError,
)

# An underscore template prints raw with <%= and escaped with <%-. Raw output that starts with $ is escaped already.
_RAW_OUTPUT = re.compile(r"<%=(?!\s*\$)")
_QUEUE_NAME = re.compile(r"[\w.:-]{1,100}", re.ASCII)
_JOB_ID = re.compile(r"[\w-]{1,100}", re.ASCII)
_SCRIPT_TAG = re.compile(r"<script(?=[\s>])")


class ShownJob(Job):
    """A job as the dashboard may see it: read as JSON, whatever the dashboard asks for.

    Pickle would run code that an attacker put into Redis, in the web process, as soon as an operator looked.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args[:2], **options | {"serializer": JSONSerializer})

    def refresh(self) -> None:
        """Read the job. A malformed one counts as missing, and the others are shown."""
        try:
            super().refresh()  # type: ignore[no-untyped-call]
        except ERRORS as error:
            if not is_malformed(error):
                raise
            raise NoSuchJobError(self.id) from error

    def get_call_string(self) -> str | None:
        """Return the description of the job; its data may be malformed, and the page must open all the same."""
        return self.description


class ShownQueue(Queue):
    """A queue without the malformed parts of its data."""

    job_class = ShownJob

    @classmethod
    def all(cls, connection: Any, *_ours: Any, **_alone: Any) -> list[Queue]:
        names = (key.decode(errors="replace") for key in connection.smembers(cls.redis_queues_keys))
        ours = (name.removeprefix(cls.redis_queue_namespace_prefix) for name in names)
        return [cls(name, connection=connection) for name in ours if _QUEUE_NAME.fullmatch(name)]

    def fetch_job(self, job_id: str) -> Job | None:
        try:
            return super().fetch_job(job_id)
        except UNREADABLE:
            return None

    def compact(self) -> None:
        """Remove ids without a job. An empty queue stays as it is."""
        try:
            super().compact()  # type: ignore[no-untyped-call]
        except ResponseError as error:
            if self.count:
                raise error


class ShownWorker(Worker):
    @classmethod
    def all(cls, *args: Any, **options: Any) -> list[BaseWorker]:
        return Worker.all(*args, **options | {"job_class": ShownJob, "serializer": JSONSerializer})


def requeue_shown(job_id: str, connection: Any) -> Job:
    return ShownJob.fetch(job_id, connection=connection).requeue()


def init_app(app: Flask) -> None:
    """Register the dashboard on our own connection to the queue's Redis."""
    app.config["RQ_DASHBOARD_REDIS_URL"] = (QUEUE_NAME,)
    app.redis_conn = app.extensions["bells"]  # type: ignore[attr-defined]
    csrf.exempt(blueprint)  # `_guard` checks instead
    app.register_blueprint(blueprint, url_prefix=URL_PREFIX)


def _guard() -> None:
    # The dashboard would also take a GET, so any link could requeue all jobs.
    if request.endpoint == "rq_dashboard.requeue_all" and request.method != "POST":
        raise MethodNotAllowed(valid_methods=["POST"])
    # Old browsers send no Sec-Fetch-Site, so the dashboard's script sends the token too.
    if request.method not in SAFE_METHODS and request.headers.get("Sec-Fetch-Site") != "same-origin":
        csrf.protect()
    if not _sensible(request.view_args or {}):
        abort(404)


def _sensible(arguments: dict[str, Any]) -> bool:
    """Say whether the dashboard can answer for these parts of the address.

    It computes with the numbers in the address, and writes the queue's name into a script without escaping it.
    """
    per_page, page = str(arguments.get("per_page", 1)), str(arguments.get("page", 1))
    return (
        arguments.get("instance_number", 0) == 0
        and _QUEUE_NAME.fullmatch(arguments.get("queue_name") or QUEUE_NAME) is not None
        and _JOB_ID.fullmatch(arguments.get("job_id", "any")) is not None
        and arguments.get("registry_name") in REGISTRIES | {None}
        and arguments.get("order") in ORDERS | {None}
        and all(number.isascii() and number.isdigit() and len(number) <= 9 for number in (per_page, page))
        and 1 <= int(per_page) <= MOST_PER_PAGE
        and int(page) >= 1
    )


def _harden(response: Response) -> Response:
    """Have the page's templates escape texts, let only the page's own scripts run, and give them the CSRF token.

    A link leads back to the console.
    """
    if response.mimetype != "text/html" or response.direct_passthrough:
        return response
    nonce = secrets.token_urlsafe(16)
    page = _RAW_OUTPUT.sub("<%-", response.get_data(as_text=True)).replace(
        "<body>", f"<body>{_way_back()}", 1
    )
    response.set_data(_SCRIPT_TAG.sub(f'<script nonce="{nonce}"', page))
    response.headers["Content-Security-Policy"] = _content_security_policy(nonce)
    response.set_cookie(
        CSRF_COOKIE, generate_csrf(), path=URL_PREFIX, samesite="Strict", secure=request.is_secure
    )
    return response


def _way_back() -> Markup:
    """Return the link to the console that the dashboard itself does not have."""
    link = '<nav class="container" lang="{}"><a class="d-inline-block py-3" href="{}">{}</a></nav>'
    return Markup(link).format(get_locale(), url_for("admin.index"), gettext("Back to the console"))


def _content_security_policy(nonce: str) -> str:
    # The dashboard's templates are compiled by underscore, which needs eval, and its markup has style attributes.
    return (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )


def _unreadable(error: Exception) -> Response:
    """Answer "unreadable" for malformed data and set it aside; answer "busy" for a Redis that refuses to work.

    The page shows the rest when it is opened again.
    """
    if isinstance(error, ResponseError) and "WRONGTYPE" not in str(error):
        return problem("busy")
    if is_malformed(error):
        set_queue_aside(bell_queue())
    return problem("unreadable")


web.config.serializer = JSONSerializer
web.Job, web.Queue, web.Worker, web.requeue_job = ShownJob, ShownQueue, ShownWorker, requeue_shown
# The dashboard's own hook opens a connection for each request, with a parser that does not know our addresses.
blueprint.before_request_funcs[None] = [_guard]
blueprint.after_request(_harden)
blueprint.register_error_handler(NoSuchJobError, lambda _error: problem("not_found"))
for _kind in {*ERRORS, *UNREADABLE}:
    blueprint.register_error_handler(_kind, _unreadable)
