"""The console of a shop with 10,000 campaigns and a million issues: how long its pages take, and what scans."""

import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPResponse
from statistics import median
from typing import Any, TypeAlias
from urllib.parse import quote

from sqlalchemy import event, insert, text, update

from bench.exports import ISSUES, PEOPLE, PERSON, SERIES, STEP
from bench.stage import CHUNK, Stage
from jobs.rehearsal.crowd import Crowd, signed_in
from webapp.log.verbs import VERBS
from webapp.models import DRAFT, LIVE, OWNER, Coupon, User, utcnow
from webapp.sale.coupons import DEFAULTS
from webapp.sale.publishing import publish
from webapp.sale.report import AT_ONCE
from webapp.stores.sql import db

CAMPAIGNS, ACCOUNTS, ENTRIES = 10_000, 100_000, 100_000
PROPOSALS, OPEN_PROPOSALS = 10_000, 10
EACH = 100
"""Issues of an ordinary campaign."""
LARGE = 100_000
ISSUED = 1_000_000
REJECTED = 50_000
OPEN_LINES = 60
"""The newest campaigns have lines in Redis: more than a page of the list shows."""
ROUNDS = 15
MOST_MS = 150
MANY = 3000
"""Rows that a statement looks at in one go before it is named."""
EVENTS = "INSERT INTO line_events (coupon_id, epoch, kind, user_id, ticket_number, reason, at)"
LOG = "INSERT INTO log_entries (id, at, actor_id, origin, verb, coupon_id, `before`, `after`, hash)"

ASKED = (
    "INSERT INTO proposals (verb, coupon_id, arguments, seen, made_by, made_at, expires_at, decision, decided_by, "
    "decided_at, done_at)"
)

Statement: TypeAlias = tuple[str, Any]


@dataclass(frozen=True)
class Shop:
    """What the pages are asked about, by id: the owner who asks, the first of the people, who hold ten coupons each.

    Campaigns: one with LARGE issues, one of which a page counts as much as it does itself, one with few issues that has
    turned REJECTED people away, an ordinary one and a draft.
    """

    owner: int
    first_person: int
    large: int
    middle: int
    crowded: int
    ordinary: int
    draft: int

    def pages(self) -> dict[str, str]:
        of = f"/admin/coupons/{self.large}"
        draft = f"/admin/coupons/{self.draft}"
        person, code = self.first_person + 77, f"C{self.large}X1000000077"
        return {
            "campaigns": "/admin/",
            "campaigns, page 200": "/admin/?page=200",
            "archive": "/admin/?archived=1",
            "new": "/admin/coupons/new",
            "campaign": of,
            "close": f"{of}/close",
            "duplicate": f"{of}/duplicate",
            "preview": f"{of}/preview",
            "check": f"{draft}/check",
            "content": f"{of}/content",
            "picture": f"{of}/picture",
            "list": f"{of}/people",
            "list, somebody": f"{of}/people?q=winner{person}@example.com",
            "pool": f"{of}/codes",
            "waves": f"{draft}/waves",
            "rehearsal": f"{draft}/rehearse",
            f"report, {LARGE:,} issues": f"{of}/report",
            f"report, {AT_ONCE:,} decided": f"/admin/coupons/{self.middle}/report",
            f"report, {REJECTED:,} refused": f"/admin/coupons/{self.crowded}/report",
            f"report, {EACH} issues": f"/admin/coupons/{self.ordinary}/report",
            "files": f"{of}/export",
            "log of a campaign": f"{of}/log",
            "log": "/admin/log",
            "log, oldest": "/admin/log?below=60",
            "log of a person": f"/admin/log?person={self.owner}",
            "log of a verb": "/admin/log?verb=pause",
            "people": "/admin/people",
            "people, a beginning": "/admin/people?q=winner",
            "people, a name": f"/admin/people?q={quote('김하늘')}",
            "people, an address": f"/admin/people?q=winner{person}@example.com",
            "people, a number": "/admin/people?q=77",
            "people, a code": f"/admin/people?q={code}",
            "person": f"/admin/people/{person}",
            "till": "/admin/redeem",
            "till, a code": f"/admin/redeem?code={code}",
            "till, an address": f"/admin/redeem?code=winner{person}@example.com",
            "board": f"{of}/live",
            "revocations": "/admin/revocations",
            "team": "/admin/team",
            f"proposals, {PROPOSALS:,} old": "/admin/proposals",
        }


def run(stage: Stage) -> Iterator[str]:
    if not stage.mariadb:
        yield "The console is measured on MariaDB, which is not installed here.\n"
        return
    shop = filled(stage)
    crowd = signed_in(stage.app, [shop.owner], "127.0.0.1")
    with stage.server("wsgi:app", workers=1) as port:
        yield from _times(port, crowd, shop.pages())
    yield from _scans(stage, crowd, shop.pages())


