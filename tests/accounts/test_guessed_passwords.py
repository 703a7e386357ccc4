"""Passwords that are tried first."""

import pytest

from webapp.accounts import passwords
from webapp.accounts.passwords import is_guessed

WHO = ("minji@example.com", "minji", "김민지", "민지")
GUESSED = {
    "common": "password PASSWORD ｐａｓｓｗｏｒｄ Password1! p@ssw0rd iloveyou ILoveYou2024 firstcome FirstCome1!",
    "keys": "qwer1234 1q2w3e4r 1q2w3e4r!! rkskekfk rkskekfk12 qlalfqjsgh dkssudgktpdy tkfkdgody1!",
    "Korean": "비밀번호1234 안녕하세요!!! 가나다라마바사아 선착순선착순선착순",
    "figures": "12345678 1234567890 87654321 19901225 01012345678",
    "patterns": "abcdefgh zyxwvuts aaaaaaaa ㅋㅋㅋㅋㅋㅋㅋㅋ !!!!!!!! abababab abcabcabc 12341234 민지민지민지",
    "personal": "minji@example.com minji1234 MINJI!!!! ｍｉｎｊｉ1234 김민지123",
}
NOT_GUESSED = [
    "correct horse",
    "correct horse 🐎",
    "a long password",
    "zebra crossing",
    "x7#kQp!2",
    "한 줄의 긴 비밀번호",
    "가을밤에는 별이 많다",
    "minji likes autumn",
    "20240101aa!x",
    "918273645546372819",
    "aaaaaaaab",
    "dkssud gktpdy dhsmf",
]


@pytest.mark.parametrize("password", " ".join(GUESSED.values()).split())
def test_what_is_tried_first_is_no_password(password):
    assert is_guessed(password, *WHO)


@pytest.mark.parametrize("password", NOT_GUESSED)
def test_other_passwords_are_everybodys_own_affair(password):
    assert not is_guessed(password, *WHO)


def test_an_empty_name_forbids_nothing():
    assert not is_guessed("correct horse", "", "")


def test_the_lists_are_read_when_the_first_password_is_chosen():
    passwords._common.cache_clear()
    assert not is_guessed("correct horse")
    assert passwords._common.cache_info().currsize == 1
    assert len(passwords._common().split()) > 19_000
