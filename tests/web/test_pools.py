"""The page on which operators give a coupon codes of their own, and how people then see them."""

import io
import re
from html import unescape

import pytest

from deploy.processes import wait_until
from tests.builders import csrf_token, make_coupon, make_user, sign_in
from tests.web.sending import KO, FilesPage
from webapp.models import OPERATOR, Upload
from webapp.sale import admission, claims, pools, uploads
from webapp.sale.coupons import change_coupon, coupon_by_id
from webapp.sale.pool_file import POOL_FILE
from webapp.stores.sql import db
from webapp.web.admin import files

PAGE = FilesPage("codes", file_name="codes.csv")
send, post, page = PAGE.send, PAGE.post, PAGE.page


@pytest.fixture
def operator(client):
    sign_in(client, make_user(role=OPERATOR))
    return client


def left(coupon) -> int | None:
    found = coupon_by_id(coupon)
    assert found is not None
    return found.pool_left


def pooled(*codes: str, **fields) -> int:
    coupon = make_coupon(quota=len(codes), **fields)
    upload = uploads.begin(POOL_FILE, coupon, "codes.csv", by=None)
    uploads.read(upload, POOL_FILE, io.BytesIO("".join(f"{code}\n" for code in codes).encode()))
    pools.count_codes(upload, by=None)
    return coupon


def test_a_file_is_brought_looked_at_and_counts(operator):
    coupon = make_coupon(quota=3, opens_in=600)
    assert "FirstCome이 만드는 코드" in page(operator, coupon)
    sent = send(operator, coupon, "쿠폰번호\nAB-1\nAB-1\n00123\n=cmd\nABCDE\n".encode("cp949"))
    assert sent.status_code == 303
    text = operator.get(sent.location, headers=KO).text
    assert "코드 3개 넣기" in text
    assert "0으로 시작하는 숫자 코드가 1개" in text
    assert "파일 앞쪽에 이미 있어요" in text
    assert left(coupon) is None
    upload = int(sent.location.rpartition("=")[2])
    table = operator.get(f"/admin/coupons/{coupon}/codes/lines/{upload}.csv", headers=KO)
    assert table.text.splitlines()[1:] == [
        "3,파일 앞쪽에 이미 있어요,AB-1",
        '5,"엑셀이 수식으로 읽는 글자(=, +, -, @)로 시작해요",\'=cmd',
    ]
    assert "저장했어요" in post(operator, coupon, "count", upload=upload, seen="0 0").text
    assert post(operator, coupon, "count", upload=upload, seen="0 0").status_code == 200  # a second click
    assert left(coupon) == 3
    text = page(operator, coupon)
    assert "직접 올린 코드" in text
    assert "이 파일 빼기" in text
    post(operator, coupon, "withdraw", upload=upload, seen=pools.told(pools.files_of(coupon)))
    assert left(coupon) == 0
    assert "남은 코드가 없어요" in page(operator, coupon)


def test_the_second_of_two_operators_sees_what_the_first_has_changed(operator):
    coupon = make_coupon(quota=None, opens_in=600)
    send(operator, coupon, b"AB-1\n")
    [first] = db.session.query(Upload).all()
    post(operator, coupon, "count", upload=first.id, seen="0 0")
    second = int(send(operator, coupon, b"AB-2\n").location.rpartition("=")[2])
    text = post(operator, coupon, "count", upload=second, seen="0 0").text
    assert "그사이 다른 분이 이 쿠폰의 코드를 바꿨어요" in text
    assert left(coupon) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "빈 파일"),
        (b"PK\x03\x04", "엑셀"),
        (b"AB-1,AB-2\n", "열"),
        (b'AB-1\n"AB', "잘"),
        (b"a\nb\n", "너무 짧아요"),
    ],
)
def test_a_file_that_cannot_be_taken_is_told_in_words(operator, content, words):
    coupon = make_coupon()
    sent = send(operator, coupon, content)
    text = operator.get(sent.location, headers=KO).text
    assert "이 파일은 쓸 수 없어서" in text or "바뀐 것은 없어요" in text, text
    assert words in text
    assert "넣기" not in text


