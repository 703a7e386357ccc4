"""Every text stands in Korean too, and the compiled catalogue is the one that was written."""

from io import BytesIO
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po

ROOT = Path(__file__).parents[2]
CATALOGUE = ROOT / "webapp/translations/ko/LC_MESSAGES/messages.po"
METHODS = [("webapp/**.py", "python"), ("templates/**.html", "jinja2")]
KEYWORDS = {"_": None, "gettext": None, "lazy_gettext": None}


@pytest.fixture(scope="module")
def korean() -> Catalog:
    with CATALOGUE.open("rb") as file:
        return read_po(file, locale="ko")


def used_texts() -> set[str]:
    found = extract_from_dir(ROOT, METHODS, keywords=KEYWORDS)
    return {message if isinstance(message, str) else message[0] for _, _, message, _, _ in found}


def variables(text: str) -> set[str]:
    return {part.split(")")[0] for part in text.split("%(")[1:]} | {part for part in ("{n}",) if part in text}


def test_every_text_has_a_korean_one(korean):
    used = used_texts()
    assert len(used) > 100
    translated = {message.id for message in korean if message.id and message.string and not message.fuzzy}
    assert used - translated == set()


def test_no_korean_text_is_left_over(korean):
    assert {message.id for message in korean if message.id} - used_texts() == set()


def test_the_variables_are_the_same(korean):
    for message in korean:
        assert not list(message.check(korean)), message.id
        if message.id:
            assert variables(message.id) == variables(message.string), message.id


@pytest.mark.parametrize("word", ["품절", "에포크", "회차", "더 새것", "더 예전"])
def test_no_text_says_what_nobody_says(korean, word):
    assert [message.id for message in korean if word in str(message.string)] == []


def test_the_compiled_catalogue_is_up_to_date(korean):
    compiled = BytesIO()
    write_mo(compiled, korean)
    compiled.seek(0)
    with CATALOGUE.with_suffix(".mo").open("rb") as file:
        written = {message.id: message.string for message in read_mo(file) if message.id}
    assert written == {message.id: message.string for message in read_mo(compiled) if message.id}
