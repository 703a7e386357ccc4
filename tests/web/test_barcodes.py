"""A scanner reads what the pages draw."""

import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from webapp.sale.codes import ALPHABET, LENGTH, new_codes
from webapp.web import barcodes
from webapp.web.barcodes import code128


def scanned(text: str) -> list[str]:
    """Draw a barcode, three pixels a module, and return what is read from it."""
    bars, width = code128(text)
    picture = Image.new("L", (3 * width, 60), 255)
    for at, wide in bars:
        picture.paste(0, (3 * at, 0, 3 * (at + wide), 60))
    found = zxingcpp.read_barcodes(picture, formats=zxingcpp.BarcodeFormat.Code128)
    return [each.text for each in found]


@settings(max_examples=60)
@given(st.text(ALPHABET.decode(), min_size=LENGTH, max_size=LENGTH))
def test_a_barcode_is_read_as_the_code(code):
    assert scanned(code) == [code]


@pytest.mark.parametrize("start", range(32, 127, 12))
def test_every_printable_character_is_read(start):
    text = "".join(chr(each) for each in range(start, min(start + 12, 127)))
    assert scanned(text) == [text]


def test_every_check_symbol_is_read():
    texts = {code128(text)[0][-5]: text for text in new_codes(500)}
    assert len(texts) > 10
    assert all(scanned(text) == [text] for text in texts.values())


def test_control_a_wrong_check_symbol_is_not_read(monkeypatch):
    symbols = barcodes._symbols

    def wrong(text: str) -> list[int]:
        start, *values, check, stop = symbols(text)
        return [start, *values, (check + 1) % 103, stop]

    monkeypatch.setattr(barcodes, "_symbols", wrong)
    assert scanned("S44GG6ZXDBFY") == []


def test_every_symbol_is_as_wide_as_the_standard_says():
    assert {sum(map(int, widths)) for widths in barcodes._WIDTHS[:-1]} == {11}
    assert len(set(barcodes._WIDTHS)) == 107
    assert code128("S44GG6ZXDBFY")[1] == 11 * 14 + 13 + 2 * barcodes.QUIET
