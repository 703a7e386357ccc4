"""What operators send by mistake, or at the wrong moment: words in their language, and nothing half done."""

import http.client
import io
import re
from contextlib import closing
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from deploy.processes import free_port
from deploy.stores import Valkey
from tests.builders import (
    at_work,
    csrf_token,
    live_form,
    make_coupon,
    make_user,
    session_cookie,
    sign_in,
)
from tests.conftest import on_sqlite
from tests.values.test_pictures import drawn, file_of
from tests.web.test_admin import edit_form, value_of
from webapp.models import DRAFT, LIVE, OPERATOR, Coupon, Upload
from webapp.models.uploads import ListedPerson
from webapp.sale.pictures import set_picture
from webapp.stores.sql import db
from webapp.values.sheets import MOST_BYTES
from webapp.web.admin.forms import EditCoupon, QuotaForm

LANGUAGES = {"ko": {"Accept-Language": "ko"}, "en": {"Accept-Language": "en"}}


@pytest.fixture
def operator(client: FlaskClient) -> FlaskClient:
    sign_in(client, make_user(role=OPERATOR))
    return client


def row(coupon: int) -> Coupon:
    db.session.expire_all()
    return db.session.get_one(Coupon, coupon)


def send(client: FlaskClient, path: str, language: str = "ko", **fields: Any) -> tuple[int, str]:
    """Send a form, and return the status of the answer and what the operator then reads."""
    answer = client.post(path, data={"csrf_token": csrf_token(client), **fields}, headers=LANGUAGES[language])
    status = answer.status_code
    if answer.location:
        answer = client.get(answer.location, headers=LANGUAGES[language])
    return status, " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


# Lists

FILES: dict[str, tuple[bytes, str, str]] = {
    "nothing at all": (b"", "빈 파일이에요", "The file is empty"),
    "0 rows": ("이메일\n".encode("cp949"), "내용이 한 줄도 없는", "no line in it but the first one"),
    "empty lines": (b"\n\n  \n", "내용이 한 줄도 없는", "no line in it"),
    "a column too many": (b"kim@example.com,1\n", "열이 너무 많아요", "more columns than are needed"),
    "cut in a cell": (b'a@example.com\n"b@exam', "2번째 줄에서 시작한 칸", "begins in line 2"),
    "cut in a letter": ("이메일\nkim@example.com\n".encode("utf-16")[:-1], "잘렸", "Was it cut?"),
    "quotes in a cell": (
        b'a@example.com\n"b"c@example.com\n',
        "2번째 줄의 따옴표",
        "quotation marks in line 2",
    ),
    "two in a cell": (
        b'"kim@example.com\nlee@example.com"\n',
        "쓸 수 있는 줄이 없어",
        "No line of it can be taken",
    ),
    "an Excel file renamed": (b"PK\x03\x04\x14\x00", "이름과 달리 엑셀 파일", "This is an Excel workbook"),
    "an old Excel file": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "이름과 달리 엑셀 파일", "an Excel workbook"),
    "a picture": (file_of(drawn((64, 64)), "PNG"), "글자로 읽을 수 없어요", "This is no text in UTF-8"),
    "nobody known": (
        b"nobody@example.com\n",
        "계정이 있는 분이 없어요",
        "Nobody in this file has an account",
    ),
}


@on_sqlite
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_list_that_cannot_be_right_is_told_in_words_and_nobody_is_on_it(operator, file, language):
    coupon, (content, *words) = make_coupon(status=DRAFT), FILES[file]
    path = f"/admin/coupons/{coupon}/people/upload"
    status, text = send(operator, path, language, file=(io.BytesIO(content), "회원 명단.csv"))
    assert status == 303
    assert dict(zip(LANGUAGES, words, strict=True))[language] in text
    assert row(coupon).audience == "everybody"
    counted = select(func.count()).select_from(ListedPerson).join(Upload, Upload.id == ListedPerson.upload_id)
    assert db.session.scalar(counted.where(Upload.counted_at.is_not(None))) == 0


