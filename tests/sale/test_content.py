"""What a campaign says in two languages: written by page and command, cleaned, weighed, and shown in every state."""

import gzip
import json
import random
import re

import pytest

from tests.builders import make_coupon, make_user, sign_in
from tests.cli.test_cli import assert_one_line, run
from tests.conftest import on_sqlite
from tests.values.test_pictures import file_of, noise
from tests.web.test_admin import errors, operator, post, row
from tests.web.test_pages import STATES, missed
from webapp.models import DRAFT
from webapp.sale import content as contents
from webapp.sale.content import Content, content_of, said_in, set_content
from webapp.sale.coupons import InvalidField
from webapp.sale.pictures import set_picture
from webapp.stores.script_redis import connect_redis

__all__ = ["operator", "run"]

KOREAN = {
    "title": "가을 쿠폰",
    "description": "**따뜻한** 커피 한 잔",
    "terms": "- 1인 1매\n- 다른 쿠폰과 함께 쓸 수 없어요",
    "place": "전국 매장",
    "contact": "02-123-4567",
}
SHOWN = ("<strong>따뜻한</strong>", "<li>1인 1매</li>", "전국 매장", "02-123-4567")
EVERY_STATE = sorted({state for state, *_ in STATES}, key=lambda state: state.__name__)


def written(coupon: int, language: str = "ko") -> Content:
    return content_of(row(coupon))[language]


def write(coupon: int, language: str = "ko", **texts: str) -> None:
    set_content(coupon, language, texts, by=None)


def page_of(client, coupon: int, language: str = "ko") -> str:
    return client.get(f"/coupons/{coupon}", headers={"Accept-Language": language}).text


def form_of(client, coupon: int, lang: str = "ko") -> dict[str, str]:
    """Return the fields of the form as a browser would send them back untouched."""
    page = client.get(f"/admin/coupons/{coupon}/content/{lang}", follow_redirects=True).text
    shown = re.search(r'name="shown"[^>]*value="([^"]*)"', page)[1].replace("&#34;", '"')
    return vars(written(coupon, lang)) | {"shown": shown}


def random_korean(length: int, which: int = 1) -> str:
    """Return a text that cannot be compressed, as no text of people is."""
    letters = random.Random(which)
    return "".join(chr(letters.randrange(0xAC00, 0xD7A4)) for _ in range(length))


@on_sqlite
@pytest.mark.parametrize("state", EVERY_STATE)
def test_every_state_says_it_and_stays_light(app, client, state):
    coupon = state(client)
    write(coupon, **KOREAN)
    for language in ("ko", "en"):
        page = page_of(client, coupon, language)
        assert [words for words in SHOWN if words not in page] == []
        assert '<details id="terms">' in page
        assert 'href="/help"' in page
        assert len(gzip.compress(page.encode())) <= 10 * 1024


@on_sqlite
def test_the_heaviest_content_that_is_taken_fits_into_the_heaviest_page(app, client):
    coupon = missed(client)
    set_picture(coupon, file_of(noise((1600, 800)), "JPEG"), by=None)
    texts = {"description": random_korean(1200), "terms": random_korean(1400, 2)}
    write(coupon, **KOREAN | texts | {"place": random_korean(200, 3), "contact": random_korean(200, 4)})
    with pytest.raises(InvalidField) as refusal:
        write(coupon, terms=random_korean(2000, 2))
    assert refusal.value.field == "terms"
    assert re.search(r"\d% 정도 줄여", str(refusal.value))
    assert len(gzip.compress(page_of(client, coupon).encode())) <= 10 * 1024


@on_sqlite
def test_a_text_that_is_missing_is_shown_in_the_other_language(app, client):
    coupon = make_coupon(title="가을 쿠폰")
    write(coupon, "en", terms="One each", contact="call us")
    write(coupon, **KOREAN | {"contact": ""})
    english, korean = page_of(client, coupon, "en"), page_of(client, coupon)
    assert "One each" in english
    assert '<dd lang="ko">전국 매장</dd>' in english
    assert '<dd lang="en">call us</dd>' in korean
    assert "<title>" in english
    assert "가을 쿠폰" in english
    write(coupon, "en", title="Autumn coupon")
    assert "Autumn coupon" in page_of(client, coupon, "en")
    assert "Autumn coupon" in client.get("/", headers={"Accept-Language": "en"}).text
    assert "Autumn coupon" not in page_of(client, coupon)
    assert said_in("ko", content_of(row(coupon)))["title"].text == "가을 쿠폰"


