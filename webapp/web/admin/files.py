"""Files that operators send from the console: a small one is read at once, a large one by a process of its own."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import BinaryIO

import redis
from flask import Response, abort, current_app, flash, redirect, request
from flask_babel import LazyString, gettext
from flask_babel import lazy_gettext as _
from sqlalchemy import select
from werkzeug.datastructures import FileStorage
from werkzeug.wrappers import Response as WerkzeugResponse

from webapp.models import Upload, utcnow
from webapp.models.uploads import CHECKED, READING, REFUSED
from webapp.sale import uploads
from webapp.sale.coupons import InvalidField
from webapp.sale.lists import NotCounted
from webapp.sale.outcomes import Refused
from webapp.sale.uploads import KEPT, Kind
from webapp.stores.sql import db
from webapp.stores.swallowed import swallow
from webapp.values.sheets import MOST_BYTES, write_table
from webapp.web.addresses import read_id
from webapp.web.admin.coupons import SAVED_ONLY

SHOWN_FAULTS = 20
READ_AT_ONCE = 64 * 1024
"""Bytes that a request reads itself: some thousand lines. For more, a click would wait behind it."""
SQL_ANSWER_S = "60"
"""Seconds that the process may wait for SQL. The web server's own limit is for people who wait."""
MB = 1024 * 1024
WHY: dict[str, LazyString] = {
    "empty": _("The file is empty."),
    "no_rows": _("There is no line in it but the first one, which names the columns."),
    "nothing_good": _("No line of it can be taken. The lines and the reasons are below."),
    "too_large": _(
        "It is larger than %(most)s MB. Split it, and send one part after the other.",
        most=MOST_BYTES // MB,
    ),
    "excel": _(
        "This is an Excel workbook, whatever its name says. In Excel choose “Save as” and “CSV UTF-8”."
    ),
    "not_text": _("This is no text in UTF-8, UTF-16 or CP949. Was the file cut, or is it another one?"),
    "cut": _(
        "It ends within a cell, or a character, that begins in line %(line)s. Was it cut? Save it once more."
    ),
    "quotes": _("The quotation marks in line %(line)s are not closed, or close in the middle of a cell."),
    "columns": _(
        "It has more columns than are needed. Name the right one in the first line, or leave the others out."
    ),
}
FAULTS: dict[str, LazyString] = {
    "duplicate": _("Stands in the file before"),
    "columns": _("More cells than columns"),
    "empty": _("Empty"),
    "not_email": _("No e-mail address"),
    "rounded": _("A long number that Excel has shortened"),
    "too_long": _("Too long"),
    "characters": _("Characters that cannot be in it, such as spaces"),
    "grade": _("The grade is too long, or holds a comma"),
    "key_taken": _("This member key belongs to another address"),
    "duplicate_pool": _("Stands in a file of this coupon already"),
    "duplicate_other": _("Is a code of another coupon"),
    "duplicate_issued": _("Somebody has, or had, this code already"),
    "given": _("Somebody got this code of another coupon meanwhile; it was left out"),
    "code_characters": _(
        "A character that no code can have: a space, a comma, a quotation mark, or no English"
    ),
    "formula": _("The first sign (=, +, - or @) would make Excel take it for a formula"),
    "too_short": _("Too short: a code has 4 characters at least"),
}
"""What is wrong with a line, by kind."""


def sent_file() -> FileStorage | None:
    """Return the file of this form, or None with a word to the operator."""
    found = request.files.get("file")
    if found is None or not found.filename:
        flash(gettext("Choose a file."))
        return None
    return found


def too_large() -> WerkzeugResponse:
    """Answer a form whose file is too large to be taken at all."""
    flash(str(WHY["too_large"]))
    return redirect(request.path.removesuffix("/upload"), 303)


def receive(kind: Kind, coupon_id: int | None, sent: FileStorage, *, by: int | None) -> int:
    """Take a file and return the id of its upload; reading it may go on after this request."""
    upload_id = uploads.begin(kind, coupon_id, sent.filename or "", by=by)
    size = sent.stream.seek(0, os.SEEK_END)
    sent.stream.seek(0)
    if size <= READ_AT_ONCE:
        uploads.read(upload_id, kind, sent.stream)  # type: ignore[arg-type]
    else:
        with TemporaryFile() as file:
            copyfileobj(sent.stream, file)
            file.seek(0)
            _read_beside(upload_id, file)
    return upload_id