@pytest.mark.parametrize("installation", ["sqlite"], indirect=True)
@pytest.mark.parametrize("size", [2 * 1024**3, MOST_BYTES + 2 * 1024**2])
def test_a_file_of_2_gb_is_refused_by_its_size_before_it_is_sent(installation, size):
    """Only the head of the request is sent: a server that waited for the file would not answer."""
    with installation.app.app_context():
        coupon = make_coupon(status=DRAFT)
        cookie, _token = session_cookie(installation.app, make_user(role=OPERATOR))
    asked = http.client.HTTPConnection("127.0.0.1", installation.port, timeout=30)
    with closing(asked):
        asked.putrequest("POST", f"/admin/coupons/{coupon}/people/upload")
        for name, value in {
            "Cookie": f"session={cookie}; lang=ko",
            "Content-Type": "multipart/form-data; boundary=x",
            "Content-Length": str(size),
        }.items():
            asked.putheader(name, value)
        asked.endheaders()
        answer = asked.getresponse()
        assert (answer.status, answer.getheader("Location")) == (303, f"/admin/coupons/{coupon}/people")
    with installation.app.app_context():
        assert db.session.scalar(select(func.count()).where(Upload.coupon_id == coupon)) == 0
        db.session.remove()


# Two operators at once, each with the page open: the second one sees what the first has changed


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_second_who_edits_the_same_field_reads_the_first_and_may_insist(operator, language):
    coupon = make_coupon(quota=5, status=DRAFT)
    path = f"/admin/coupons/{coupon}"
    first, second = edit_form(operator, coupon), edit_form(operator, coupon)
    assert send(operator, path, **first | {"title": "하나", "discount_amount": "7000"})[0] == 303
    sent = operator.post(path, data=second | {"title": "둘"}, headers=LANGUAGES[language])
    assert sent.status_code == 422
    assert {"ko": "그사이 다른 운영자가 바꿨어요: 하나", "en": "changed this meanwhile, to: 하나"}[
        language
    ] in unescape(sent.text)
    assert row(coupon).title == "하나"
    again = {name: value_of(sent.text, name) for name in second}
    assert again["title"] == "둘"
    assert send(operator, path, **again)[0] == 303
    assert (row(coupon).title, row(coupon).discount_amount) == ("둘", 7000)


def test_both_who_change_a_field_to_the_same_are_content(operator):
    coupon = make_coupon(status=DRAFT)
    forms = [edit_form(operator, coupon) | {"title": "하나"} for _ in range(2)]
    assert [send(operator, f"/admin/coupons/{coupon}", **form)[0] for form in forms] == [303, 303]


def quota_form(client: FlaskClient, coupon: int) -> dict[str, str]:
    (form,) = re.findall(
        r"<form[^>]*/quota.*?</form>", client.get(f"/admin/coupons/{coupon}").text, re.DOTALL
    )
    return {name: value_of(form, name) for name in ("total_quantity", "shown_quota")}


def test_the_second_who_changes_the_quota_reads_the_first_and_may_insist(operator):
    coupon = make_coupon(quota=100)
    path = f"/admin/coupons/{coupon}/quota"
    shown = quota_form(operator, coupon)
    assert send(operator, path, **shown | {"total_quantity": "1,000"})[0] == 303
    status, text = send(operator, path, **shown | {"total_quantity": "50"})
    assert status == 422
    assert "그사이 다른 운영자가 바꿨어요: 1000" in text
    assert row(coupon).total_quantity == 1000
    assert send(operator, path, total_quantity="50", shown_quota="1000")[0] == 303
    assert row(coupon).total_quantity == 50


@pytest.mark.parametrize("form", [EditCoupon, QuotaForm])
def test_control_without_the_look_the_second_overwrites_the_first(operator, monkeypatch, form):
    monkeypatch.setattr(form, "look", lambda *_: None)
    coupon = make_coupon(quota=100)
    path, fields = {
        EditCoupon: (f"/admin/coupons/{coupon}", edit_form(operator, coupon)),
        QuotaForm: (f"/admin/coupons/{coupon}/quota", quota_form(operator, coupon)),
    }[form]
    for quota in ("1000", "50"):
        assert send(operator, path, **fields | {"total_quantity": quota})[0] == 303
    assert row(coupon).total_quantity == 50


