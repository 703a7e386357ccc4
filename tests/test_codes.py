from hypothesis import given
from hypothesis import strategies as st

from webapp.codes import ALPHABET, LENGTH, grouped, new_codes, normalised


def test_codes_are_long_distinct_and_of_the_alphabet():
    codes = new_codes(5000)
    assert len(set(codes)) == 5000
    assert all(len(code) == LENGTH for code in codes)
    assert set("".join(codes)) == set(ALPHABET.decode())


def test_nothing_that_is_misread_is_in_the_alphabet():
    assert not set("ILOU") & set(ALPHABET.decode())


@given(st.text(ALPHABET.decode(), min_size=LENGTH, max_size=LENGTH))
def test_a_code_survives_being_shown_and_typed(code):
    typed = grouped(code).lower().replace("0", "o").replace("1", "l").replace("-", " ")
    assert normalised(typed) == code


def test_grouping():
    assert grouped("ABCDEFGHJKMN") == "ABCD-EFGH-JKMN"
