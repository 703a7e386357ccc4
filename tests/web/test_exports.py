"""The page of files for Excel: who gets one, under which name, and that a part of one never looks whole."""

import http.client
import json
import socket
from contextlib import closing, contextmanager
from urllib.parse import unquote

import pytest
import redis
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tests.builders import failing, make_coupon, make_user, make_users, session_cookie, sign_in
from tests.log.test_writing import newest, written
from tests.sale.test_exports import issue
from webapp.models import OPERATOR
from webapp.sale import exports
from webapp.sale.exports import EXPORTS
from webapp.stores.sql import db

KO = {"Accept-Language": "ko"}
MANY = 40_000
"""Rows that fit into no buffer between a server and a browser."""


@pytest.fixture
def operator(client):
    sign_in(client, make_user(role=OPERATOR))
    return client


def test_the_page_leads_to_every_file(operator):
    coupon = make_coupon()
    page = operator.get(f"/admin/coupons/{coupon}/export", headers=KO)
    assert page.status_code == 200
    for what in EXPORTS:
        assert f'href="/admin/coupons/{coupon}/export/{what}.csv"' in page.text
        assert operator.get(f"/admin/coupons/{coupon}/export/{what}.csv", headers=KO).status_code == 200
    assert operator.get(f"/admin/coupons/{coupon}/export/all.csv").status_code == 404
    assert operator.get("/admin/coupons/999/export/winners.csv").status_code == 404
    assert operator.get("/admin/coupons/999/export").status_code == 404


def test_a_file_has_the_name_of_what_it_is_in_two_spellings(operator):
    coupon = make_coupon(title='금요일: "치킨"/5,000원\t할인' + "!" * 60)
    answer = operator.get(f"/admin/coupons/{coupon}/export/winners.csv", headers=KO)
    assert answer.content_type == "text/csv; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    plain, _, encoded = answer.headers["Content-Disposition"].partition("; filename*=UTF-8''")
    assert plain == f'attachment; filename="winners-{coupon}.csv"'
    assert encoded.isascii()
    name = unquote(encoded)
    assert name.startswith("당첨자 금요일 치킨 5,000원 할인!!!")
    assert name.endswith(".csv")
    assert len(name.encode()) < 200
    assert not set(name) & set('\\/:*?"<>|\t')


def test_a_file_is_told_in_the_language_of_the_page(operator):
    coupon = make_coupon()
    for language, begins in (("ko", "순번"), ("en", "Number")):
        answer = operator.get(
            f"/admin/coupons/{coupon}/export/winners.csv", headers={"Accept-Language": language}
        )
        assert answer.data.startswith(f"\ufeff{begins}".encode())


def test_without_redis_the_page_says_why_there_is_no_file(operator, monkeypatch):
    coupon = make_coupon()
    monkeypatch.setattr(exports, "line_status", failing(redis.ConnectionError("down")))
    answer = operator.get(f"/admin/coupons/{coupon}/export/losers.csv", headers=KO, follow_redirects=True)
    assert answer.request.path == f"/admin/coupons/{coupon}/export"
    assert "지금은 파일을 온전히 만들 수 없어요" in answer.text
    assert operator.get(f"/admin/coupons/{coupon}/export/winners.csv").status_code == 200


@pytest.mark.parametrize("what", EXPORTS)
def test_each_download_leaves_one_row_in_the_log(client, what):
    boss, coupon = make_user(role=OPERATOR), make_coupon()
    sign_in(client, boss)
    before = newest()
    where = {"REMOTE_ADDR": "203.0.113.9"}
    answer = client.get(f"/admin/coupons/{coupon}/export/{what}.csv", environ_overrides=where)
    assert answer.status_code == 200
    (row,) = written(before)
    assert (row.verb, row.actor_id, row.coupon_id, row.user_id) == ("export", boss.id, coupon, None)
    assert (row.origin, row.address, json.loads(row.after)) == ("console", "203.0.113.9", {"file": what})
    assert "엑셀 파일을 내려받음" in client.get(f"/admin/coupons/{coupon}/log?verb=export", headers=KO).text


