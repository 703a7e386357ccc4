"""The page on which operators decide who may have a coupon, and what people then see."""

import pytest
from sqlalchemy import insert, select

from deploy.processes import wait_until
from tests.builders import csrf_token, make_coupon, make_user, sign_in
from tests.web.sending import KO, FilesPage
from webapp.models import OPERATOR, Coupon, Upload
from webapp.sale import lists, uploads
from webapp.sale.audience import PEOPLE
from webapp.sale.people_file import PEOPLE_FILE
from webapp.stores.sql import db
from webapp.web.admin import files

PAGE = FilesPage("people", file_name="list.csv")
send, post, page = PAGE.send, PAGE.post, PAGE.page


@pytest.fixture
def operator(client):
    sign_in(client, make_user(role=OPERATOR))
    return client


def version(coupon) -> int:
    with db.engine.connect() as connection:
        return connection.scalar(select(Coupon.audience_version).where(Coupon.id == coupon)) or 0


def test_a_list_is_brought_looked_at_and_counts(operator, app):
    coupon, user = make_coupon(), make_user("kim@example.com")
    sent = send(operator, coupon, "이메일\nkim@example.com\nkim@example.com\n=cmd@\n".encode("cp949"))
    assert sent.status_code == 303
    text = operator.get(sent.location, headers=KO).text
    assert "1명을 명단에 넣기" in text
    assert "파일 앞쪽에 이미 있어요" in text
    assert version(coupon) == 0
    upload = int(sent.location.rpartition("=")[2])
    table = operator.get(f"/admin/coupons/{coupon}/people/lines/{upload}.csv", headers=KO)
    assert table.text.splitlines()[1:] == [
        "3,파일 앞쪽에 이미 있어요,kim@example.com",
        "4,이메일 주소가 아니에요,'=cmd@",
    ]
    assert post(operator, coupon, "count", upload=upload, version=0).text.count("저장했어요") == 1
    assert post(operator, coupon, "count", upload=upload, version=0).status_code == 200  # a second click
    text = page(operator, coupon)
    assert "list.csv" in text
    assert "지금 계정이 있는 분" in text
    outsider, insider = app.test_client(), app.test_client()
    sign_in(outsider, make_user())
    sign_in(insider, user)
    for visitor, state in ((outsider, "excluded"), (insider, "open")):
        shown = visitor.get(f"/coupons/{coupon}", headers=KO).text
        assert f'data-state="{state}"' in shown
        assert "초대받은 분" in shown


def test_a_large_file_is_read_by_a_process_of_its_own(operator, monkeypatch):
    monkeypatch.setattr(files, "READ_AT_ONCE", 0)
    coupon = make_coupon()
    sent = send(operator, coupon, b"kim@example.com\nlee@example.com\n")
    upload = int(sent.location.rpartition("=")[2])
    assert wait_until(lambda: uploads.upload_by_id(upload).state != "reading", wait_s=30)
    found = uploads.upload_by_id(upload)
    assert (found.state, found.good, found.percent) == ("checked", 2, 100)


def test_progress_is_shown_and_a_reading_that_broke_off_is_told(operator, monkeypatch):
    coupon = make_coupon()
    upload = uploads.begin(PEOPLE_FILE, coupon, "big.csv", by=None)
    uploads._change(upload, percent=42, good=1000)
    text = page(operator, coupon)
    assert '<progress max="100" value="42"' in text
    assert 'http-equiv="refresh"' in text
    monkeypatch.setattr(uploads, "has_broken_off", lambda _upload: True)
    text = page(operator, coupon)
    assert "파일을 읽다가 멈췄어요" in text
    assert 'http-equiv="refresh"' not in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "빈 파일이에요"),
        (b"PK\x03\x04xlsx", "엑셀 파일이에요"),
        (b"\x89PNG\r\n\x1a\n\x00", "글자로 읽을 수 없어요"),
        (b"email\n", "내용이 한 줄도 없는"),
        (b"kim,kim@example.com\n", "열이 너무 많아요"),
        (b'kim@example.com\n"lee', "2번째 줄에서 시작한 칸"),
        (b"nobody@example.com\n", "지금 계정이 있는 분이 없어요"),
    ],
)
def test_a_file_that_cannot_be_taken_is_refused_in_words(operator, content, words):
    coupon = make_coupon()
    sent = send(operator, coupon, content)
    assert words in operator.get(sent.location, headers=KO).text
    assert version(coupon) == 0


