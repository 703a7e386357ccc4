import unicodedata
from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.sale.codes import ALPHABET, LENGTH, grouped, new_codes, readings

CODE = "S44GG6ZXDBFY"
SHOWN = grouped(CODE)
LINK = f"https://coupons.example.kr/admin/redeem?code={SHOWN}"
codes = st.text(ALPHABET.decode(), min_size=LENGTH, max_size=LENGTH)


def wide(text: str) -> str:
    """Return the text as an input method in full width types it."""
    return "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in text)


def typed_in_korean(text: str) -> str:
    """Return what the common Korean input method makes of these keys."""
    made: list[str] = []
    for key, following in pairwise([*text.upper(), ""]):
        letter, vowel_next = LETTERS.get(key, key), LETTERS.get(following, "") in [*MIDDLE]
        last = made[-1] if made else ""
        syllable = ord(last) - 0xAC00 if "가" <= last <= "힣" else None
        if letter in MIDDLE and last in [*FIRST]:
            made[-1] = chr(0xAC00 + (FIRST.index(last) * 21 + MIDDLE.index(letter)) * 28)
        elif letter in MIDDLE and syllable is not None and not syllable % 28:
            pair = PAIRS.get(MIDDLE[syllable // 28 % 21] + letter)
            if pair:
                made[-1] = chr(ord(last) + (MIDDLE.index(pair) - syllable // 28 % 21) * 28)
            else:
                made.append(letter)
        elif syllable is not None and not vowel_next and not syllable % 28 and letter in LAST:
            made[-1] = chr(ord(last) + LAST.index(letter))
        elif syllable is not None and not vowel_next and PAIRS.get(LAST[syllable % 28] + letter):
            made[-1] = chr(ord(last) - syllable % 28 + LAST.index(PAIRS[LAST[syllable % 28] + letter]))
        else:
            made.append(letter)
    return "".join(made)


def test_codes_are_long_distinct_and_of_the_alphabet():
    codes = new_codes(5000)
    assert len(set(codes)) == 5000
    assert all(len(code) == LENGTH for code in codes)
    assert set("".join(codes)) == set(ALPHABET.decode())


def test_nothing_that_is_misread_is_in_the_alphabet():
    assert not set("ILOU") & set(ALPHABET.decode())


@given(codes)
def test_a_code_survives_being_shown_and_typed(code):
    typed = grouped(code).lower().replace("0", "o").replace("1", "l").replace("-", " ").replace("v", "u")
    assert readings(typed) == [code]


def test_grouping():
    assert grouped("ABCDEFGHJKMN") == "ABCD-EFGH-JKMN"


DASHES = "‐‑‒–—―−﹘﹣－ーｰ─━~_.·ㆍ•/|,:"
BLANKS = (
    "\t\n\r\v\f \u00a0\u1680\u2003\u2009\u202f\u205f\u3000\u200b\u200c\u200d\u2060\ufeff\u00ad\u3164\u2800"
)

TYPED = {
    "as stored": CODE,
    "as shown": SHOWN,
    "lower case": SHOWN.lower(),
    "mixed case": "S44g-g6Zx-dBfY",
    "no groups, blanks around": f"  {CODE}\n",
    "each character by itself": " ".join(CODE),
    "other groups": "S44 GG6 ZXD BFY",
    "on three lines": SHOWN.replace("-", "\r\n"),
    "full width": wide(SHOWN),
    "full width, lower case": wide(SHOWN.lower()),
    "full width digits alone": "S４４G-G６ZX-DBFY",
    "mathematical letters": "𝐒𝟒𝟒𝐆-𝐆𝟔𝐙𝐗-𝐃𝐁𝐅𝐘",
    "letters in circles": "Ⓢ④④Ⓖ-Ⓖ⑥ⓏⓍ-ⒹⒷⒻⓎ",
    "digits of another script": "S٤٤G-G६ZX-DBFY",
    "accents": "Ś44G-Ģ6ŻX-ĎBFÝ",
    "Cyrillic look-alikes": "Ѕ44G-G6ZХ-DВFУ",
    "Greek look-alikes": "S44G-G6ΖΧ-DΒFΥ",
    "a mark of direction before it": f"\u200e\u202a{SHOWN}\u202c",
    "a zero byte behind it": f"{SHOWN}\0",
    "in quotes": f'"{SHOWN}"',
    "in other quotes": f"“{SHOWN}”",
    "in brackets": f"「{SHOWN}」",
    "the end of a sentence": f"{SHOWN}.",
    "after a word": f"code: {SHOWN}",
    "after a word of four letters": "code S44G G6ZX DBFY",
    "after a Korean word": f"쿠폰: {SHOWN}",
    "after a Korean word of four keys": "코드 S44G G6ZX DBFY",
    "between Korean words, without a blank": f"쿠폰{CODE}입니다",
    "in a sentence": f"제 쿠폰 번호는 {SHOWN} 이에요!",
    "our link": LINK,
    "our link, without dashes": LINK.replace("-", ""),
    "something behind it": f"{LINK}&utm_source=kakao&utm_campaign=winter#frag",
    "something before it": LINK.replace("?", "?utm_source=kakao&"),
    "upper case, as a scanner makes it": LINK.upper(),
    "percent-encoded": quote(LINK, safe=""),
    "encoded twice": quote(quote(LINK, safe=""), safe=""),
    "dashes encoded": LINK.replace("-", "%2D"),
    "full width, encoded": f"https://coupons.example.kr/admin/redeem?code={quote(wide(SHOWN))}",
    "a plus for a blank": LINK.replace("-", "+"),
    "through the sign-in": f"https://coupons.example.kr/login?next={quote(f'/admin/redeem?code={SHOWN}')}",
    "in angle brackets": f"<{LINK}>",
    "a link in Markdown": f"[쿠폰]({LINK}).",
    "an entity behind it": f"{SHOWN}&nbsp;",
    "a query alone": f"?code={SHOWN}",
    "Korean keys": "ㄴ44ㅎ-ㅎ6ㅋㅌ-ㅇㅠㄹㅛ",
    "Korean keys, without dashes": "ㄴ44ㅎㅎ6ㅋㅌㅇㅠㄹㅛ",
    "Korean keys, composed": "ㄴ44ㅎ-ㅎ6ㅋㅌ-율ㅛ",
    "Korean keys, in Unicode's other form": unicodedata.normalize("NFD", "ㄴ44ㅎ-ㅎ6ㅋㅌ-율ㅛ"),
    "Korean keys, half width": "ﾤ44ﾾ-ﾾ6ﾻﾼ-ﾷￗﾩￒ",
    "Korean keys, full width digits": "ㄴ４４ㅎ－ㅎ６ㅋㅌ－율ㅛ",
    "Korean and Latin keys mixed": "s44ㅎ-g6ㅋX-ㅇbㄹy",
    "a scanner on a Korean keyboard": "ㅗㅅ세ㄴ://챠ㅔ.ㅏㄱ/ㅁ으ㅑㅜ/ㄱㄷㅇㄷㄷㅡ?챙ㄷ=ㄴ44ㅎ-ㅎ6ㅋㅌ-율ㅛ",
}


@pytest.mark.parametrize("typed", TYPED.values(), ids=TYPED.keys())
def test_a_code_is_read_however_it_comes(typed):
    assert CODE in readings(typed)


@pytest.mark.parametrize("between", [*DASHES, *BLANKS], ids=lambda each: f"U+{ord(each):04X}")
def test_whatever_stands_between_the_groups(between):
    assert readings(SHOWN.replace("-", between)) == [CODE]
    assert readings(f"{between}{SHOWN.replace('-', between * 2)}{between}") == [CODE]


@pytest.mark.parametrize(
    "typed",
    ["", " ", "-", CODE[:-1], f"{CODE}X", f"{SHOWN}7", "ㄴ44ㅎ", "%", "한", "\ud800", "🎟", "kim@b.kr"],
)
def test_what_is_no_code_has_no_reading(typed):
    assert readings(typed) == []


KEYS = dict(zip("ㄲㄸㅃㅆㅉㅒㅖㅘㅙㅚㅝㅞㅟㅢ", "R E Q T W O P HK HO HL NJ NP NL ML".split(), strict=True))  # noqa: SIM905
KEYS |= dict(zip("ㄳㄵㄶㄺㄻㄼㄽㄾㄿㅀㅄ", "RT SW SG FR FA FQ FT FX FV FG QT".split(), strict=True))  # noqa: SIM905
KEYS |= {
    "가": "RK",
    "과": "RHK",
    "값": "RKQT",
    "뷁": "QNPFR",
    "희": "GML",
    "쌓": "TKG",
    "얘": "DO",
    "앉": "DKSW",
}


@pytest.mark.parametrize(("typed", "keys"), KEYS.items())
def test_the_keys_of_what_a_korean_keyboard_makes(typed, keys):
    (code,) = readings(typed + "7" * (LENGTH - len(keys)))
    assert code == keys.ljust(LENGTH, "7").translate(str.maketrans("OILU", "011V"))


LETTERS = dict(
    zip("RSEFAQTDWCZXVGKOIJPUHYNBML", "ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎㅏㅐㅑㅓㅔㅕㅗㅛㅜㅠㅡㅣ", strict=True)
)
PAIRS = {
    "ㅗㅏ": "ㅘ",
    "ㅗㅐ": "ㅙ",
    "ㅗㅣ": "ㅚ",
    "ㅜㅓ": "ㅝ",
    "ㅜㅔ": "ㅞ",
    "ㅜㅣ": "ㅟ",
    "ㅡㅣ": "ㅢ",
    "ㄱㅅ": "ㄳ",
    "ㅂㅅ": "ㅄ",
}
PAIRS |= {
    "ㄴㅈ": "ㄵ",
    "ㄴㅎ": "ㄶ",
    "ㄹㄱ": "ㄺ",
    "ㄹㅁ": "ㄻ",
    "ㄹㅂ": "ㄼ",
    "ㄹㅅ": "ㄽ",
    "ㄹㅌ": "ㄾ",
    "ㄹㅍ": "ㄿ",
    "ㄹㅎ": "ㅀ",
}
FIRST, MIDDLE, LAST = (
    "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ",
    "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ",
    " ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ",
)


def test_the_input_method_of_this_test_is_one():
    assert typed_in_korean("ENFRL") == "둘기"
    assert typed_in_korean("RHKDWKD") == "광장"
    assert typed_in_korean("RKQT7") == "값7"
    assert typed_in_korean("EKFRRHRL") == "닭고기"


@given(codes, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_every_code_is_read_from_korean_keys(code, form):
    for text in (code, grouped(code)):
        assert code in readings(unicodedata.normalize(form, typed_in_korean(text)))
