"""The pages on which operators find somebody who asks: why one has the coupon, or has none."""

import pytest
import redis
from sqlalchemy import event

from tests.builders import csrf_token, failing, make_coupon, make_user, sign_in
from webapp.accounts import blocking
from webapp.accounts.sessions import delete_account
from webapp.models import OPERATOR, Member, User
from webapp.sale import claims, redeeming
from webapp.sale.admission import admit
from webapp.sale.coupons import change_coupon
from webapp.sale.finding import MOST_FOUND, find
from webapp.sale.held import by_coupon
from webapp.sale.outcomes import Refused
from webapp.sale.timeline import timeline
from webapp.stores.sql import db
from webapp.web.admin.finding import in_words

KO = {"Accept-Language": "ko"}
EN = {"Accept-Language": "en"}


@pytest.fixture
def operator(client):
    sign_in(client, make_user("boss@example.com", role=OPERATOR, name="Boss"))
    return client


def claim(coupon: int, *users: User) -> None:
    for user in users:
        claims.claim(coupon, user.id)


def found(typed: str) -> list[tuple[int | None, str]]:
    return [(each.user_id, each.by) for each in find(typed).found]


def verdict(user: User | int, coupon: int) -> str:
    (chapter,) = timeline(user if isinstance(user, int) else user.id, coupon)
    return chapter.verdict


@pytest.fixture
def sale(app):
    """A coupon of one, for which three have asked; the first has won, and the others are in standby."""
    coupon = make_coupon(quota=1, title="금요일")
    users = [make_user(f"{name}@example.com", name=name) for name in ("Kim", "Lee", "Park")]
    claim(coupon, *users)
    admit(coupon)
    return coupon, users


def test_somebody_is_found_in_every_way(sale):
    coupon, (kim, lee, _park) = sale
    with db.engine.begin() as connection:
        connection.execute(Member.__table__.insert().values(email="lee@example.com", member_key="M-77"))
    code = by_coupon(kim.id, coupon).code
    for typed, who, by in (
        ("kim@example.com", kim, "email"),
        (" KIM@Example.com ", kim, "email"),
        ("Kim", kim, "email"),
        ("ki", kim, "email"),
        ("M-77", lee, "member_key"),
        (code, kim, "code"),
        (code.lower(), kim, "code"),
        ("1", kim, "number"),
        ("#1", kim, "number"),
        ("2번", lee, "number"),
    ):
        assert (who.id, by) in found(typed), typed


STRANGE = (
    "",
    " ",
    "%",
    "_",
    "%%%",
    "im",
    "nobody@example.com",
    "0",
    "99",
    "KIM@",
    "m-77",
    "\x00",
    "\U0010ffff",
)


@pytest.mark.parametrize("typed", [*STRANGE, "'; DROP TABLE users; --", "9" * 40, "가" * 10_000])
def test_what_fits_nobody_finds_nobody(sale, operator, typed):
    assert found(typed) == []
    assert operator.get("/admin/people", query_string={"q": typed}, headers=KO).status_code == 200


def test_a_name_is_found_by_its_beginning_in_any_case(app):
    user = make_user("a1@example.com", name="김하늘")
    other = make_user("a2@example.com", name="Haneul Kim")
    invented = make_user("a3@example.com", name="김하나", rehearsal=True)
    assert found("김하") == [(user.id, "name")]
    assert found("haneul") == [(other.id, "name")]
    assert found("HANEUL K") == [(other.id, "name")]
    assert (invented.id, "email") in found("a3")


def test_many_of_one_name_say_that_there_are_more(operator):
    for number in range(MOST_FOUND + 1):
        make_user(f"many{number}@example.com", name="Many")
    search = find("Many")
    assert (len(search.found), search.more) == (MOST_FOUND, True)
    assert "더 있어요" in operator.get("/admin/people?q=Many", headers=KO).text


def test_a_member_of_the_shop_without_an_account_is_named(operator):
    with db.engine.begin() as connection:
        connection.execute(Member.__table__.insert().values(email="new@example.com", member_key="K1"))
    assert found("K1") == [(None, "member_key")]
    assert "new@example.com" in operator.get("/admin/people?q=K1", headers=KO).text


def test_winners_losers_and_those_who_never_came(sale):
    coupon, (kim, lee, park) = sale
    assert verdict(kim, coupon) == "usable"
    assert verdict(lee, coupon) == verdict(park, coupon) == "standby"
    late = make_user()
    with pytest.raises(Refused):
        claims.claim(coupon, late.id)
    assert verdict(late, coupon) == "nothing"


def test_the_sentence_names_the_places(sale, app):
    coupon, (kim, _lee, park) = sale
    late = make_user()
    with app.test_request_context(headers=EN):
        words = {user: in_words(timeline(user.id, coupon)[0]) for user in (kim, park, late)}
    assert words[kim] == "Number 1 won the coupon, and it can be used."
    assert words[park].startswith(
        "The coupons were gone before number 3 had its turn. It is number 2 of those who get what comes back. "
        "The last one went to number 1, which arrived at "
    )
    assert words[late].startswith(
        "There is no number: no click arrived before the coupons were gone. They were gone at "
    )
    assert "The last one went to number 1" in words[late]


