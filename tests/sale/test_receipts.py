import dataclasses

import pytest

from webapp.sale.receipts import Receipt, read, sign

KEY = "k" * 32
RECEIPT = Receipt(coupon_id=3, user_id=12, number=345, epoch=1)


def test_a_receipt_reads_back():
    assert read(KEY, sign(KEY, RECEIPT)) == RECEIPT


@pytest.mark.parametrize("field", ["coupon_id", "user_id", "number", "epoch"])
def test_an_altered_fact_is_no_receipt(field):
    signature = sign(KEY, RECEIPT).rpartition(".")[2]
    other = dataclasses.replace(RECEIPT, **{field: getattr(RECEIPT, field) + 1})
    facts = sign(KEY, other).rpartition(".")[0]
    assert read(KEY, f"{facts}.{signature}") is None


@pytest.mark.parametrize(
    "text", ["", ".", "....", "1.2.3.4.", "1.2.3.4.한글", "1.2.3.4.\x00", "a.b.c.d.e", "\udc80"]
)
def test_nonsense_is_no_receipt(text):
    assert read(KEY, text) is None


def test_another_key_signs_nothing():
    assert read("j" * 32, sign(KEY, RECEIPT)) is None