def _times(port: int, crowd: Crowd, pages: Mapping[str, str]) -> Iterator[str]:
    """Ask for all pages in turns, and tell the slowest first."""
    seen: dict[str, list[float]] = {name: [] for name in pages}
    for number in range(ROUNDS + 1):
        for name, path in pages.items():
            took_ms = _asked_ms(port, crowd.get(path, 0))
            if number:
                seen[name].append(took_ms)
    yield f"{CAMPAIGNS:,} campaigns, {ISSUED:,} issues, {ENTRIES:,} entries of the log on MariaDB; ms of a page"
    for name, values in sorted(seen.items(), key=lambda each: -median(each[1])):
        yield f"{name:<24} median {median(values):>5.0f}  from {min(values):>5.0f}  to {max(values):>5.0f}"
    slow = [name for name, values in seen.items() if median(values) > MOST_MS]
    yield f"slower than {MOST_MS} ms: {', '.join(slow) or 'none'}\n"


def _asked_ms(port: int, request: bytes) -> float:
    """Return how long a page took. Raises RuntimeError when the answer is none."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as connection:
        began = time.perf_counter()
        connection.sendall(request)
        answer = HTTPResponse(connection)
        answer.begin()
        answer.read()
        took_ms = (time.perf_counter() - began) * 1000
    if answer.status != 200:
        raise RuntimeError(f"{request.splitlines()[0]!r} was answered {answer.status}")
    return took_ms


def _scans(stage: Stage, crowd: Crowd, pages: Mapping[str, str]) -> Iterator[str]:
    """Run each statement of each page under ANALYZE, and tell those that look at MANY rows and more."""
    told = set()
    for name, path in pages.items():
        for statement in _statements(stage, crowd.sessions[0], path):
            for table, how, key, rows in _looked_at(statement):
                line = f"{table} by {key or 'no index'} ({how}), {rows:,.0f} rows: {_short(statement[0])}"
                if rows >= MANY and line not in told:
                    told.add(line)
                    yield f"scan on {name!r}: {line}"
    yield f"statements that look at {MANY:,} rows and more: {len(told)}"


def _statements(stage: Stage, cookie: str, path: str) -> list[Statement]:
    """Return what a page asks the database for. It is asked in a thread, outside of this one's app context."""
    seen: list[Statement] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            seen.append((statement, parameters))

    def ask() -> int:
        client = stage.app.test_client(use_cookies=False)
        return client.get(path, headers={"Cookie": cookie, "Host": "127.0.0.1"}).status_code

    event.listen(db.engine, "before_cursor_execute", note)
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(ask).result() == 200, path
    event.remove(db.engine, "before_cursor_execute", note)
    return seen


def _looked_at(statement: Statement) -> list[tuple[str, str, str | None, float]]:
    """Return table, way, index and the rows that were read, for each step of a statement."""
    with db.engine.connect() as connection:
        steps = connection.exec_driver_sql(f"ANALYZE {statement[0]}", statement[1]).mappings()
        return [(step["table"], step["type"], step["key"], _number(step["r_rows"])) for step in steps]


def _number(rows: object) -> float:
    """Read a number of rows, which may have the part behind it that a filter has left: `1.00 (50%)`."""
    return float(str(rows or 0).split()[0])


def _short(statement: str) -> str:
    """Return what comes after the columns of a statement, on one line."""
    return " ".join(statement.partition("FROM")[2].split())[:160]


def filled(stage: Stage) -> Shop:
    """Fill the database, straight into the tables."""
    (owner,) = stage.users(1)
    with db.engine.begin() as connection:
        connection.execute(update(User).where(User.id == owner).values(role=OWNER))
    ids = _campaigns()
    address = "concat('winner', :before + i, '@example.com')"
    _in_steps(f"{PEOPLE} {SERIES} SELECT :before + i, {address}, {PERSON}", ACCOUNTS, before=owner)
    shop = Shop(
        owner=owner,
        first_person=owner + 1,
        large=ids[-1],
        middle=ids[-2],
        crowded=ids[-3],
        ordinary=ids[-4],
        draft=ids[0],
    )
    _sell(shop, ids)
    _log(owner, shop.large)
    _propose(owner, shop.large)
    for coupon_id in ids[-OPEN_LINES:]:
        publish(coupon_id)
    _analyse()
    return shop


