"""Every decision leaves one row, in its own transaction; nobody alters a row without being found."""

import importlib
import inspect
import io
import json
import pkgutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeAlias

import pytest
from flask import current_app
from PIL import Image
from sqlalchemy import Connection, Row, delete, func, insert, select, text
from sqlalchemy.exc import DBAPIError

from tests.builders import failing, make_coupon, make_user, make_users
from tests.cli.test_cli import run
from tests.sale import test_lists, test_pools
from tests.sale.test_waves import first_of
from webapp.accounts import blocking, invitations, roles, sessions
from webapp.log import writing
from webapp.log.reading import Filter, chain, latest, pages
from webapp.log.verbs import VERBS
from webapp.models import CLOSED, DRAFT, LIST, LIVE, OWNER, PAUSED, TILL, Coupon, LogEntry, User, utcnow
from webapp.proposals.rule import Waits
from webapp.sale import (
    anonymising,
    archiving,
    audit,
    claims,
    content,
    coupons,
    lists,
    membership,
    pausing,
    pictures,
    pools,
    redeeming,
    rehearsing,
    waves,
)
from webapp.sale.admission import admit
from webapp.sale.bulk_revoking import look_at, revoke_all
from webapp.sale.confirming import decline_proposal, withdraw_proposal
from webapp.sale.duplicating import duplicate_coupon
from webapp.sale.exports import export
from webapp.sale.held import by_coupon
from webapp.sale.pause_message import PauseMessage
from webapp.stores.sql import db

__all__ = ["run"]
pytestmark = pytest.mark.usefixtures("app")

EMAIL, CODES = "kim@example.com", ["SHOP-0001", "SHOP-0002"]
WITHOUT_A_ROW = {
    "begin": "a file that comes counts for nothing yet",
    "copied_list": "a part of a duplicate and of waves",
    "use": "the row of the coupon itself says who used it and when",
    "end_sessions": "it is given the entry of the decision",
    "publish_waves": "a part of going live",
    "move_issue": "a part of revoking",
    "second_operator": "the row of the proposal, or a part of the decision",
    "second_owner": "the row of the proposal, or a part of the decision",
    "confirm_proposal": "a row of its own and those of the deed (tests/sale/test_proposals.py)",
    "finish_proposal": "the rows of what is left of a deed",
    "confirm_list": "a part of confirming",
    "finish_list": "a part of confirming",
    "open_proposed": "a part of confirming",
    "withdraw_proposed": "a part of declining",
}
"""The functions that are told by whom, and leave no row of their own, each with the reason."""


def newest() -> int:
    with db.engine.connect() as connection:
        return connection.scalar(select(func.max(LogEntry.id))) or 0


def written(since: int) -> list[Row[Any]]:
    with db.engine.connect() as connection:
        rows = select(LogEntry.__table__).where(LogEntry.id > since).order_by(LogEntry.id)
        return list(connection.execute(rows))


def draft(**fields: Any) -> int:
    return make_coupon(status=DRAFT, opens_in=3600, closes_in=7200, **fields)


def issued() -> str:
    coupon, (user,) = make_coupon(), make_users(1)
    claims.claim(coupon, user)
    admit(coupon)
    return by_coupon(user, coupon).code


def used() -> str:
    code = issued()
    redeeming.use(code, None)
    return code


def paused() -> int:
    coupon = make_coupon()
    pausing.pause(coupon)
    return coupon


def file() -> int:
    return test_lists.checked(draft(), f"{EMAIL}\n")


def counted() -> int:
    return test_lists.bring(draft(), f"{EMAIL}\n")


def listed() -> int:
    coupon = draft()
    test_lists.bring(coupon, f"{EMAIL}\n")
    return coupon


def members() -> int:
    rows = f"email,member_key,grade\n{EMAIL},K1,gold\n"
    return test_lists.checked(None, rows, membership.ACCOUNTS_FILE)


