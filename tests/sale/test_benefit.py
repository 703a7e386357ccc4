"""What a coupon gives: an amount, a percentage, a gift or words; what is promised gets no worse."""

import pytest

from tests.builders import make_coupon, make_user, sign_in
from tests.cli.test_cli import PERIOD, assert_one_line, run
from tests.conftest import on_sqlite
from tests.sale.test_promises import promised_coupon, refused
from tests.web.test_admin import FORM, edit_form, errors, only_coupon, operator, post, row
from webapp.models import GIFT, PERCENT, WORDS
from webapp.sale import admission, benefit, claims, coupons
from webapp.sale.benefit import most_worth
from webapp.sale.coupons import InvalidField, change_coupon

__all__ = ["operator", "run"]

PERCENTAGE = {"benefit": PERCENT, "discount_percent": 20, "discount_cap": 3000}
COFFEE = {"benefit": GIFT, "benefit_words": "아메리카노 1잔", "benefit_words_en": "an Americano"}
SAID = [
    ({}, "", ""),
    ({"discount_amount": 5000}, "5,000원 할인", "₩5,000 off"),
    (PERCENTAGE, "20% 할인, 최대 3,000원", "20% off, up to ₩3,000"),
    (PERCENTAGE | {"discount_cap": None}, "20% 할인<", "20% off<"),
    (COFFEE, "선물: 아메리카노 1잔", "Gift: an Americano"),
    (COFFEE | {"benefit_words_en": ""}, "선물: 아메리카노 1잔", "Gift: 아메리카노 1잔"),
    ({"benefit": WORDS, "benefit_words": "무료 배송"}, ">무료 배송<", ">무료 배송<"),
]
WORSE = [
    (PERCENTAGE, "discount_percent", 19),
    (PERCENTAGE, "discount_cap", 2999),
    (PERCENTAGE | {"discount_cap": None}, "discount_cap", 10**6),
    (COFFEE, "benefit_words", "물 1잔"),
    (COFFEE, "benefit_words_en", "a glass of water"),
    (COFFEE, "benefit", WORDS),
]
BETTER = [
    (PERCENTAGE, "discount_percent", 21),
    (PERCENTAGE, "discount_cap", 3001),
    (PERCENTAGE, "discount_cap", None),
    (COFFEE | {"benefit_words_en": ""}, "benefit_words_en", "an Americano"),
]
WRONG = [
    ({"benefit": "car"}, "benefit"),
    (PERCENTAGE | {"discount_percent": 0}, "discount_percent"),
    (PERCENTAGE | {"discount_percent": 101}, "discount_percent"),
    (PERCENTAGE | {"discount_cap": 0}, "discount_cap"),
    (PERCENTAGE | {"discount_cap": 10**13}, "discount_cap"),
    ({"benefit": GIFT}, "benefit_words"),
    ({"benefit": GIFT, "benefit_words": "\u200b \u3164"}, "benefit_words"),
    ({"benefit": WORDS, "benefit_words": "x" * 61}, "benefit_words"),
    (COFFEE | {"benefit_words_en": "x" * 61}, "benefit_words_en"),
]


@on_sqlite
@pytest.mark.parametrize(("fields", "korean", "english"), SAID)
def test_pages_say_it_in_both_languages(app, client, fields, korean, english):
    coupon = make_coupon(**fields)
    for language, words in (("ko", korean), ("en", english)):
        page = client.get(f"/coupons/{coupon}", headers={"Accept-Language": language}).text
        assert words in page
        assert ('class="benefit"' in page) == bool(words)


@on_sqlite
@pytest.mark.parametrize(("fields", "blamed"), WRONG)
def test_what_says_nothing_is_refused(app, fields, blamed):
    with pytest.raises(InvalidField) as refusal:
        make_coupon(**fields)
    assert refusal.value.field == blamed


@pytest.mark.parametrize(("fields", "name", "value"), WORSE)
def test_a_promised_benefit_gets_no_worse(app, fields, name, value):
    assert refused(promised_coupon(**{"discount_amount": 0, **fields}), **{name: value}).field == name


@on_sqlite
@pytest.mark.parametrize(("fields", "name", "value"), WORSE)
def test_control_without_the_rule_it_does(app, monkeypatch, fields, name, value):
    coupon = promised_coupon(**{"discount_amount": 0, **fields})
    kept = {each: rule for each, rule in coupons.NO_WORSE.items() if each != name}
    monkeypatch.setattr(coupons, "NO_WORSE", kept)
    change_coupon(coupon, **{name: value})
    assert getattr(row(coupon), name) == value


