"""A list goes along with a duplicate and with each wave: whole or not at all, and nobody waits for it."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from tests.builders import csrf_token, failing, make_coupon, make_user, make_users, sign_in
from tests.conftest import on_sqlite
from tests.sale.test_lists import bring
from tests.sale.test_waves import first_of, holders, row
from webapp.models import LIST, OPERATOR, Coupon, ListedPerson, Upload, utcnow
from webapp.models.uploads import COUNTED, WITHDRAWN
from webapp.sale import admission, claims, list_copies, lists, uploads, waves
from webapp.sale.audience import names_anybody
from webapp.sale.coupons import InvalidField
from webapp.sale.duplicating import duplicate_coupon
from webapp.sale.locking import locked_coupon
from webapp.sale.submissions import Sent
from webapp.sale.waves import make_waves
from webapp.stores.sql import db

PEOPLE = [f"user{number}@example.com" for number in range(5)]
PERIOD = {"opens_at": utcnow() + timedelta(days=1), "closes_at": utcnow() + timedelta(days=2)}
KO = {"Accept-Language": "ko"}


@pytest.fixture(autouse=True)
def _small(app, monkeypatch):
    monkeypatch.setattr(uploads, "BATCH", 2)


def model() -> int:
    """Return a coupon for the people of two files and of one who was added by hand."""
    coupon = make_coupon()
    bring(coupon, "".join(f"{email}\n" for email in PEOPLE[:3]))
    bring(coupon, f"{PEOPLE[3]}\n")
    lists.add_person(coupon, PEOPLE[4], by=None)
    return coupon


def scalars(query) -> list:
    with db.engine.connect() as connection:
        return list(connection.scalars(query))


def listed(coupon: int) -> list[str]:
    mine = select(Upload.id).where(Upload.coupon_id == coupon, Upload.state == COUNTED)
    return sorted(scalars(select(ListedPerson.identifier).where(ListedPerson.upload_id.in_(mine))))


def everything() -> tuple[int, int, int]:
    return tuple(len(scalars(select(table))) for table in (Coupon.id, Upload.id, ListedPerson.identifier))


def test_a_duplicate_is_for_the_same_people():
    coupon = model()
    made = duplicate_coupon(coupon, **PERIOD, by=None)
    assert row(made).audience == LIST
    assert listed(made) == listed(coupon) == PEOPLE
    assert [each.good for each in lists.counting(made)] == [1, 1, 3]
    lists.remove_person(made, PEOPLE[0], by=None)
    assert listed(coupon) == PEOPLE


def test_control_without_the_copy_the_draft_is_for_nobody(monkeypatch):
    monkeypatch.setattr(list_copies, "_copies", lambda _coupon, _ids: iter(()))
    made = duplicate_coupon(model(), **PERIOD, by=None)
    with db.engine.connect() as connection:
        assert not names_anybody(connection, made)


def test_a_coupon_for_everybody_takes_no_list_along():
    coupon = model()
    lists.set_audience(coupon, "everybody", by=None)
    assert listed(duplicate_coupon(coupon, **PERIOD, by=None)) == []


def test_what_is_copied_counts_for_nobody_until_the_draft_is_there(monkeypatch):
    coupon, seen = model(), []
    give = list_copies.ListCopies.give
    monkeypatch.setattr(
        list_copies.ListCopies, "give", lambda *given: seen.append(listed(coupon)) or give(*given)
    )
    duplicate_coupon(coupon, **PERIOD, by=None)
    assert seen == [PEOPLE]


def test_live_admissions_go_on_while_a_list_is_copied(monkeypatch):
    user, coupon = make_user(PEOPLE[0]).id, model()
    copy, served = list_copies._copy_some, []

    def serving(*given):
        end = copy(*given)
        served.append(given)
        return end

    def between(_s: float) -> None:
        if len(served) == 1:
            claims.claim(coupon, user)
            admission.admit(coupon)

    monkeypatch.setattr(list_copies, "_copy_some", serving)
    monkeypatch.setattr(list_copies, "time", SimpleNamespace(sleep=between))
    duplicate_coupon(coupon, **PERIOD, by=None)
    assert holders(coupon) == [user]


def test_control_under_the_lock_of_the_model_an_admission_waits_for_nothing(app, monkeypatch):
    monkeypatch.setitem(app.config, "SQL_LOCK_WAIT_S", 1)
    user, coupon = make_user(PEOPLE[0]).id, model()
    claims.claim(coupon, user)
    with locked_coupon(coupon), pytest.raises(Exception, match=r"lock|1205"):
        admission.admit(coupon)
    assert holders(coupon) == []


def test_a_list_that_changes_meanwhile_makes_nothing_and_leaves_nothing(monkeypatch):
    coupon = model()
    before, copy = everything(), list_copies.copy_people

    def meanwhile(*given):
        copy(*given)
        monkeypatch.setattr(list_copies, "copy_people", copy)
        lists.remove_person(coupon, PEOPLE[0], by=None)

    monkeypatch.setattr(list_copies, "copy_people", meanwhile)
    with pytest.raises(InvalidField) as refusal:
        duplicate_coupon(coupon, **PERIOD, by=None)
    assert refusal.value.field == "audience"
    assert everything() == (before[0], before[1], before[2] - 1)
    assert listed(duplicate_coupon(coupon, **PERIOD, by=None)) == PEOPLE[1:]


def test_sql_away_in_the_middle_leaves_nothing(monkeypatch):
    coupon = model()
    before, copy = everything(), list_copies._copy_some
    failed = []

    def once(*given):
        if len(failed) == 2:
            raise RuntimeError("away")
        failed.append(given)
        return copy(*given)

    monkeypatch.setattr(list_copies, "_copy_some", once)
    with pytest.raises(RuntimeError):
        duplicate_coupon(coupon, **PERIOD, by=None)
    assert everything() == before


def test_what_a_dead_process_left_counts_for_nothing_and_goes_after_a_day(monkeypatch):
    coupon = model()
    before = everything()
    with monkeypatch.context() as dead:
        dead.setattr(list_copies, "_take_away", lambda _ids: None)
        dead.setattr(list_copies.ListCopies, "give", failing(RuntimeError("killed")))
        with pytest.raises(RuntimeError):
            duplicate_coupon(coupon, **PERIOD, by=None)
    assert (everything() > before, listed(coupon)) == (True, PEOPLE)
    later = utcnow() + uploads.KEPT + timedelta(minutes=1)
    monkeypatch.setattr(uploads, "utcnow", lambda: later)
    uploads.forget_old()
    assert everything()[2] == before[2]


def test_a_form_that_is_sent_twice_copies_once():
    coupon, sent = model(), Sent.of("0123456789abcdef" * 2, {})
    made = duplicate_coupon(coupon, **PERIOD, by=None, sent=sent)
    before = everything()
    with pytest.raises(Exception, match=str(made)):
        duplicate_coupon(coupon, **PERIOD, by=None, sent=sent)
    assert everything() == before


def test_waves_that_are_made_again_have_the_list_of_now_and_the_old_lines_are_gone():
    coupon, times = first_of(3)
    bring(coupon, "".join(f"{email}\n" for email in PEOPLE))
    ids = make_waves(coupon, times, quota=5, by=None)
    assert [listed(wave) for wave in ids] == [PEOPLE] * 3
    lists.remove_person(coupon, PEOPLE[0], by=None)
    make_waves(coupon, times[:2], quota=5, by=None)
    assert [listed(wave) for wave in ids] == [PEOPLE[1:], PEOPLE[1:], PEOPLE]
    withdrawn = select(Upload.id).where(Upload.state == WITHDRAWN)
    assert not scalars(select(ListedPerson.identifier).where(ListedPerson.upload_id.in_(withdrawn)))
    assert len(scalars(withdrawn)) == 1


def test_waves_that_fail_in_the_middle_leave_nothing(monkeypatch):
    coupon, times = first_of(3)
    bring(coupon, "".join(f"{email}\n" for email in PEOPLE))
    before = everything()
    monkeypatch.setattr(waves, "_detach", failing(RuntimeError("killed")))
    with pytest.raises(RuntimeError):
        make_waves(coupon, times, quota=5, by=None)
    assert everything() == before


@on_sqlite
def test_the_page_says_what_goes_along_and_what_does_not(client):
    coupon, path = model(), f"/admin/coupons/{model()}/duplicate"
    sign_in(client, make_user(role=OPERATOR))
    page = client.get(path, headers=KO).text
    assert "참여 대상까지" in page
    assert "명단의 5명도" in page
    assert "차수는 가져오지 않아요" in page
    lists.set_audience(coupon, "everybody", by=None)
    assert "명단의" not in client.get(f"/admin/coupons/{coupon}/duplicate", headers=KO).text
    assert csrf_token(client)
    assert make_users(1)