Prepared: TypeAlias = tuple[Callable[[], Any], Callable[[Any, int], object]]
DEEDS: dict[str, Prepared] = {
    "create_coupon": (lambda: None, lambda _, by: make_coupon(by=by)),
    "change_coupon": (lambda: make_coupon(), lambda at, by: coupons.change_coupon(at, by=by, title="New")),
    "pause": (lambda: make_coupon(), lambda at, by: pausing.pause(at, PauseMessage("error"), by=by)),
    "resume": (lambda: paused(), lambda at, by: pausing.resume(at, by=by, extend=True)),
    "go_live": (lambda: draft(), lambda at, by: coupons.change_coupon(at, by=by, step="publish")),
    "set_content": (lambda: draft(), lambda at, by: content.set_content(at, "ko", {"terms": "글"}, by=by)),
    "set_picture": (lambda: draft(), lambda at, by: pictures.set_picture(at, drawing(), by=by)),
    "archive": (lambda: draft(), lambda at, by: archiving.archive(at, by=by)),
    "unarchive": (lambda: archived(), lambda at, by: archiving.unarchive(at, by=by)),
    "duplicate_coupon": (lambda: draft(), lambda at, by: duplicate_coupon(at, **period(), by=by)),
    "make_waves": (lambda: first_of(2), lambda of, by: waves.make_waves(*of, quota=3, by=by)),
    "set_audience": (lambda: draft(), lambda at, by: lists.set_audience(at, LIST, by=by)),
    "count_people": (lambda: file(), lambda of, by: lists.count_people(of, replace=False, by=by)),
    "withdraw_upload": (lambda: counted(), lambda of, by: lists.withdraw_upload(of, by=by)),
    "add_person": (lambda: draft(), lambda at, by: lists.add_person(at, EMAIL, by=by)),
    "remove_person": (lambda: listed(), lambda at, by: lists.remove_person(at, EMAIL, by=by)),
    "count_codes": (lambda: test_pools.checked(draft(), CODES), lambda of, by: pools.count_codes(of, by=by)),
    "withdraw_codes": (
        lambda: test_pools.bring(draft(), CODES),
        lambda of, by: pools.withdraw_codes(of, by=by),
    ),
    "import_members": (lambda: members(), lambda of, by: membership.import_members(of, by=by)),
    "set_member": (lambda: EMAIL, lambda email, by: membership.set_member(email, grade="gold", by=by)),
    "ask": (lambda: draft(), lambda at, by: rehearsing.ask(at, by=by, although_near=True)),
    "stop": (lambda: rehearsed(), lambda at, by: rehearsing.stop(at, by=by)),
    "undo_use": (lambda: used(), lambda code, by: redeeming.undo_use(code, by, "by mistake")),
    "revoke": (lambda: issued(), lambda code, by: redeeming.revoke(code, by, "by mistake")),
    "revoke_all": (
        lambda: [issued()],
        lambda codes, by: revoke_all(look_at(codes), by=by, reason="by mistake"),
    ),
    "export": (lambda: make_coupon(), lambda at, by: export(at, "winners", by=by)),
    "block": (lambda: make_user().id, lambda who, by: blocking.block(who, by=by)),
    "unblock": (lambda: make_user(blocked_at=utcnow()).id, lambda who, by: blocking.unblock(who, by=by)),
    "delete_account": (lambda: make_user().id, lambda who, by: sessions.delete_account(who, by=by)),
    "give_role": (lambda: (owner_77(), make_user().id), lambda of, by: roles.give_role(of[1], TILL, by=by)),
    "invite": (lambda: owner_77(), lambda _, by: invitations.invite(TILL, by=by, label="Kim")),
    "withdraw": (lambda: invited(), lambda which, by: invitations.withdraw(which, by=by)),
    "anonymise": (lambda: make_user(), lambda who, by: anonymising.anonymise(who, by=by)),
    "decline_proposal": (lambda: proposed(None), lambda which, by: decline_proposal(which, by=by)),
    "withdraw_proposal": (lambda: proposed(77), lambda which, by: withdraw_proposal(which, by=by)),
}
"""One decision of each function: what is there before, and the decision with an operator's id."""


def owner_77() -> int:
    """Make the account in whose name the decisions are made an owner."""
    make_user(id=77, role=OWNER)
    return make_user(role=OWNER).id


def proposed(by: int | None) -> int:
    """Return a proposal for a higher quota."""
    owner_77()
    coupon = make_coupon(quota=5)
    current_app.config["TWO_PERSON_RULE"] = True
    with pytest.raises(Waits) as waits:
        coupons.change_coupon(coupon, by=by, total_quantity=9)
    return waits.value.proposal_id


def invited() -> int:
    owner_77()
    invitations.invite(TILL, by=77)
    return invitations.open_invitations()[0].id


def period() -> dict[str, Any]:
    return {"opens_at": utcnow() + timedelta(hours=1), "closes_at": utcnow() + timedelta(hours=2)}


def drawing() -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (800, 600), "teal").save(held, "PNG")
    return held.getvalue()


def archived() -> int:
    coupon = draft()
    archiving.archive(coupon, by=None)
    return coupon


def rehearsed() -> int:
    coupon = draft()
    rehearsing.ask(coupon, by=None, although_near=True)
    return coupon


