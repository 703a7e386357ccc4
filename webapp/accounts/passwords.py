"""Passwords: the ones that are refused, and their hashes, a limited number at a time.

A hash is scrypt N=2^15, r=8, p=3 (a setting of OWASP's table): 32 MB and about 0.3 s of a core. Under gevent it runs in
a native thread, so that the loop goes on. Networks take the slots in turn (`webapp.accounts.turns`), so a network that
sends many passwords at once holds up nobody else.
"""

import gzip
import re
import threading
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TypeVar
from unicodedata import normalize

from flask import current_app
from werkzeug.security import check_password_hash, generate_password_hash

from webapp.accounts.networks import network_of_request
from webapp.accounts.turns import CrowdTooLarge, NoPlace, Turns
from webapp.stores.native import natively

METHOD = "scrypt:32768:8:3"
UNUSABLE = "!"
"""A stored hash that no password matches."""
WAIT_S = 10.0
MOST_WAITING = 30
"""The most hashes of one network that wait for a slot; the last of them waits about WAIT_S."""
LEAST_LENGTH, MOST_LENGTH = 8, 1000

LISTS = ("common-passwords.txt.gz", "korean-passwords.txt")
"""The 20,000 common passwords of Django, compiled by Royce Williams from leaks; and words that Koreans type, also as
the same keys write them without Hangul."""
GZIP = b"\x1f\x8b"
AT_THE_END = re.compile(r"[\W\d_]+$")
MOST_DIGITS = 11
"""Up to so many digits, and nothing else, are a date or a telephone number."""
LONGEST_REPEATED = 4

T = TypeVar("T")


class TooManyHashes(Exception):
    """No slot for another hash came free within WAIT_S."""


class TooManyFromNetwork(TooManyHashes):
    """MOST_WAITING hashes of the same network wait for a slot already."""


def normalised_password(password: str | None) -> str:
    """Return the one spelling of a password, however the keyboard composed it."""
    return normalize("NFKC", password or "")


def is_guessed(password: str, *personal: str) -> bool:
    """Say whether a password is among the first guesses: common, one of `personal`, or hardly more than one key.

    Digits and signs at its end do not make a guess better: the part before them counts.
    """
    folded = normalised_password(password).casefold()
    words = {normalised_password(word).casefold() for word in personal} - {""}
    tried = {folded, AT_THE_END.sub("", folded)} - {""}
    return _is_a_pattern(folded) or bool(tried & words) or any(f"\n{word}\n" in _common() for word in tried)


def hash_password(password: str) -> str:
    """Return the hash of a password. Raises TooManyHashes, TooManyFromNetwork."""
    return _run(generate_password_hash, normalised_password(password), METHOD)


def check_password(password_hash: str | None, password: str) -> bool:
    """Say whether the password fits the hash. An unknown account (None) takes as long as a known one.

    So nobody can tell by the time whether an account exists. Both spellings are compared, because an old hash was made
    before `normalised_password` existed. Raises TooManyHashes, TooManyFromNetwork.
    """
    spellings = dict.fromkeys((normalised_password(password), password))
    if password_hash in (None, UNUSABLE):
        for spelling in spellings:
            _run(generate_password_hash, spelling, METHOD)
        return False
    return any(_run(check_password_hash, password_hash, spelling) for spelling in spellings)


def _is_a_pattern(text: str) -> bool:
    """Say whether the text is one part over and over, an ascending or descending row, or a few digits."""
    repeated = any(
        text == (text[:length] * len(text))[: len(text)] for length in range(1, LONGEST_REPEATED + 1)
    )
    steps = {ord(after) - ord(before) for before, after in pairwise(text)}
    return repeated or len(steps) < 2 or (text.isdecimal() and len(text) <= MOST_DIGITS)


@cache
def _common() -> str:
    """Return the lists as one text, a word a line; a set of words would take twenty times the memory."""
    files = [Path(__file__).with_name(name).read_bytes() for name in LISTS]
    texts = [gzip.decompress(file) if file.startswith(GZIP) else file for file in files]
    return "\n".join(["", *(text.decode() for text in texts), ""])


def _run(function: Callable[..., T], *args: object) -> T:
    try:
        with _turns(current_app.config["HASHES_AT_ONCE"]).place(_crowd(), WAIT_S):
            return natively(function, *args)
    except CrowdTooLarge:
        raise TooManyFromNetwork from None
    except NoPlace:
        raise TooManyHashes from None


def _crowd() -> str:
    """Return the crowd of a hash for `Turns`: its network, or this thread when no request asks for it."""
    return network_of_request() or f"thread {threading.get_ident()}"


@cache
def _turns(slots: int) -> Turns:
    return Turns(slots, most_waiting=MOST_WAITING)


def personal_words(email: str, name: str) -> list[str]:
    """Return the words that a person's password must not be: their address and name, in whole and in parts."""
    local, _at, domain = (email or "").partition("@")
    return [email, local, domain, domain.partition(".")[0], name, *(name or "").split()]