def test_texts_are_cleaned_and_a_repeat_changes_nothing(app):
    coupon = make_coupon()
    for _ in range(2):
        write(
            coupon,
            title=" 가을\u200b ",
            terms="\r\n- 하나\u202e\r\n\r\n\r\n\r\n  - 둘 \r\n",
            place="전국\n매장",
        )
        assert vars(written(coupon)) == vars(
            Content(title="가을", terms="- 하나\n\n  - 둘", place="전국 매장")
        )


@on_sqlite
@pytest.mark.parametrize(
    ("language", "name", "text"),
    [
        ("ko", "title", ""),
        ("ko", "title", "\u200b"),
        ("ko", "title", "x" * 101),
        ("en", "title", "x" * 101),
        ("ko", "description", "x" * 5001),
        ("ko", "terms", "x" * 10**6),
        ("en", "place", "x" * 201),
        ("en", "contact", "x" * 201),
    ],
)
def test_what_is_too_long_or_empty_is_refused_and_nothing_changes(app, language, name, text):
    coupon = make_coupon()
    write(coupon, **KOREAN)
    with pytest.raises(InvalidField) as refusal:
        write(coupon, language, **{"contact": "new", name: text})
    assert refusal.value.field == name
    assert vars(written(coupon)) == KOREAN
    assert written(coupon, "en") == Content()


@on_sqlite
def test_texts_need_no_redis(app, monkeypatch):
    coupon = make_coupon()
    monkeypatch.setitem(app.extensions, "line", connect_redis("redis://127.0.0.1:1", decode_responses=True))
    write(coupon, **KOREAN)
    assert vars(written(coupon)) == KOREAN


def test_an_unknown_coupon(app):
    with pytest.raises(LookupError):
        write(10**9, title="x")


def test_the_page_writes_both_languages(operator):
    coupon = make_coupon()
    answer = post(operator, f"/admin/coupons/{coupon}/content", **KOREAN)
    assert answer.status_code == 422, "a form without marks has not seen what stands"
    for lang, texts in (("ko", KOREAN), ("en", {"title": "Autumn", "terms": "One each"})):
        path = f"/admin/coupons/{coupon}/content/{lang}"
        assert post(operator, path, **form_of(operator, coupon, lang) | texts).status_code in (303, 308)
    assert (
        post(operator, f"/admin/coupons/{coupon}/content", **form_of(operator, coupon) | KOREAN).status_code
        == 303
    )
    assert vars(written(coupon)) == KOREAN
    assert written(coupon, "en") == Content(title="Autumn", terms="One each")
    assert (
        "As people see it"
        in operator.get(f"/admin/coupons/{coupon}/content", headers={"Accept-Language": "en"}).text
    )


def test_the_second_of_two_operators_sees_what_the_first_has_written(operator):
    coupon = make_coupon()
    write(coupon, **KOREAN)
    path, seen = f"/admin/coupons/{coupon}/content", form_of(operator, coupon)
    write(coupon, terms="- 1인 2매")
    answer = post(operator, path, **seen | {"terms": "- 1인 3매", "place": "서울 매장"})
    assert (answer.status_code, errors(answer.text)) == (422, ["terms"])
    assert "- 1인 2매" in answer.text
    assert "- 1인 3매" in answer.text
    assert (written(coupon).terms, written(coupon).place) == ("- 1인 2매", "전국 매장")
    again = seen | {
        "terms": "- 1인 3매",
        "shown": re.search(r'name="shown"[^>]*value="([^"]*)"', answer.text)[1],
    }
    again["shown"] = again["shown"].replace("&#34;", '"')
    assert post(operator, path, **again).status_code == 303
    assert written(coupon).terms == "- 1인 3매"


def test_control_without_the_marks_the_second_overwrites_the_first(operator, monkeypatch):
    monkeypatch.setattr(contents, "_refuse_unseen", lambda *_: None)
    coupon = make_coupon()
    seen = form_of(operator, coupon)
    write(coupon, terms="- 1인 2매")
    assert post(operator, f"/admin/coupons/{coupon}/content", **seen | {"terms": "x"}).status_code == 303
    assert written(coupon).terms == "x"


@on_sqlite
def test_two_operators_who_write_different_texts_do_not_undo_each_other(operator):
    coupon = make_coupon()
    seen = form_of(operator, coupon)
    write(coupon, place="서울 매장")
    assert post(operator, f"/admin/coupons/{coupon}/content", **seen | {"terms": "x"}).status_code == 303
    assert (written(coupon).terms, written(coupon).place) == ("x", "서울 매장")


@on_sqlite
@pytest.mark.parametrize("shown", ["[" * 50_000, "null", "1", '{"terms": {"a": 1}}', "\\ud800"])
def test_nonsense_in_the_hidden_field_is_no_error(operator, shown):
    coupon = make_coupon()
    answer = post(operator, f"/admin/coupons/{coupon}/content", terms="x", title="Coupon", shown=shown)
    assert answer.status_code == 422