@on_sqlite
@pytest.mark.parametrize(("fields", "name", "value"), BETTER)
def test_it_may_get_better(app, fields, name, value):
    coupon = promised_coupon(**{"discount_amount": 0, **fields})
    change_coupon(coupon, **{name: value})
    assert getattr(row(coupon), name) == value


@on_sqlite
def test_a_promised_amount_does_not_become_a_gift(app):
    assert refused(promised_coupon(), **COFFEE).field == "benefit"


def test_another_kind_leaves_nothing_of_the_former(app):
    coupon = make_coupon(discount_amount=5000)
    change_coupon(coupon, **COFFEE)
    assert (row(coupon).benefit, row(coupon).discount_amount) == (GIFT, 0)
    change_coupon(coupon, discount_amount=5000)
    assert row(coupon).discount_amount == 0
    change_coupon(coupon, **PERCENTAGE)
    assert (row(coupon).benefit_words, row(coupon).benefit_words_en) == ("", "")


@on_sqlite
def test_the_most_that_one_can_cost(app):
    worth = [most_worth(row(make_coupon(**fields))) for fields, *_ in SAID]
    assert worth == [0, 5000, 3000, None, None, None, None]


def test_the_form_makes_and_edits_it(operator):
    form = FORM | {"benefit": PERCENT, "discount_percent": "15", "discount_cap": "2,000"}
    assert post(operator, "/admin/coupons/new", **form).status_code == 303
    coupon = only_coupon()
    assert (coupon.discount_percent, coupon.discount_cap, coupon.discount_amount) == (15, 2000, 0)
    shown = edit_form(operator, coupon.id) | {"benefit": PERCENT}
    wrong = shown | {"benefit": GIFT, "benefit_words": ""}
    answer = operator.post(f"/admin/coupons/{coupon.id}", data=wrong)
    assert (answer.status_code, errors(answer.text)) == (422, ["benefit_words"])
    operator.post(f"/admin/coupons/{coupon.id}", data=wrong | {"benefit_words": "컵"})
    assert (row(coupon.id).benefit, row(coupon.id).discount_percent) == (GIFT, 0)


@on_sqlite
def test_a_form_without_the_field_leaves_the_kind_as_it_is(operator):
    coupon = make_coupon(**COFFEE)
    shown = edit_form(operator, coupon)
    assert operator.post(f"/admin/coupons/{coupon}", data=shown | {"title": "새 이름"}).status_code == 303
    assert (row(coupon).title, row(coupon).benefit, row(coupon).benefit_words) == (
        "새 이름",
        GIFT,
        COFFEE["benefit_words"],
    )


@on_sqlite
@pytest.mark.parametrize(
    ("options", "kind", "given"),
    [
        (("--percent", 20, "--cap", "3,000"), PERCENT, "20% off, cap 3000"),
        (("--gift", "컵"), GIFT, "gift: 컵"),
        (("--benefit", "무료 배송"), WORDS, "words: 무료 배송"),
        (("--discount", 500), "amount", "500 won off"),
    ],
)
def test_the_command_takes_one_benefit(run, options, kind, given):
    made = run("coupon", "create", "--title", "쿠폰", "--draft", *PERIOD, *options).output.strip()
    assert row(int(made)).benefit == kind
    assert given in run("coupon", "show", made).output


@on_sqlite
@pytest.mark.parametrize(
    "options", [("--percent", 20, "--gift", "컵"), ("--cap", 3000), ("--discount", 5, "--benefit", "x")]
)
def test_the_command_refuses_two(run, options):
    assert_one_line(run("coupon", "create", "--title", "쿠폰", *PERIOD, *options), "--")
    assert only_coupon() is None


@on_sqlite
def test_the_wallet_and_the_till_say_it(app, client):
    coupon, user = make_coupon(**COFFEE), make_user()
    sign_in(client, user)
    claims.claim(coupon, user.id)
    admission.admit(coupon)
    assert "선물: 아메리카노 1잔" in client.get("/wallet", headers={"Accept-Language": "ko"}).text


def test_every_kind_has_its_fields():
    assert set().union(*benefit.FIELDS_OF.values()) == benefit.NOTHING.keys()
