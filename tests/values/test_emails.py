"""One spelling for each e-mail address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_user, sign_in
from tests.visits import PROGRAM, assert_refused, post, visit
from webapp.models import OPERATOR, User
from webapp.sale import redeeming
from webapp.stores.sql import db
from webapp.values.emails import EMAIL_LENGTH, normalised_email

pytestmark = pytest.mark.usefixtures("cheap_hashes")
PASSWORD = "correct horse"
SAME = {
    "as it is": ("josé@example.com", "josé@example.com"),
    "accent typed apart": ("jose\u0301@example.com", "josé@example.com"),
    "upper case": ("JOSÉ@EXAMPLE.COM", "josé@example.com"),
    "upper case, accent apart": ("JOSE\u0301@Example.com", "josé@example.com"),
    "full width": ("ｊｏｓé＠ｅｘａｍｐｌｅ．ｃｏｍ", "josé@example.com"),
    "small at": ("josé﹫example.com", "josé@example.com"),
    "blanks around": (" \t\u3000josé@example.com\u00a0\n", "josé@example.com"),
    "zero width inside": ("jo\u200bsé@exa\u2060mple.com\ufeff", "josé@example.com"),
    "zero width between letter and accent": ("jose\u200b\u0301@example.com", "josé@example.com"),
    "direction marks": ("\u202ajosé@example.com\u202c", "josé@example.com"),
    "control characters": ("jo\0sé@example.com\x1b", "josé@example.com"),
    "dot at the end": ("josé@example.com.", "josé@example.com"),
    "ligature": ("ﬁne@example.com", "fine@example.com"),
    "Kelvin": ("\u212aim@example.com", "kim@example.com"),
    "half-width Hangul": ("ﾡﾢ@example.com", "ᄀᄁ@example.com"),
    "decomposed Hangul": ("\u1112\u1161\u11ab@example.com", "한@example.com"),
    "Hangul filler": ("김\u3164민지@example.com", "김민지@example.com"),
    "domain in Unicode": ("kim@한글.kr", "kim@한글.kr"),
    "domain as xn--": ("kim@xn--bj0bj06e.kr", "kim@한글.kr"),
    "domain as XN--": ("KIM@XN--BJ0BJ06E.KR", "kim@한글.kr"),
    "domain decomposed": ("kim@\u1112\u1161\u11ab\u1100\u1173\u11af.kr", "kim@한글.kr"),
    "ideographic dot": ("kim@한글。kr", "kim@한글.kr"),
    "sharp s": ("straße@straße.de", "straße@straße.de"),
    "capital sharp s": ("STRAẞE@STRAẞE.DE", "straße@straße.de"),
    "dotted capital I": ("İnci@example.com", "i̇nci@example.com"),
    "no domain": ("kim", "kim"),
    "nothing": (None, ""),
}
APART = [
    ("jose@example.com", "josé@example.com"),
    ("kim+a@example.com", "kim@example.com"),
    ("k.im@gmail.com", "kim@gmail.com"),
    ("strasse@example.com", "straße@example.com"),
    ("ınci@example.com", "inci@example.com"),
    ("i̇nci@example.com", "inci@example.com"),
    ('"kim"@example.com', "kim@example.com"),
    ("kim@faß.de", "kim@fass.de"),
    ("kim@example.com", "kim@example.co"),
    ("kim @example.com", "kim@example.com"),
    ("кim@example.com", "kim@example.com"),
]


@pytest.mark.parametrize(("typed", "spelled"), SAME.values(), ids=SAME)
def test_each_address_has_one_spelling(typed, spelled):
    assert normalised_email(typed) == spelled


@pytest.mark.parametrize(("one", "other"), APART)
def test_what_mail_servers_may_tell_apart_stays_apart(one, other):
    assert normalised_email(one) != normalised_email(other)


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_repeat_changes_nothing(local, domain):
    once = normalised_email(f"{local}@{domain}")
    assert normalised_email(once) == once


ADDRESSES = [spelling for spelling, spelled in SAME.values() if spelled == "josé@example.com"]


@pytest.mark.parametrize("typed", ADDRESSES)
def test_one_address_is_one_account_however_it_is_typed(client, typed):
    jose = make_user("josé@example.com", password=PASSWORD)
    refused = post(client, "/register", PROGRAM, email=typed, name="Jo", password="another horse")
    assert_refused(refused, 409, "email_taken")
    assert post(client, "/login", PROGRAM, email=typed, password=PASSWORD).get_json()["id"] == jose.id


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("Ｋim@XN--BJ0BJ06E.kr", "kim@한글.kr"), ("jose\u0301@example.com", "josé@example.com")],
)
def test_an_account_is_made_in_the_one_spelling(client, typed, kept):
    answer = post(client, "/register", PROGRAM, email=typed, name="Kim", password=PASSWORD)
    assert answer.get_json()["email"] == kept
    assert db.session.query(User.email).scalar() == kept


@pytest.mark.parametrize(("one", "other"), APART[:6])
def test_another_address_is_another_account_on_every_database(client, one, other):
    make_user(one, password=PASSWORD)
    assert_refused(post(client, "/login", PROGRAM, email=other, password=PASSWORD), 401, "wrong_credentials")
    theirs = make_user(other, password="another horse")
    answer = post(client, "/login", PROGRAM, email=other, password="another horse")
    assert answer.get_json()["id"] == theirs.id


def test_whoever_stores_or_looks_for_an_address_need_not_think_of_it(app):
    user = make_user("ＫＩＭ@Example.com")
    assert user.email == "kim@example.com" or db.session.scalar(db.select(User.email)) == "kim@example.com"
    for typed in ("KIM@EXAMPLE.COM", " kim@example.com ", "ｋim＠example.com"):
        assert db.session.scalar(db.select(User.id).where(User.email == typed)) == user.id
        assert db.session.scalar(db.select(User.id).where(User.email.in_([typed]))) == user.id
        assert redeeming.codes_of(typed) == []


def test_operators_find_the_codes_of_an_address_however_they_type_it(client):
    operator = make_user(role=OPERATOR)
    make_user("josé@example.com")
    sign_in(client, operator)
    assert visit(client, "/admin/redeem?code=JOSE\u0301@example.com").status_code == 200


def test_the_longest_address_fits(client):
    local = "a" * 63
    domain = ".".join(["b" * 61] * 3)
    email = f"{local}@{domain}.kr"
    assert len(email) <= EMAIL_LENGTH
    assert post(client, "/register", PROGRAM, email=email, name="A", password=PASSWORD).status_code == 200