FILE = """title: 가을 쿠폰
place: 전국 매장
contact: 02-123-4567

**따뜻한** 커피 한 잔

---
- 1인 1매
- 다른 쿠폰과 함께 쓸 수 없어요
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_the_command_writes_a_file(run, tmp_path, encoding):
    coupon, path = make_coupon(), tmp_path / "content.md"
    path.write_bytes(FILE.replace("\n", "\r\n").encode(encoding))
    for _ in range(2):
        assert run("coupon", "content", coupon, "--lang", "ko", "--file", path).exit_code == 0
        assert vars(written(coupon)) == KOREAN
    path.write_text("Just words")
    assert run("coupon", "content", coupon, "--lang", "ko", "--file", path).exit_code == 0
    assert written(coupon) == Content(title="가을 쿠폰", description="Just words")


@on_sqlite
def test_what_the_command_refuses_is_one_line(run, tmp_path):
    coupon, path = make_coupon(), tmp_path / "content.md"
    for data, word in ((b"\xff\xfe\x00", "no text"), (b"x" * 70_000, "64 KB"), (b"x" * 6000, "5,000")):
        path.write_bytes(data)
        assert_one_line(run("coupon", "content", coupon, "--lang", "ko", "--file", path), word)
    path.write_text("x")
    assert_one_line(run("coupon", "content", 10**9, "--lang", "ko", "--file", path), "no coupon")
    assert written(coupon) == Content(title="Coupon")


@on_sqlite
def test_a_shared_link_says_what_it_leads_to_and_only_to_who_is_not_signed_in(app, client):
    coupon = make_coupon(title="가을 & 쿠폰", discount_amount=5000)
    write(coupon, description='**커피** "한 잔" <b>\n' + "길게 " * 100)
    assert "og:url" not in page_of(client, coupon), "whoever asks would choose the name"
    app.config["ALLOWED_HOSTS"] = ("localhost",)
    page = page_of(client, coupon)
    said = dict(re.findall(r'<meta property="og:([a-z:]+)" content="([^"]*)">', page))
    assert said["title"] == "가을 &amp; 쿠폰"
    assert said["description"].startswith("5,000원 할인 · 커피 &#34;한 잔&#34; &lt;b&gt; 길게")
    assert len(said["description"]) < 200
    assert said["url"] == f"http://localhost/coupons/{coupon}"
    sign_in(client, make_user())
    assert "og:" not in page_of(client, coupon)


@on_sqlite
@pytest.mark.parametrize("who", ["anonymous", "signed in"])
def test_before_the_start_one_may_keep_the_date_and_share_the_page(app, client, who):
    if who == "signed in":
        sign_in(client, make_user())
    coupon, opened = make_coupon(opens_in=3600, closes_in=7200), make_coupon()
    for name in ("calendar.ics", "share"):
        assert f'href="/coupons/{coupon}/{name}"' in page_of(client, coupon)
        assert f'href="/coupons/{opened}/{name}"' not in page_of(client, opened)


@on_sqlite
def test_the_entry_for_calendars(app, client):
    from icalendar import Calendar

    coupon = make_coupon(opens_in=3600, closes_in=7200, title="가을, 쿠폰; 50%\\")
    answer = client.get(f"/coupons/{coupon}/calendar.ics", headers={"Accept-Language": "ko"})
    assert answer.content_type == "text/calendar; charset=utf-8"
    (event,) = Calendar.from_ical(answer.data).walk("VEVENT")
    assert event["SUMMARY"] == "가을, 쿠폰; 50%\\"
    assert event["DTSTART"].dt == row(coupon).issue_start_at.replace(microsecond=0)
    assert event["URL"] == f"http://localhost/coupons/{coupon}"
    assert len(event.walk("VALARM")) == 1


@on_sqlite
@pytest.mark.parametrize("name", ["calendar.ics", "share"])
def test_a_draft_has_neither(app, client, name):
    assert client.get(f"/coupons/{make_coupon(status=DRAFT)}/{name}").status_code == 404
    assert client.get(f"/coupons/{10**9}/{name}").status_code == 404


@on_sqlite
def test_the_page_to_share_works_without_javascript(app, client):
    coupon = make_coupon(title="50% & more")
    page = client.get(f"/coupons/{coupon}/share").text
    assert f'readonly value="http://localhost/coupons/{coupon}"' in page
    assert f"mailto:?subject=50%25%20%26%20more&amp;body=http%3A//localhost/coupons/{coupon}" in page
    assert json.dumps(page).count("hidden") >= 2


@on_sqlite
def test_help_is_there_for_everybody(app, client):
    assert "도움말" in client.get("/help", headers={"Accept-Language": "ko"}).text
