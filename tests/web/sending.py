"""The console's pages to which files are sent, as tests use them: in Korean, by the name of the page."""

import io
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.builders import csrf_token

KO = {"Accept-Language": "ko"}


class FilesPage:
    """A page of a coupon in the console that takes files, such as `people` or `codes`."""

    def __init__(self, name: str, *, file_name: str) -> None:
        self.name, self.file_name = name, file_name

    def send(self, client: FlaskClient, coupon: int, content: bytes, name: str | None = None) -> TestResponse:
        file = (io.BytesIO(content), name or self.file_name)
        form = {"csrf_token": csrf_token(client), "file": file}
        return client.post(self._path(coupon, "/upload"), data=form, headers=KO)

    def post(self, client: FlaskClient, coupon: int, step: str, **fields: Any) -> TestResponse:
        fields = {"csrf_token": csrf_token(client), **fields}
        return client.post(self._path(coupon, f"/{step}"), data=fields, headers=KO, follow_redirects=True)

    def page(self, client: FlaskClient, coupon: int, query: str = "") -> str:
        return client.get(self._path(coupon, query), headers=KO).text

    def _path(self, coupon: int, rest: str) -> str:
        return f"/admin/coupons/{coupon}/{self.name}{rest}"
