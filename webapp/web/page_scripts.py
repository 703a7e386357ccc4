"""The scripts of a page as they are served: one file for all of them, without their comments.

The sources in `static/` are full of comments, and a phone at an opening loads one small file. `coupon+claim.js` is
`static/coupon.js` and then `static/claim.js`, each in a block of its own, so that neither sees the names of the other.
"""

import re
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import rjsmin
from flask import Flask, Response, abort, send_file

SOURCES = Path(__file__).parents[2] / "static"
NAME = re.compile(r"[a-z]+(\+[a-z]+)*\.js")


def init_app(app: Flask) -> None:
    plain = app.view_functions["static"]

    def static(filename: str) -> Any:
        # Every other file is served by Flask itself.
        return _answer(app, filename) if filename.endswith(".js") else plain(filename=filename)

    app.view_functions["static"] = static


@cache
def served_script(filename: str) -> bytes | None:
    """Return the script that is served under that name, or None when there is no such script."""
    if not NAME.fullmatch(filename):
        return None
    sources = [SOURCES / f"{name}.js" for name in filename.removesuffix(".js").split("+")]
    if not all(source.is_file() for source in sources):
        return None
    return "".join(f"{{{rjsmin.jsmin(source.read_text())}}}" for source in sources).encode()


def _answer(app: Flask, filename: str) -> Response:
    body = served_script(filename)
    if body is None:
        abort(404)
    return send_file(
        BytesIO(body), mimetype="text/javascript", max_age=app.get_send_file_max_age(filename), etag=False
    )