def test_a_large_file_is_read_beside_and_meanwhile_no_other_one_is_taken(operator, monkeypatch):
    coupon = make_coupon(quota=None)
    lines = "".join(f"LONG-{number:06}\n" for number in range(6000)).encode()
    assert len(lines) > files.READ_AT_ONCE
    upload = int(send(operator, coupon, lines).location.rpartition("=")[2])
    sent = send(operator, coupon, b"AB-1\n")
    answers = operator.get(sent.location, headers=KO).text
    assert "다른 파일을 읽고 있어요" in answers or uploads.upload_by_id(upload).state == "withdrawn"
    assert wait_until(lambda: uploads.upload_by_id(upload).state != "reading", wait_s=60)


def test_without_a_file_with_one_of_another_coupon_and_for_others_nothing_happens(operator, app):
    coupon, other = make_coupon(), pooled("AB-1", opens_in=600)
    form = {"csrf_token": csrf_token(operator)}
    assert operator.post(f"/admin/coupons/{coupon}/codes/upload", data=form).status_code == 303
    [upload] = pools.files_of(other)
    for step in ("count", "withdraw"):
        assert post(operator, coupon, step, upload=upload.id).status_code == 404
    assert operator.get(f"/admin/coupons/{coupon}/codes/lines/{upload.id}.csv").status_code == 404
    visitor = app.test_client()
    sign_in(visitor, make_user())
    assert visitor.get(f"/admin/coupons/{coupon}/codes").status_code == 404


def test_a_coupon_that_has_given_codes_of_ours_takes_no_file(operator):
    coupon = make_coupon()
    claims.claim(coupon, make_user().id)
    admission.admit(coupon)
    text = page(operator, coupon)
    assert "복제한 쿠폰에 코드를 올려 주세요" in text
    assert 'type="file"' not in text


def test_operators_are_told_where_codes_are_missing(operator):
    coupon = pooled("AB-1", "AB-2", opens_in=-9)
    for path in (f"/admin/coupons/{coupon}", "/admin/"):
        text = operator.get(path, headers=KO).text
        assert "코드 부족" not in text
        assert "줄 코드가 없어요" not in text
    change_coupon(coupon, total_quantity=5)
    assert "수량 가운데 3장은 줄 코드가 없어요" in operator.get(f"/admin/coupons/{coupon}", headers=KO).text
    assert "코드 부족" in operator.get("/admin/", headers=KO).text
    for _ in range(2):
        claims.claim(coupon, make_user().id)
    admission.admit(coupon)
    assert "아무도 쿠폰을 받지 못해요" in operator.get(f"/admin/coupons/{coupon}", headers=KO).text
    assert "코드 없음" in operator.get("/admin/", headers=KO).text


CODE = "a/B?c=1&d<e>#%25"


def test_people_and_tills_see_the_code_as_it_was_uploaded(operator, app):
    coupon, holder, visitor = pooled(CODE), make_user(), app.test_client()
    token = sign_in(visitor, holder)
    visitor.post(f"/coupons/{coupon}/claim", data={"csrf_token": token})
    admission.admit(coupon)
    shown = CODE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for path in (f"/coupons/{coupon}", "/wallet"):
        assert shown in visitor.get(path).text
    ticket = visitor.get(f"/coupons/{coupon}/ticket", headers={"Accept": "application/json"}).json
    assert (ticket["state"], ticket["code"]) == ("issued", CODE)
    found = re.search(r'href="(/admin/redeem[^"]*)"', visitor.get(f"/coupons/{coupon}").text)
    assert found
    till = unescape(found[1])
    text = operator.get(till, headers=KO).text
    assert shown in text
    form = {"csrf_token": csrf_token(operator), "code": CODE}
    used = operator.post("/admin/redeem", data=form, headers=KO)
    assert used.status_code == 303
    assert "방금" in operator.get(used.location, headers=KO).text
