"""One colour of a shop: every shade that is made of it can be read, and one that cannot is refused."""

import random

import pytest

from webapp.values.colours import (
    DARK_CARD,
    LEAST_CONTRAST,
    LIGHT_PAGE,
    WHITE,
    contrast,
    on_dark,
    on_light,
    read_colour,
)

ANY = [tuple(random.Random(seed).randbytes(3)) for seed in range(300)]


def at_least(one: str, *others: str) -> bool:
    return all(contrast(read_colour(one), read_colour(other)) >= LEAST_CONTRAST for other in others)


def hexed(colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


@pytest.mark.parametrize("colour", [*ANY, (0, 0, 0), (255, 255, 255)], ids=hexed)
def test_what_is_made_of_any_colour_can_be_read(colour):
    dark = on_dark(colour)
    assert at_least(dark.accent, dark.soft, dark.accent_ink, hexed(DARK_CARD))
    try:
        light = on_light(colour)
    except ValueError as refusal:
        light = on_light(read_colour(str(refusal).split("; ")[1].split(" ")[0]))
    assert at_least(light.accent, light.soft, light.accent_ink, hexed(WHITE), hexed(LIGHT_PAGE))


def test_contrast_is_that_of_wcag():
    assert contrast(WHITE, (0, 0, 0)) == pytest.approx(21)
    assert contrast(WHITE, (0x76, 0x76, 0x76)) == pytest.approx(4.54, abs=0.005)
    assert contrast((255, 0, 0), WHITE) == pytest.approx(4.0, abs=0.005)


@pytest.mark.parametrize(
    "text", ["", "green", "#fff", "#12345g", "0b6b4f00", "rgb(1,2,3)", "#0b6b4f;}body{display:none"]
)
def test_what_is_no_colour_is_refused(text):
    with pytest.raises(ValueError, match="is not a colour"):
        read_colour(text)


def test_case_and_the_hash_do_not_matter():
    assert read_colour(" 0B6B4F ") == read_colour("#0b6b4f") == (0x0B, 0x6B, 0x4F)