def test_a_file_that_is_too_large_is_refused_before_it_is_read(operator):
    coupon = make_coupon()
    answer = operator.post(
        f"/admin/coupons/{coupon}/people/upload", environ_overrides={"CONTENT_LENGTH": str(2 * 1024**3)}
    )
    assert answer.location == f"/admin/coupons/{coupon}/people"
    assert "128MB보다 커요" in operator.get(answer.location, headers=KO).text


def test_no_file_and_no_token_change_nothing(operator):
    coupon = make_coupon()
    form = {"csrf_token": csrf_token(operator)}
    answer = operator.post(
        f"/admin/coupons/{coupon}/people/upload", data=form, headers=KO, follow_redirects=True
    )
    assert "파일을 골라 주세요" in answer.text
    assert operator.post(f"/admin/coupons/{coupon}/people/upload", data={}).status_code == 400


def test_one_person_is_found_added_and_removed(operator):
    coupon = make_coupon()
    assert "명단에 없어요" in page(operator, coupon, "?q=KIM@example.com")
    assert "명단에 있어요" in post(operator, coupon, "add", person="KIM@example.com").text
    assert "명단에 없어요" in post(operator, coupon, "remove", person="kim@example.com").text
    assert "이메일도 회원 키도 아니에요" in post(operator, coupon, "add", person="two words").text


def test_the_audience_is_chosen_and_an_old_page_is_told(operator):
    coupon = make_coupon()
    assert (
        "저장했어요"
        in post(operator, coupon, "audience", audience="grades", grades="VIP, GOLD", version=0).text
    )
    assert 'value="VIP, GOLD"' in page(operator, coupon)
    assert "그사이에" in post(operator, coupon, "audience", audience="everybody", version=0).text
    assert (
        "등급을 하나 이상"
        in post(operator, coupon, "audience", audience="grades", grades=" ,", version=1).text
    )
    assert "골라 주세요" in post(operator, coupon, "audience", audience="nobody", version=1).text
    assert version(coupon) == 1


@pytest.mark.parametrize("kind", [PEOPLE, "accounts"])
def test_an_upload_of_another_coupon_is_not_found(operator, kind):
    coupon, other = make_coupon(), make_coupon()
    with db.engine.begin() as connection:
        connection.execute(
            insert(Upload).values(id=7, coupon_id=other, kind=kind, state="checked", file_name="x", percent=0)
        )
    for step in ("count", "withdraw"):
        assert post(operator, coupon, step, upload=7, version=0).status_code == 404
    assert operator.get(f"/admin/coupons/{coupon}/people/lines/7.csv").status_code == 404


def test_the_pages_of_lists_are_for_operators_alone(client):
    coupon = make_coupon()
    sign_in(client, make_user())
    assert client.get(f"/admin/coupons/{coupon}/people").status_code == 404
    assert send(client, coupon, b"kim@example.com\n").status_code == 404


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("accept", ["text/html,*/*", "application/json"])
def test_a_click_of_somebody_else_is_refused_in_words(changed, fast, accept):
    coupon = make_coupon()
    lists.set_audience(coupon, "grades", ["VIP"], by=None)
    client = changed(FAST_PATH=fast)
    token = sign_in(client, make_user())
    for _ in range(2):  # the fast path keeps what the app answered first
        answer = client.post(
            f"/coupons/{coupon}/claim",
            data={"csrf_token": token},
            headers={"Accept": accept, "Accept-Language": "ko"},
        )
        if accept == "application/json":
            assert (answer.status_code, answer.json["code"], answer.json["title"]) == (
                403,
                "not_eligible",
                "참여 대상이 아니에요",
            )
        else:
            assert answer.location == f"/coupons/{coupon}?notice=not_eligible"
    if fast:
        assert client.application.extensions["fast_path_counts"]["claim"]["taken"] >= 1
    assert "VIP 등급 회원만" in client.get(f"/coupons/{coupon}?notice=not_eligible", headers=KO).text


def test_whoever_was_added_meanwhile_is_asked_to_press_once_more(client):
    coupon, user = make_coupon(), make_user("kim@example.com")
    lists.add_person(coupon, "kim@example.com", by=None)
    sign_in(client, user)
    assert "방금 대상이 되셨어요" in client.get(f"/coupons/{coupon}?notice=not_eligible", headers=KO).text