def _sell(shop: Shop, ids: range) -> None:
    """Give out all issues: the most ordinary campaigns have EACH. Some people come too late."""
    half = AT_ONCE // 2
    rest = ISSUED - LARGE - half
    ordinary = ids[-2 - rest // EACH : -2]
    counts = {shop.large: LARGE, shop.middle: half} | dict.fromkeys(ordinary, EACH)
    for coupon_id in (shop.large, shop.middle):
        _issue(":coupon", counts[coupon_id], shop.owner, coupon=coupon_id)
    _issue(f":coupon + (i - 1) DIV {EACH}", len(ordinary) * EACH, shop.owner, coupon=ordinary[0])
    late = (
        f"{EVENTS} {SERIES} SELECT :coupon, 1, 'rejected', :before + i, :above + i, 'sold_out', :now FROM n"
    )
    for coupon_id, count in ((shop.middle, half), (shop.crowded, REJECTED)):
        _in_steps(late, count, coupon=coupon_id, before=shop.owner + half, above=half)
    rows = [{"which": coupon_id, "issued": count} for coupon_id, count in counts.items()]
    statement = text("UPDATE coupons SET issued_quantity = :issued, last_number = :issued WHERE id = :which")
    with db.engine.begin() as connection:
        connection.execute(statement, rows)


def _campaigns() -> range:
    """Make the campaigns; the first tenth are drafts, the next is in the archive."""
    now = utcnow()
    common = DEFAULTS | {"title": "금요일 밤 쿠폰", "issue_end_at": now + timedelta(days=1)}
    rows = [
        common
        | {
            "issue_start_at": now + timedelta(hours=12 if number < CAMPAIGNS // 10 else -1),
            "status": DRAFT if number < CAMPAIGNS // 10 else LIVE,
        }
        for number in range(CAMPAIGNS)
    ]
    with db.engine.begin() as connection:
        for start in range(0, CAMPAIGNS, CHUNK):
            connection.execute(insert(Coupon), rows[start : start + CHUNK])
        last = connection.scalar(text("SELECT max(id) FROM coupons")) or 0
        first = last - CAMPAIGNS + 1
        archived = Coupon.id.between(first + CAMPAIGNS // 20, first + CAMPAIGNS // 10 - 1)
        connection.execute(update(Coupon).where(archived).values(archived_at=now))
    return range(first, last + 1)


def _issue(which: str, count: int, before: int, **values: Any) -> None:
    """Insert so many issues, each tenth of them used; `which` is the SQL of the campaign of number i."""
    _in_steps(
        f"{ISSUES} {SERIES} SELECT {which}, :before + 1 + (i - 1) MOD {ACCOUNTS}, i, 1, "
        "concat('C', :coupon, 'X', 1000000000 + i), :now, CASE WHEN i % 10 = 0 THEN :now END FROM n",
        count,
        before=before,
        **values,
    )


def _in_steps(statement: str, count: int, **values: Any) -> None:
    """Run an INSERT that takes the numbers of SERIES, for the numbers from 1 to `count`, STEP at a time."""
    bounded = f"{statement} WHERE i <= {count}"
    for first in range(1, count + 1, STEP):
        with db.engine.begin() as connection:
            connection.execute(text(bounded), {"now": utcnow(), "first": first} | values)


def _log(owner: int, coupon_id: int) -> None:
    """Fill the log: every tenth entry is the owner's, every hundredth about one campaign. Its chain is not right."""
    verbs = ", ".join(f"'{verb}'" for verb in sorted(VERBS))
    _in_steps(
        f"{LOG} {SERIES} SELECT i, :now - INTERVAL (:entries - i) MINUTE, CASE WHEN i % 10 = 0 THEN :owner END, "
        f"'console', elt(1 + i % {len(VERBS)}, {verbs}), "
        "CASE WHEN i % 100 = 0 THEN :coupon ELSE :coupon - i % 9000 END, NULL, NULL, "
        "sha2(i, 256) FROM n",
        ENTRIES,
        owner=owner,
        coupon=coupon_id,
        entries=ENTRIES,
    )
    with db.engine.begin() as connection:
        connection.execute(text("UPDATE log_head SET entries = :entries"), {"entries": ENTRIES})


def _propose(owner: int, coupon_id: int) -> None:
    """Fill the proposals: a quarter was never decided, and the last ones are still open."""
    decided = f"i % 4 > 0 AND i <= {PROPOSALS}"
    when = f":now - INTERVAL greatest(0, {PROPOSALS} - i) HOUR"
    over = f"{when} + INTERVAL 30 MINUTE - INTERVAL (i <= {PROPOSALS}) HOUR"
    quota = "concat('{\"total_quantity\": ', 1000000 + i, '}')"
    _in_steps(
        f"{ASKED} {SERIES} SELECT 'change quota', :coupon, {quota}, 'seen', CASE WHEN i % 2 = 0 THEN :owner END, "
        f"{when}, {over}, CASE WHEN {decided} THEN elt(i % 4, 'confirmed', 'declined', 'withdrawn') END, "
        f"CASE WHEN {decided} THEN :owner END, CASE WHEN {decided} THEN {when} END, "
        f"CASE WHEN {decided} AND i % 4 = 1 THEN {when} END FROM n",
        PROPOSALS + OPEN_PROPOSALS,
        owner=owner,
        coupon=coupon_id,
    )


def _analyse() -> None:
    """Have the database count anew, as it does by itself some seconds after so many rows."""
    tables = "coupons, coupon_issues, users, line_events, log_entries, proposals"
    with db.engine.begin() as connection:
        connection.execute(text(f"ANALYZE TABLE {tables}"))