def test_a_coupon_that_was_used_undone_and_taken_back(sale, operator):
    coupon, (kim, _lee, _park) = sale
    boss = find("boss@example.com").found[0].user_id
    code = by_coupon(kim.id, coupon).code
    redeeming.use(code, boss)
    redeeming.undo_use(code, boss, "wrong till")
    redeeming.revoke(code, boss, "a second account")
    (chapter,) = timeline(kim.id, coupon)
    assert chapter.verdict == "revoked"
    assert [event.kind for event in chapter.events] == ["arrived", "issued", "used", "undone", "revoked"]
    text = operator.get(f"/admin/people/{kim.id}", headers=KO).text
    assert text.count("boss@example.com") == 3
    assert "wrong till" in text
    assert "a second account" in text


def test_whoever_was_rejected_reads_why(operator):
    coupon, user = make_coupon(), make_user("blocked@example.com")
    claim(coupon, user)
    blocking.block(user.id, by=None)
    admit(coupon)
    (chapter,) = timeline(user.id, coupon)
    assert (chapter.verdict, chapter.reason) == ("rejected", "blocked")
    assert "차단되어 있었어요" in operator.get(f"/admin/people/{user.id}", headers=KO).text


def test_somebody_who_waits(app):
    coupon, first, second = make_coupon(), make_user(), make_user()
    claim(coupon, first, second)
    change_coupon(coupon, status="paused")
    (chapter,) = timeline(second.id)
    assert (chapter.verdict, chapter.number, chapter.ahead) == ("waiting", 2, 1)


def test_a_deleted_account_is_found_by_its_number(operator):
    coupon, user = make_coupon(quota=0), make_user("gone@example.com")
    claim_user = user.id
    with pytest.raises(Refused):
        claims.claim(coupon, claim_user)
    change_coupon(coupon, total_quantity=5)
    change_coupon(coupon, status="paused")
    claim(coupon, user)
    delete_account(claim_user, by=None)
    change_coupon(coupon, status="live")
    admit(coupon)
    assert found("gone@example.com") == []
    assert found("1") == [(claim_user, "number")]
    text = operator.get(f"/admin/people/{claim_user}", headers=KO).text
    assert "탈퇴한 계정" in text
    assert operator.get("/admin/people/987654321", headers=KO).status_code == 404


def test_without_redis_sql_still_answers(sale, operator, monkeypatch):
    coupon, (kim, lee, _park) = sale
    away = failing(redis.ConnectionError("away"))
    for place in ("webapp.sale.timeline.Line.gate", "webapp.sale.finding.holders_of"):
        monkeypatch.setattr(place, away)
    assert verdict(kim, coupon) == "usable"
    text = operator.get(f"/admin/people/{lee.id}?coupon={coupon}", headers=KO).text
    assert "SQL" in text
    search = find("1")
    assert [each.user_id for each in search.found] == [kim.id]
    assert not search.whole


def test_a_redis_that_is_away_is_asked_once_for_all_lines(app, monkeypatch):
    """In a black hole each question takes its whole time limit, and the page asks fifty lines."""
    asked, user = [], make_user()
    for _ in range(3):
        make_coupon()

    def away(line, _user_id):
        asked.append(line)
        raise redis.TimeoutError("away")

    monkeypatch.setattr("webapp.sale.timeline.Line.standing", away)
    assert timeline(user.id) == []
    assert len(asked) == 1


def test_an_account_is_blocked_and_let_in_again(operator):
    user = make_user()
    page = f"/admin/people/{user.id}"
    form = {"csrf_token": csrf_token(operator)}
    assert "차단했어요" in operator.post(f"{page}/block", data=form, headers=KO, follow_redirects=True).text
    assert db.session.get(User, user.id, populate_existing=True).blocked_at is not None
    operator.post(f"{page}/unblock", data=form, headers=KO)
    assert db.session.get(User, user.id, populate_existing=True).blocked_at is None


def test_an_operator_is_not_blocked_from_the_page(operator):
    boss = find("boss@example.com").found[0].user_id
    form = {"csrf_token": csrf_token(operator)}
    text = operator.post(f"/admin/people/{boss}/block", data=form, headers=KO, follow_redirects=True).text
    assert "권한" in text
    assert db.session.get(User, boss, populate_existing=True).blocked_at is None


def test_the_pages_are_for_operators(client):
    user = make_user()
    sign_in(client, user)
    for path in ("/admin/people", f"/admin/people/{user.id}"):
        assert client.get(path).status_code == 404


def test_a_search_asks_sql_and_redis_a_few_times(sale):
    asked = []
    event.listen(db.engine, "before_cursor_execute", count := lambda *args: asked.append(args[2]))
    try:
        find("1")
    finally:
        event.remove(db.engine, "before_cursor_execute", count)
    assert len(asked) <= 16
