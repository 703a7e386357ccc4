"""Coupon codes: 12 characters of Crockford's base 32, which people can type and read aloud (60 random bits)."""

import re
import secrets
from collections.abc import Iterator
from unicodedata import normalize
from urllib.parse import unquote, unquote_plus

LENGTH = 12
ALPHABET = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BY_BYTE = bytes(ALPHABET[byte % 32] for byte in range(256))

_LETTERS = [*range(0x1100, 0x1113), *range(0x1161, 0x1176), *range(0x11A8, 0x11C3), 0x111A, 0x1121]
"""Korean initial consonants, vowels, final consonants, and the two pairs that Unicode counts among the old ones."""
_KEYS = """R R S E E F A Q Q T T D W W C Z X V G K O I O J P U P H HK HO HL Y N NJ NP NL B M ML L
R R RT S SW SG E F FR FA FQ FT FX FV FG A Q QT T T D W C Z X V G FG QT"""
_KOREAN_KEYS = dict(zip(_LETTERS, _KEYS.split(), strict=True))
"""The keys that make each Korean letter on the common keyboard, where somebody meant to type Latin ones."""
_LOOK_ALIKES = str.maketrans("АВЕЅІЈКМНОРСТХУΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABESIJKMHOPCTXYABEZHIKMNOPTYX")
_DASHES = str.maketrans("‐‑‒–—―−", "-------")
"""What telephones make of a hyphen."""
_MISREAD = str.maketrans("OILU", "011V")


def new_codes(count: int) -> list[str]:
    """Return fresh codes from the operating system's random source; that they are unique, UNIQUE(code) sees to."""
    drawn = secrets.token_bytes(LENGTH * count).translate(_BY_BYTE).decode()
    return [drawn[start : start + LENGTH] for start in range(0, len(drawn), LENGTH)]


def grouped(code: str) -> str:
    """Return the code as it is shown: XXXX-XXXX-XXXX."""
    return "-".join([code[start : start + 4] for start in range(0, len(code), 4)])


def meant_by(typed: str) -> Iterator[list[str]]:
    """Yield the codes that may be meant by what somebody typed, pasted or scanned, the likeliest first.

    A shop's own code stands there as it is: as the whole text or in a link, in capitals or in small letters, in full
    width, or typed while the keyboard was Korean; or it is one word of several. No letter of it is taken for another
    one. A code of ours is meant by any of `readings`.
    """
    plain = normalize("NFKC", typed).translate(_DASHES).strip()
    yield [typed.strip()]
    yield _in_any_case([plain, *map(unquote_plus, re.findall(r"[?&]code=([^&\s]+)", typed))])
    yield _in_any_case(re.split(r"[\s\"'`,;]+", plain)) + readings(typed)


def _in_any_case(words: list[str]) -> list[str]:
    words = [*words, *(normalize("NFKD", word).translate(_KOREAN_KEYS) for word in words)]
    return list(dict.fromkeys(each for word in words for each in (word, word.upper(), word.lower()) if each))


def readings(typed: str) -> list[str]:
    """Return every code that may be meant by what somebody typed, pasted or scanned, as codes are stored.

    A code is found in lower case, full width or groups of any kind; in a link, in quotes or beside other words; and
    typed while the keyboard was Korean, whatever syllables that made. O is read as 0, I and L as 1, U as V, and what
    only looks like a Latin letter as that letter. Whether a reading is a code of ours, its 60 random bits tell.
    """
    plain = normalize("NFKD", unquote(unquote(typed)))
    return list(dict.fromkeys([*_twelves(plain), *_twelves(plain.translate(_KOREAN_KEYS))]))


def _twelves(text: str) -> Iterator[str]:
    """Yield the joined neighbouring words that are as long as a code."""
    latin = re.sub(r"\d", lambda digit: str(int(digit[0])), text.upper().translate(_LOOK_ALIKES))
    words = re.findall("[0-9A-Z]+", latin.translate(_MISREAD))
    for start in range(len(words)):
        for end in range(start + 1, min(start + LENGTH, len(words)) + 1):
            together = "".join(words[start:end])
            if len(together) == LENGTH:
                yield together
