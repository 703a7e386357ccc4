import pytest

from webapp.values.amounts import read_amount

AMOUNTS = {
    "0": 0,
    "15": 15,
    "007": 7,
    "1000": 1000,
    "1,000": 1000,
    "1,234,567": 1_234_567,
    "1,000,000,000,000": 10**12,
    " 5 ": 5,
    "\u30005\xa0": 5,
    "\ufeff5000\u200b": 5000,
    "１，０００": 1000,
    "５０００": 5000,
}
NONE = [
    *("1,5", "10,00", "1000,000", "1,0000", "0,500", ",5", "5,", "5,000,", "1,,000", "1, 000", "1,000.00"),
    *("1.000", "1.5", "1_000", "1 000", "1'000", "1·000", "1，5", "1、000", "1٬000"),
    *("+5", "-5", "-0", "−5", "1e3", "1E3", "0x10", "1/2", "½", "5²", "②", "٣", "५", "五", "inf", "nan"),
    *("5원", "₩5", "5만", "5%", "5장", "", " ", "\u200b", "1\n5", "9" * 14, "9" * 10_000, "1,000," * 1000),
]


@pytest.mark.parametrize(("typed", "amount"), AMOUNTS.items())
def test_a_whole_number(typed, amount):
    assert read_amount(typed) == amount


@pytest.mark.parametrize("typed", NONE, ids=lambda typed: ascii(typed)[:20])
def test_anything_else_is_no_amount(typed):
    with pytest.raises(ValueError, match="whole number"):
        read_amount(typed)