def told_by_whom() -> set[str]:
    """Return the public functions of the sale and of accounts that are told by whom they are called."""
    found = set()
    for package in map(importlib.import_module, ("webapp.sale", "webapp.accounts")):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for name, each in inspect.getmembers(importlib.import_module(module.name), inspect.isfunction):
                if each.__module__ == module.name and "by" in inspect.signature(each).parameters:
                    found.add(name)
    return {name for name in found if not name.startswith("_")}


DECISIONS = sorted(told_by_whom() - WITHOUT_A_ROW.keys())


@pytest.mark.parametrize("name", DECISIONS)
def test_every_decision_leaves_one_row_with_who_made_it(name):
    prepare, decide = DEEDS[name]
    subject, before = prepare(), newest()
    decide(subject, 77)
    (row,) = written(before)
    assert (row.id, row.actor_id, row.origin, row.address) == (before + 1, 77, "command", None)
    assert row.verb in VERBS
    assert row.coupon_id or row.user_id or name in ("import_members", "set_member", "invite", "withdraw")
    assert chain().broken_at is None


@pytest.mark.parametrize("name", DECISIONS)
def test_a_decision_whose_row_cannot_be_written_is_not_made(name, monkeypatch):
    prepare, decide = DEEDS[name]
    subject, before, rows = prepare(), newest(), everything()
    monkeypatch.setattr(writing, "hash_of", failing(RuntimeError("no disk")))
    with pytest.raises(RuntimeError):
        decide(subject, 77)
    db.session.rollback()
    assert (newest(), everything()) == (before, rows)


def everything() -> dict[str, str]:
    """Return the rows of coupons and of accounts, with all their columns."""
    with db.engine.connect() as connection:
        return {
            table: repr(connection.execute(text(f"SELECT * FROM {table}")).all())
            for table in (
                "coupons",
                "users",
                "members",
                "revocations",
                "undone_uses",
                "coupon_texts",
                "invitations",
            )
        }


def test_what_is_repeated_and_changes_nothing_leaves_no_row():
    coupon, user = draft(), make_user()
    for again in (
        lambda: coupons.change_coupon(coupon, by=7, title="Coupon"),
        lambda: archiving.unarchive(coupon, by=7),
        lambda: blocking.unblock(user.id, by=7),
        lambda: lists.remove_person(coupon, "nobody@example.com", by=7),
        lambda: rehearsing.stop(coupon, by=7),
        lambda: pictures.set_picture(coupon, None, by=7),
        lambda: content.set_content(coupon, "ko", {"title": "Coupon"}, by=7),
    ):
        before = newest()
        again()
        assert written(before) == []


def test_a_rehearsal_is_one_decision_and_its_coupon_none():
    before = newest()
    make_coupon(rehearsal=True)
    assert written(before) == []


def test_a_change_tells_what_was_and_what_is():
    coupon, before = make_coupon(quota=5), newest()
    coupons.change_coupon(coupon, by=7, total_quantity=9)
    coupons.change_coupon(coupon, by=7, step="pause")
    quota, pause = written(before)
    assert (quota.verb, json.loads(quota.before), json.loads(quota.after)) == (
        "change quota",
        {"total_quantity": 5},
        {"total_quantity": 9},
    )
    assert (pause.verb, json.loads(pause.before)) == ("pause", {"status": "live", "paused_at": None})


@pytest.mark.parametrize(
    ("status", "then", "verb"),
    [
        (LIVE, PAUSED, "pause"),
        (PAUSED, LIVE, "resume"),
        (CLOSED, LIVE, "resume"),
        (LIVE, CLOSED, "close"),
        (PAUSED, CLOSED, "close"),
        (DRAFT, LIVE, "publish"),
    ],
)
def test_a_command_that_changes_the_status_takes_the_step(status, then, verb):
    coupon, before = make_coupon(status=status), newest()
    coupons.change_coupon(coupon, status=then)
    assert [row.verb for row in written(before)] == [verb]


def test_a_long_text_is_kept_as_its_length_and_digest():
    coupon, before = draft(), newest()
    content.set_content(coupon, "ko", {"terms": "가" * 5000}, by=7)
    after = json.loads(written(before)[0].after)
    assert (after["terms"]["characters"], len(after["terms"]["sha256"])) == (5000, 64)


def test_no_row_names_a_person(run):
    before = newest()
    email, key = "kim.minsu@example.com", "KEY-4711"
    run("user", "create", email, "--name", "Kim Minsu", stdin="correct horse battery\n")
    user = db.session.scalar(select(User).where(User.email == email))
    membership.set_member(email, key=key, grade="gold", by=None)
    lists.add_person(draft(), email, by=None)
    run("user", "rename", email, "Kim Junho")
    run("user", "rename", email, "kim.junho@example.com")
    run("user", "password", "kim.junho@example.com", stdin="another horse battery\n")
    rows = written(before)
    assert {row.user_id for row in rows} >= {user.id}
    assert not [row for row in rows for word in ("@", "Minsu", "Junho", key) if word in repr(row)]
    run("user", "anonymise", "kim.junho@example.com")
    assert written(before)[: len(rows)] == rows


