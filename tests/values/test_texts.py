"""What becomes of a typed line: what shows nothing is none of it, what people mean stays."""

import unicodedata
from itertools import chain

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from webapp.values import texts
from webapp.values.texts import MOST_MARKS, figures, one_line

NOTHING = {
    "empty": "",
    "space": " \t ",
    "no-break space": "\xa0",
    "ideographic space": "\u3000",
    "zero width space": "\u200b",
    "byte order mark": "\ufeff",
    "word joiner": "\u2060",
    "soft hyphen": "\xad",
    "Hangul filler": "\u3164",
    "half-width Hangul filler": "\uffa0",
    "Hangul choseong and jungseong fillers": "\u115f\u1160",
    "Braille blank": "\u2800",
    "Mongolian vowel separator": "\u180e",
    "combining grapheme joiner": "\u034f",
    "Khmer inherent vowels": "\u17b4\u17b5",
    "invisible operators": "\u2061\u2062\u2063\u2064",
    "musical beginnings and ends": "\U0001d173\U0001d17a\U0001d159",
    "tags": "\U000e0001\U000e0067\U000e007f",
    "joiners": "\u200d\u200c",
    "joiner after a mark of direction": "\u061c\u200d",
    "variation selector": "\ufe0f",
    "supplementary variation selectors": "\U000e0100" * 9,
    "marks that nothing carries": "\u0301\u20dd",
    "controls": "\0\x1b\x7f\x85\x9b",
    "direction": "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c",
    "deprecated format characters": "\u206a\u206f",
    "annotations and a lost picture": "\ufff9\ufffb\ufffc",
    "private use": "\ue000\U000f0000\U0010fffd",
    "no characters": "\uffff\ufdd0\U0001fffe\U0010ffff",
    "line and paragraph separators": "\u2028\u2029",
    "a mixture": " \u200b\u3164\ufeff\n\u2060 ",
}


@pytest.mark.parametrize("text", NOTHING.values(), ids=NOTHING)
def test_what_shows_nothing_is_no_text(text):
    assert one_line(text) == ""
    assert one_line(f"가{text}") == "가" or text in NOTHING_ALONE
    assert one_line(f"{text}가") == "가"


NOTHING_ALONE = [
    NOTHING[name]
    for name in ("variation selector", "supplementary variation selectors", "marks that nothing carries")
]
"""Behind a character they are part of it."""

CLEANED = {
    "newline": ("가을\n쿠폰", "가을 쿠폰"),
    "lines of Windows, tabs and spaces": ("가을\r\n\t 쿠폰 ", "가을 쿠폰"),
    "no-break space": ("가을\xa0쿠폰", "가을 쿠폰"),
    "Hangul filler for a space": ("홍\u3164길동", "홍 길동"),
    "override": ("abc\u202egpj.exe", "abcgpj.exe"),
    "isolates": ("\u2066가을\u2069 쿠폰", "가을 쿠폰"),
    "zero width space within": ("무료\u200b쿠폰", "무료쿠폰"),
    "soft hyphen within": ("cou\xadpon", "coupon"),
    "joiner between letters": ("ab\u200dcd\u200c", "abcd"),
    "terminal": ("a\x1b[2Jb", "a[2Jb"),
    "hidden message in tags": ("쿠폰\U000e0068\U000e0069", "쿠폰"),
    "decomposed Hangul": (unicodedata.normalize("NFD", "가을 쿠폰"), "가을 쿠폰"),
    "decomposed Latin": ("cafe\u0301", "café"),
    "zero width space between letter and mark": ("e\u200b\u0301", "é"),
    "too many marks": ("a" + "\u0316" * 40 + "b", "a" + "\u0316" * MOST_MARKS + "b"),
}


@pytest.mark.parametrize(("typed", "kept"), CLEANED.values(), ids=CLEANED)
def test_it_is_cleaned(typed, kept):
    assert one_line(typed) == kept


KEPT = {
    "Korean": "가을 쿠폰 (50% 할인!)",
    "old Hangul": "ᄒᆞᆫ",
    "lone jamo": "ㅋㅋㅋ",
    "family": "👨‍👩‍👧",
    "rainbow flag": "🏳️‍🌈",
    "heart on fire": "❤️‍🔥",
    "skin and profession": "👩🏽‍💻",
    "polar bear": "🐻‍❄️",
    "keycap": "1️⃣",
    "flag of Korea": "🇰🇷",
    "flag of Scotland": "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "text style": "☎︎",
    "Persian non-joiner": "می‌خواهم",
    "Malayalam joiner at the end": "അവന്‍",
    "Sinhala": "ශ්‍රී",
    "Thai": "น้ำ",
    "Vietnamese": "Nguyễn Thị Minh Khai",
    "Hebrew with points": "שָׁלוֹם",
    "Arabic": "محمد",
    "Arabic number sign": "\u0600١",
    "emoji of a later Unicode": "\U0001fae9",
    "full width": "ＡＢＣ！",
    "punctuation": "…",
    "replacement": "\ufffd",
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_what_people_mean_stays(text):
    assert one_line(f" {text} ") == text == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("text", ["\ud800", "a\udc80", "\udced\udca0\udc80"])
def test_half_characters_are_refused(text):
    with pytest.raises(UnicodeError):
        one_line(text)


ODD = "".join([*NOTHING.values(), *KEPT.values(), *chain(*CLEANED.values())])
TEXTS = st.text(st.one_of(st.sampled_from(sorted(set(ODD))), st.characters(exclude_categories=["Cs"])))


@given(TEXTS)
@example("\u0344" * 9)
def test_a_repeat_changes_nothing_and_what_is_left_is_seen(text):
    line = one_line(text)
    assert one_line(line) == line
    assert unicodedata.is_normalized("NFC", line)
    assert all(unicodedata.category(char) not in ("Cc", "Cs", "Co", "Zl", "Zp") for char in line)
    assert not line or unicodedata.category(line[0]) not in ("Mn", "Me")


def test_every_character_that_unicode_lets_show_nothing_shows_nothing_here():
    """Alone none is a text, but for signs that stand over Arabic digits and are seen."""
    formats = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) == "Cf"]
    seen = [char for char in formats if one_line(char)]
    assert len(formats) > 150
    assert {unicodedata.name(char).split()[0] for char in seen} <= {"ARABIC", "SYRIAC", "KAITHI"}


def test_control_without_the_limit_of_marks_a_flood_stays(monkeypatch):
    monkeypatch.setattr(texts, "MOST_MARKS", 10**6)
    assert len(one_line(CLEANED["too many marks"][0])) == 42


@pytest.mark.parametrize(
    ("typed", "narrow"), [("１，０００", "1,000"), ("２０：００", "20:00"), ("\ufeff5 ", "5")]
)
def test_full_width_figures(typed, narrow):
    assert figures(typed) == narrow