def test_the_second_who_uploads_a_picture_sees_the_first_ones_and_may_insist(operator):
    coupon = make_coupon(status=DRAFT)
    path = f"/admin/coupons/{coupon}/picture"

    def upload(colour: str, shown: str) -> tuple[int, str]:
        picture = io.BytesIO(file_of(drawn(colour=colour), "JPEG"))
        return send(operator, path, picture=(picture, "a.jpg"), shown=shown)

    assert upload("orange", "")[0] == 303
    first = row(coupon).picture
    status, text = upload("blue", "")
    assert (status, row(coupon).picture) == (422, first)
    assert "그사이 다른 운영자가 사진을 바꿨어요" in text
    assert f'name="shown" value="{first}"' in operator.get(path).text
    assert send(operator, path, remove="1", shown="")[0] == 422
    assert upload("blue", first)[0] == 303
    assert row(coupon).picture not in (None, first)


def test_a_command_asks_for_no_picture_that_was_shown(app):
    coupon = make_coupon(status=DRAFT)
    names = [
        set_picture(coupon, file_of(drawn(colour=colour), "JPEG"), by=None) for colour in ("red", "blue")
    ]
    assert row(coupon).picture == names[1]


# Redis is away while a draft goes live


@pytest.fixture
def own_valkey(directory, database_url, changed):
    """An app on a Valkey of its own, which the test may stop."""
    home = directory / f"valkey-{free_port()}"
    home.mkdir()
    with Valkey(home, port=free_port()) as store:
        yield store, changed(REDIS_URL=store.url, QUEUE_REDIS_URL=store.url)


@on_sqlite
def test_a_draft_does_not_go_live_while_redis_is_away_and_does_when_it_is_back(own_valkey):
    store, client = own_valkey
    app: Flask = client.application
    with app.app_context():
        coupon = make_coupon(
            status=DRAFT, opens_in=3600, closes_in=7200, discount_amount=500, min_available_amount=9000
        )
        sign_in(client, make_user(role=OPERATOR))
        path = f"/admin/coupons/{coupon}/check"
        with at_work():
            form = live_form(client.get(path).text)
            store.stop()
            status, text = send(client, path, **form)
            assert status == 422
            assert "Redis가 응답하지 않아 지" in text
            assert row(coupon).status == DRAFT
            assert send(client, path, "en", **form)[1].count("Redis does not answer") >= 1
            store.start()
            assert send(client, path, **form)[0] == 303
        assert row(coupon).status == LIVE


NO_ROWS = {
    "too many digits": "9" * 19,
    "far too many digits": "9" * 5000,
    "below nothing": "-1",
    "zero": "0",
    "other digits": "٣",
    "a grouped number": "1_000",
    "blanks": " 5 ",
    "words": "abc",
}


@pytest.mark.parametrize("number", NO_ROWS.values(), ids=NO_ROWS)
def test_a_number_that_names_no_row_finds_none(operator, number):
    coupon, user = make_coupon(status=DRAFT), make_user().id
    for address in (
        f"/admin/people/{user}?coupon={number}",
        f"/admin/log?below={number}",
        f"/admin/coupons/{coupon}/people?upload={number}",
    ):
        assert operator.get(address).status_code == 200, address
    for address in (
        f"/coupons/{number}",
        f"/admin/coupons/{number}",
        f"/admin/people/{number}",
        f"/admin/coupons/{coupon}/people/lines/{number}.csv",
        f"/admin/coupons/{coupon}/codes/lines/{number}.csv",
        f"/wallet/{number}",
    ):
        assert operator.get(address).status_code == 404, address
    sent = {"csrf_token": csrf_token(operator), "upload": number, "version": "0", "seen": "0 0"}
    for address in (f"/admin/coupons/{coupon}/people/count", f"/admin/coupons/{coupon}/codes/count"):
        assert operator.post(address, data=sent).status_code == 404, address