def test_the_row_is_committed_before_the_first_byte(operator):
    coupon, before = make_coupon(), newest()
    answer = operator.get(f"/admin/coupons/{coupon}/export/winners.csv", buffered=False)
    assert [row.verb for row in written(before)] == ["export"]
    answer.close()


def test_without_its_row_there_is_no_file(operator, monkeypatch):
    coupon, before = make_coupon(), newest()
    monkeypatch.setattr(exports, "record", failing(OperationalError("INSERT", {}, Exception("read only"))))
    answer = operator.get(f"/admin/coupons/{coupon}/export/winners.csv", headers=KO)
    assert (answer.status_code, answer.location) == (303, f"/admin/coupons/{coupon}/export")
    assert "지금은 기록을 남길 수 없어서" in operator.get(answer.location, headers=KO).text
    assert written(before) == []


def test_a_file_that_cannot_begin_and_one_of_a_rehearsal_leave_none(operator, monkeypatch):
    rehearsed, coupon, before = make_coupon(rehearsal=True), make_coupon(), newest()
    assert operator.get(f"/admin/coupons/{rehearsed}/export/winners.csv").status_code == 200
    assert operator.get(f"/admin/coupons/{coupon}/export/all.csv").status_code == 404
    monkeypatch.setattr(exports, "line_status", failing(redis.ConnectionError("down")))
    assert operator.get(f"/admin/coupons/{coupon}/export/losers.csv").status_code == 303
    assert written(before) == []


def test_a_browser_that_goes_away_ends_the_reading(operator, monkeypatch):
    monkeypatch.setattr("webapp.values.sheets.AT_ONCE", 10)
    monkeypatch.setattr(exports, "PAGE", 10)
    coupon = make_coupon(quota=None)
    issue(coupon, make_users(200))
    db.session.remove()
    asked: list[int] = []
    pages = exports.pages_by_number
    monkeypatch.setattr(exports, "pages_by_number", lambda *args: counted(pages(*args), asked))
    answer = operator.get(f"/admin/coupons/{coupon}/export/winners.csv", buffered=False)
    next(answer.iter_encoded())
    answer.close()
    assert asked[-1] == 0  # the innermost generator was closed
    assert len(asked) < 5
    assert db.engine.pool.checkedout() == 0


def counted(pages, asked):
    try:
        for page in pages:
            asked.append(len(page))
            yield page
    finally:
        asked.append(0)


# Over a real server


@contextmanager
def download(installation, operator, coupon):
    """Ask for the winners with a small window, so that most of the file waits in the server; yield the answer."""
    cookie, _token = session_cookie(installation.app, operator)
    with closing(socket.socket()) as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.connect(("127.0.0.1", installation.port))
        plain.settimeout(60)
        words = f"GET /admin/coupons/{coupon}/export/winners.csv HTTP/1.1\r\nHost: localhost\r\n"
        plain.sendall(f"{words}Cookie: session={cookie}\r\n\r\n".encode())
        answer = http.client.HTTPResponse(plain)
        answer.begin()
        assert (answer.status, answer.chunked) == (200, True)
        yield answer


@contextmanager
def without_a_table():
    """Have every further page fail, as with a database that is gone."""
    with db.engine.begin() as connection:
        connection.execute(text("ALTER TABLE members RENAME TO members_elsewhere"))
    try:
        yield
    finally:
        with db.engine.begin() as connection:
            connection.execute(text("ALTER TABLE members_elsewhere RENAME TO members"))


def test_a_file_that_is_broken_off_does_not_look_whole(installation):
    with installation.app.app_context():
        operator = make_user(f"export{make_user().id}@example.com", role=OPERATOR)
        coupon = make_coupon(quota=None)
        issue(coupon, make_users(MANY))
        with download(installation, operator, coupon) as answer:
            begun = answer.read(1000)
            assert begun.startswith("\ufeff".encode())
            with without_a_table(), pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
                answer.read()
        with download(installation, operator, coupon) as answer:  # the control
            assert answer.read().count(b"\r\n") == MANY + 1