def test_an_unknown_verb_is_an_error_of_ours():
    with db.engine.begin() as connection, pytest.raises(ValueError, match="dance"):
        writing.record(connection, "dance", by=None)


def test_many_at_once_leave_one_whole_chain(app):
    ids, before = [make_coupon() for _ in range(8)], newest()

    def rename(coupon: int) -> None:
        with app.app_context():
            for number in range(5):
                coupons.change_coupon(coupon, by=coupon, title=f"Title {number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(rename, ids))
    rows = written(before)
    assert [row.id for row in rows] == list(range(before + 1, before + 41))
    assert chain().broken_at is None


def test_the_log_of_a_person_has_each_entry_once_the_newest_first():
    before = newest()
    with db.engine.begin() as connection:
        for by, user in ((901, 901), (901, 5), (5, 901), (5, 5)):
            writing.record(connection, "block", by=by, user=user)
    about = [before + 3, before + 2, before + 1]
    assert [row.id for row in latest(Filter(person=901), most=9)] == about
    assert [row.id for row in latest(Filter(person=901), most=2)] == about[:2]
    assert [row.id for row in latest(Filter(person=901), most=9, below=before + 3)] == about[1:]
    assert [row.id for page in pages(Filter(person=901)) for row in page] == sorted(about)


# Append-only


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log_entries SET actor_id = 1",
        "DELETE FROM log_entries",
        "DELETE FROM log_head",
    ],
)
def test_the_database_refuses_to_alter_the_log(statement):
    make_coupon()
    with db.engine.begin() as connection, pytest.raises(DBAPIError, match="append-only"):
        connection.execute(text(statement))


def triggers(connection: Connection) -> dict[str, str]:
    """Return the statements that make the triggers, by name."""
    if db.engine.name == "sqlite":
        made = text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        return {row.name: row.sql for row in connection.execute(made)}
    make = "CREATE TRIGGER {Trigger} {Timing} {Event} ON {Table} FOR EACH ROW {Statement}"
    return {row.Trigger: make.format(**row._mapping) for row in connection.execute(text("SHOW TRIGGERS"))}


@pytest.fixture
def unguarded() -> Iterator[None]:
    """Have the log without its triggers, as the owner of the database can; it is as it was afterwards."""
    for _ in range(3):
        make_coupon()
    rows = [dict(row._mapping) for row in written(0)]
    with db.engine.begin() as connection:
        made = triggers(connection)
        for name in made:
            connection.execute(text(f"DROP TRIGGER {name}"))
    yield
    with db.engine.begin() as connection:
        connection.execute(delete(LogEntry))
        connection.execute(insert(LogEntry), rows)
        for statement in made.values():
            connection.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    [
        *(
            f"UPDATE log_entries SET {change} WHERE id = :id"
            for change in (
                "actor_id = 1",
                "origin = 'job'",
                "address = '10.0.0.1'",
                "verb = 'close'",
                "coupon_id = 1",
                "user_id = 1",
                "`before` = '{}'",
                "`after` = '{}'",
                "reason = 'x'",
                "at = '2020-01-01 00:00:00'",
                "hash = 'x'",
                "id = id + 1000",
            )
        ),
        "DELETE FROM log_entries WHERE id = :id",
        "DELETE FROM log_entries WHERE id >= :id",
        "INSERT INTO log_entries (id, at, origin, verb, hash) VALUES (:id + 100, '2026-01-01', 'job', 'close', 'x')",
    ],
)
def test_a_row_altered_in_sql_is_found(unguarded, statement):
    assert audit.log_check().ok
    last = newest()
    with db.engine.begin() as connection:
        connection.execute(text(statement), {"id": last - 1})
    found = audit.log_check()
    assert not found.ok
    at = chain().broken_at
    assert at == last + 1 if "INSERT" in statement else last - 1 <= at <= last


def test_control_a_row_that_is_written_back_as_it_was_is_no_alteration(unguarded):
    with db.engine.begin() as connection:
        connection.execute(text("UPDATE log_entries SET actor_id = actor_id"))
    assert audit.log_check().ok


def test_the_audit_of_a_coupon_tells_of_the_log(run):
    coupon = make_coupon()
    claims.claim(coupon, make_users(1)[0])
    admit(coupon)
    assert f"ok    log: {newest()} entries" in run("audit", coupon).stdout
    assert db.session.get(Coupon, coupon)
