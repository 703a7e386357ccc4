"""A coupon's picture: uploaded by page and command, kept in SQL, served for ever under its hash."""

import io
import re
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import OperationalError
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from tests.builders import csrf_token, make_coupon, make_user, sign_in
from tests.cli.test_cli import assert_one_line, run
from tests.conftest import on_sqlite
from tests.values.test_pictures import REFUSED, drawn, file_of
from tests.web.test_admin import operator, row
from webapp.models import Picture, utcnow
from webapp.sale import pictures
from webapp.sale.coupons import InvalidField
from webapp.sale.pictures import set_picture
from webapp.stores.sql import db
from webapp.values.pictures import draw

__all__ = ["operator", "run"]

BANNER, OTHER = file_of(drawn(), "JPEG"), file_of(drawn(colour="green"), "WEBP")

WORDS = {
    "empty": "파일을 골라",
    "heavy": "5MB",
    "svg": "SVG",
    "heic": "HEIC",
    "kind": "사진 파일이 아니",
    "broken": "깨졌거나",
    "pixels": "50000 × 50000",
    "tiny": "199 × 900",
}


@pytest.fixture(autouse=True)
def nothing_kept():
    pictures.jpeg.cache_clear()


def upload(client, coupon: int, data: bytes | None, **fields: str):
    files = {} if data is None else {"picture": FileStorage(io.BytesIO(data), "a.jpg")}
    # In memory: the client leaves its own file open for a body of more than 500 KB.
    boundary, body = encode_multipart({"csrf_token": csrf_token(client), **files, **fields})
    address, kind = f"/admin/coupons/{coupon}/picture", f"multipart/form-data; boundary={boundary}"
    return client.post(address, data=body, content_type=kind)


def stored() -> int:
    db.session.rollback()
    return db.session.scalar(select(func.count()).select_from(Picture))


def age(name: str) -> None:
    db.session.execute(
        update(Picture).where(Picture.name == name).values(created_at=utcnow() - timedelta(days=2))
    )
    db.session.commit()


def test_an_uploaded_picture_is_on_the_page_and_served_for_ever(operator):
    coupon = make_coupon()
    assert upload(operator, coupon, BANNER).status_code == 303
    page = operator.get(f"/coupons/{coupon}").text
    addresses = re.findall(r'(?:src|srcset)="(/pictures/[^"]+)"', page)
    assert len(addresses) == 2
    for address in addresses:
        answer = operator.get(address)
        assert (answer.status_code, answer.content_type) == (200, "image/jpeg")
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert "Set-Cookie" not in answer.headers
    assert len(operator.get(next(each for each in addresses if "small" in each)).data) <= 60_000
    assert 'width="1200" height="600"' in page


def test_the_preview_of_a_shared_link_shows_it(app, client):
    coupon = make_coupon()
    name = set_picture(coupon, BANNER, by=None)
    app.config["ALLOWED_HOSTS"] = ("localhost",)
    page = client.get(f"/coupons/{coupon}").text
    assert f'<meta property="og:image" content="http://localhost/pictures/{name}-large.jpg">' in page


@on_sqlite
@pytest.mark.parametrize("why", [why for why in REFUSED if "(" not in why])
def test_what_is_no_picture_is_refused_in_words_and_the_old_one_stays(operator, why):
    coupon = make_coupon()
    name = set_picture(coupon, BANNER, by=None)
    answer = upload(operator, coupon, REFUSED[why]())
    assert answer.status_code == 422
    words = re.search(r'id="picture-error">([^<]+)<', answer.text)[1]
    assert WORDS[why] in words
    assert (row(coupon).picture, stored()) == (name, 1)


@on_sqlite
def test_a_form_without_a_file_is_told_so(operator):
    assert upload(operator, make_coupon(), None).status_code == 422


@on_sqlite
def test_far_too_large_a_body_is_refused_before_it_is_read(operator):
    assert upload(operator, make_coupon(), b"x" * 7 * 1024 * 1024).status_code == 413


def test_it_can_be_removed_and_a_repeat_changes_nothing(operator):
    coupon = make_coupon()
    set_picture(coupon, BANNER, by=None)
    for _ in range(2):
        assert upload(operator, coupon, None, remove="1").status_code == 303
        assert row(coupon).picture is None
    assert "/pictures/" not in operator.get(f"/coupons/{coupon}").text


def test_coupons_share_one_picture_and_nobody_loses_it(app, client):
    coupons = [make_coupon(), make_coupon()]
    names = {set_picture(coupon, BANNER, by=None) for coupon in coupons for _ in range(2)}
    assert (len(names), stored()) == (1, 1)
    (name,) = names
    age(name)
    set_picture(coupons[0], OTHER, by=None)
    assert client.get(f"/pictures/{name}-small.jpg").status_code == 200
    assert stored() == 2


def test_an_old_picture_is_served_for_a_day_and_then_forgotten(app, client):
    coupon = make_coupon()
    name = set_picture(coupon, BANNER, by=None)
    other = set_picture(coupon, OTHER, by=None)
    assert client.get(f"/pictures/{name}-large.jpg").status_code == 200
    age(name)
    age(other)
    set_picture(coupon, None, by=None)
    assert stored() == 0


def test_a_picture_that_is_uploaded_again_is_young_again(app):
    coupon = make_coupon()
    name = set_picture(coupon, BANNER, by=None)
    set_picture(coupon, None, by=None)
    age(name)
    assert set_picture(make_coupon(), BANNER, by=None) == name
    assert stored() == 1


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_a_picture_that_is_being_uploaded_again_cannot_be_forgotten_meanwhile(app):
    """On SQLite nobody else writes meanwhile."""
    coupon = make_coupon()
    name = set_picture(coupon, BANNER, by=None)
    set_picture(coupon, None, by=None)
    age(name)
    with db.engine.connect() as uploading:
        pictures._keep(uploading, draw(BANNER))
        with db.engine.connect() as another:
            another.execute(text("SET innodb_lock_wait_timeout = 1"))
            with pytest.raises(OperationalError):
                pictures._forget_unused(another)
        uploading.commit()
    assert stored() == 1


@on_sqlite
@pytest.mark.parametrize("name", ["0-small", "x-large", "0123456789abcdef-1x1-small", "..-small", "a-huge"])
def test_an_unknown_picture(app, client, name):
    assert client.get(f"/pictures/{name}.jpg").status_code == 404


@on_sqlite
def test_an_unknown_coupon(app):
    with pytest.raises(LookupError):
        set_picture(10**9, BANNER, by=None)
    with pytest.raises(InvalidField):
        set_picture(10**9, b"", by=None)
    assert stored() == 0


@on_sqlite
def test_the_command(run, tmp_path):
    coupon, path = make_coupon(), tmp_path / "a.jpg"
    path.write_bytes(BANNER)
    name = run("coupon", "picture", coupon, "--file", path).output.strip()
    assert row(coupon).picture == name
    path.write_bytes(REFUSED["svg"]())
    assert_one_line(run("coupon", "picture", coupon, "--file", path), "SVG")
    assert_one_line(run("coupon", "picture", coupon), "--file")
    assert_one_line(run("coupon", "picture", 10**9, "--remove"), "no coupon")
    assert run("coupon", "picture", coupon, "--remove").exit_code == 0
    assert row(coupon).picture is None


@on_sqlite
def test_the_picture_asks_for_no_session(app, client):
    sign_in(client, make_user())
    name = set_picture(make_coupon(), BANNER, by=None)
    answer = client.get(f"/pictures/{name}-small.jpg")
    assert "Vary" not in answer.headers