def _read_beside(upload_id: int, file: BinaryIO) -> None:
    """Have a process of its own read the file, which nothing names: it is gone when that process ends."""
    root = Path(current_app.root_path).parent
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "read-upload", str(upload_id)]
    process = subprocess.Popen(
        command, cwd=root, env=_environment(current_app.config), stdin=file, stdout=subprocess.DEVNULL
    )
    threading.Thread(target=process.wait, daemon=True, name="upload").start()


def _environment(config: Mapping[str, object]) -> dict[str, str]:
    """Return the environment of a process that works on the stores of this app."""
    same = ("REDIS_URL", "QUEUE_REDIS_URL", "SECRET_KEY", "VAR_DIR")
    names = {"DATABASE_URL": "SQLALCHEMY_DATABASE_URI"} | dict(zip(same, same, strict=True))
    ours = {name: str(config[setting]) for name, setting in names.items() if config.get(setting)}
    return os.environ | ours | {"SQL_ANSWER_S": SQL_ANSWER_S}


def upload_to_decide(coupon_id: int, kind: str) -> Upload | None:
    """Return the upload of the address, else the latest one of that kind that waits for a decision."""
    asked = request.args.get("upload", type=read_id)
    waiting = (READING, CHECKED) if asked is None else (READING, CHECKED, REFUSED)
    mine = (Upload.coupon_id == coupon_id, Upload.kind == kind, Upload.state.in_(waiting))
    lately = Upload.heard_at > utcnow() - KEPT
    query = select(Upload).where(*mine, lately if asked is None else Upload.id == asked)
    found = db.session.scalar(query.order_by(Upload.id.desc()).limit(1))
    db.session.close()
    return found


def sent_upload(coupon_id: int, kind: str) -> Upload:
    """Return the upload that the form names, if it is one of this coupon and of that kind; else answer 404."""
    found = uploads.upload_by_id(request.form.get("upload", 0, type=read_id))
    if found is None or (found.coupon_id, found.kind) != (coupon_id, kind):
        abort(404)
    return found


def shown(upload: Upload | None) -> dict[str, object]:
    """Return what templates/admin/_upload.html shows of an upload."""
    return {
        "upload": upload,
        "why": why(upload) if upload else "",
        "faults": list(uploads.faults_of(upload.id, SHOWN_FAULTS)) if upload else [],
        "fault_words": FAULTS,
        "broken_off": upload is not None and uploads.has_broken_off(upload),
    }


@contextmanager
def said(not_told: str) -> Iterator[None]:
    """Say what comes of an operator's decision about a file; `not_told` is what the log says when Redis is away."""
    try:
        yield
    except InvalidField as error:
        flash(str(error))
    except NotCounted:
        flash(gettext("This file is not there any more, or was not read to its end. Send it once more."))
    except (redis.RedisError, Refused) as error:
        swallow(not_told, error, "it is committed, and the sweeper tells Redis")
        flash(str(SAVED_ONLY))
    else:
        flash(gettext("Saved."))


def why(upload: Upload) -> str:
    """Return in words why a file was refused, "" if it was not."""
    words = WHY.get(upload.why or "")
    if words is None:
        return ""
    return str(words) % {"line": upload.line or "?"} if "%(line)s" in str(words) else str(words)


def faults_file(upload_id: int, coupon_id: int | None) -> Response:
    """Answer with the lines that are left out, as a table to download."""
    upload = uploads.upload_by_id(upload_id)
    if upload is None or upload.coupon_id != coupon_id:
        abort(404)
    words = {kind: str(text) for kind, text in FAULTS.items()}
    head = (gettext("Line"), gettext("What is wrong"), gettext("Text"))
    rows = [
        (fault.line, words.get(fault.kind, fault.kind), fault.text) for fault in uploads.faults_of(upload_id)
    ]
    body = "".join(write_table(iter([head, *rows])))
    name = f"lines-{upload_id}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(body, content_type="text/csv; charset=utf-8", headers=headers)
