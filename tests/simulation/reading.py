"""What stands in both stores at one instant, read past the product's own code."""

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hiredis import pack_command
from redis.connection import UnixDomainSocketConnection

from webapp.line.keys import MARK_BYTES

OTHER = 2
"""Another wave of the campaign."""


class Issue(NamedTuple):
    number: int
    epoch: int
    code: str


class Event(NamedTuple):
    kind: str
    user: int | None
    number: int | None
    epoch: int
    reason: str


class Proposed(NamedTuple):
    """What somebody has asked for, and what became of it; the time is as the database gives it."""

    verb: str
    arguments: str
    made_by: int | None
    made_at: Any
    decision: str | None
    by: int | None


class Logged(NamedTuple):
    """A row of the log about our coupon."""

    verb: str
    by: int | None
    proposal: int | None
    asked_by: int | None


class Row(NamedTuple):
    """The row of the coupon, as SQL has committed it."""

    status: str
    quota: int | None
    issued: int
    epoch: int
    revision: int
    last: int
    audience: str = "everybody"
    version: int = 0
    one_each: bool = False
    """Whether it is a wave, and everybody gets one over all waves."""
    pool_left: int | None = None
    cursor_file: int = 0
    cursor_line: int = 0
    opens_at: Any = None
    """These times are as the database gives them."""
    ends_at: Any = None
    paused_at: Any = None
    promised_at: Any = None
    pause_template: str = ""
    standby: int = 0

    @property
    def coupons_left(self) -> bool:
        """Whether somebody can still get one: neither the quota nor the pool of codes is at its end."""
        return (self.quota is None or self.issued < self.quota) and self.pool_left != 0


@dataclass
class Books:
    """What SQL has committed about the coupon and its people."""

    row: Row
    issues: dict[int, Issue] = field(default_factory=dict)
    doubles: int = 0
    events: list[Event] = field(default_factory=list)
    revoked: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    """The codes that were used at a till."""
    blocked: set[int] = field(default_factory=set)
    people: set[int] = field(default_factory=set)
    listed: set[int] = field(default_factory=set)
    """The people on the list of the coupon."""
    elsewhere: set[int] = field(default_factory=set)
    """The people who have one of the other wave."""
    other_revision: int = 0
    pool: list[tuple[int, int, str]] = field(default_factory=list)
    """The codes of the pool in their order: file, line and code."""

    proposals: dict[int, Proposed] = field(default_factory=dict)
    """These three are read where two people decide."""
    log: list[Logged] = field(default_factory=list)
    roles: dict[int, str] = field(default_factory=dict)

    @property
    def codes_left(self) -> list[str]:
        """The codes of the pool behind the cursor, in their order."""
        cursor = (self.row.cursor_file, self.row.cursor_line)
        return [code for file, line, code in self.pool if (file, line) > cursor]

    @property
    def audience(self) -> str:
        """What the gate has to say of who may have it."""
        return "" if self.row.audience == "everybody" else str(self.row.version)

    def may(self, user: int) -> bool:
        return self.row.audience == "everybody" or user in self.listed

    @property
    def rejected(self) -> dict[int, Event]:
        """The people whom an event rejects, with the last such event."""
        return {event.user: event for event in self.events if event.kind == "rejected" and event.user}

    @property
    def explained(self) -> set[tuple[int | None, int | None]]:
        """User and number of every place that was decided without a coupon."""
        return {(event.user, event.number) for event in self.events if event.kind in ("rejected", "already")}

    def has_a_row(self, number: int) -> bool:
        """Whether a row says what became of this very number."""
        return number in {issue.number for issue in self.issues.values()} | {at for _, at in self.explained}

    def decided(self, user: int, number: int) -> bool:
        return user in self.issues or (user, number) in self.explained


@dataclass
class Seen:
    """The keys of the coupon's line in Redis."""

    gate: dict[str, str]
    line: dict[int, int]
    standby: dict[int, int]
    results: dict[int, str]
    bell_until: int
    """The ms at which the bell ends by Redis's clock; 0: it is not set."""
    run: str
    crowd: int = 0
    """How many members line and standby have, numbers that were given up included."""
    members: bytes = b""
    elsewhere: bytes = b""

    @property
    def list_is_whole(self) -> bool:
        mark = f"{self.gate['epoch']}:{self.gate['audience']}".ljust(MARK_BYTES)
        return self.members[:MARK_BYTES] == mark.encode()

    @property
    def listed(self) -> set[int]:
        """The people whose bits are set."""
        return _set_bits(self.members)

    @property
    def refused(self) -> set[int]:
        """The people whom a click is refused because they have one of the other wave."""
        return _set_bits(self.elsewhere) if "elsewhere" in self.gate else set()

    def has_heard(self, books: Books) -> bool:
        """Whether the line has heard of all that happened in the other wave."""
        version = str(books.other_revision)
        mark = f"{self.epoch}:{version}".ljust(MARK_BYTES).encode()
        return self.gate.get("elsewhere") == version and self.elsewhere[:MARK_BYTES] == mark

    @property
    def epoch(self) -> int:
        return int(self.gate.get("epoch", 0))

    @property
    def last(self) -> int:
        return int(self.gate.get("last", 0))

    @property
    def trusted(self) -> bool:
        """Whether the gate is open, and of this run of the server."""
        return self.gate.get("run_id") == self.run

    @property
    def places(self) -> dict[int, int]:
        return {**self.standby, **self.line}


class RedisReader:
    """Reads the keys of one line in one round trip, on a connection of its own."""

    def __init__(self, connection: UnixDomainSocketConnection, coupon_id: int) -> None:
        self.connection = connection
        tag = f"{{coupon:{coupon_id}}}:"
        self.packed = b"".join(
            pack_command(command)
            for command in (
                ("HGETALL", f"{tag}gate"),
                ("ZRANGE", f"{tag}line", "0", "-1", "WITHSCORES"),
                ("ZRANGE", f"{tag}standby", "0", "-1", "WITHSCORES"),
                ("HGETALL", f"{tag}results"),
                ("GET", f"{tag}bell"),
                ("GET", f"{tag}members"),
                ("GET", f"{tag}elsewhere"),
            )
        )

    def read(self, run: str) -> Seen:
        self.connection.send_packed_command([self.packed], check_health=False)
        gate, line, standby, results, bell, *bits = (self.connection.read_response() for _ in range(7))
        members, elsewhere = ((kept or "").encode(errors="surrogateescape") for kept in bits)
        return Seen(
            dict(_pairs(gate)),
            _places(line),
            _places(standby),
            _results(results),
            int(bell or 0),
            run,
            crowd=(len(line) + len(standby)) // 2,
            members=members,
            elsewhere=elsewhere,
        )


def _set_bits(kept: bytes) -> set[int]:
    bits = kept[MARK_BYTES:]
    return {at for at in range(8 * len(bits)) if bits[at // 8] & 0x80 >> at % 8}


def _pairs(flat: list[str]) -> list[tuple[str, str]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _places(flat: list[str]) -> dict[int, int]:
    """Return the numbers of the people in a queue. A member "user:number" keeps a number that its owner gave up."""
    return {int(user): int(number) for user, number in _pairs(flat) if ":" not in user}


def _results(flat: list[str]) -> dict[int, str]:
    return {int(user): result for user, result in _pairs(flat)}


def read_books(cursor: Any, coupon_id: int, log_from: int | None = None) -> Books:
    """Read what SQL has committed; the cursor is of a connection that begins no transactions.

    With `log_from`, proposals and the log after that row are read, too.
    """

    def rows(query: str) -> list[Any]:
        cursor.execute(query)
        return list(cursor.fetchall())

    of = f"WHERE coupon_id = {coupon_id}"
    policy = (
        "status, total_quantity, issued_quantity, epoch, revision, last_number, audience, audience_version, "
        "one_per_campaign, pool_left, pool_upload_id, pool_line, issue_start_at, issue_end_at, paused_at, promised_at, "
        "pause_template, standby_limit"
    )
    books = Books(Row(*rows(f"SELECT {policy} FROM coupons WHERE id = {coupon_id}")[0]))
    if books.row.one_each:
        ((books.other_revision,),) = rows(f"SELECT revision FROM coupons WHERE id = {OTHER}")
        books.elsewhere = {
            user for (user,) in rows(f"SELECT user_id FROM coupon_issues WHERE coupon_id = {OTHER}")
        }
    held = f"SELECT user_id, used_at, ticket_number, epoch, code FROM coupon_issues {of}"
    for user, used_at, *facts in rows(held):
        books.doubles += user in books.issues
        books.issues[user] = issue = Issue(*facts)
        if used_at:
            books.used.add(issue.code)
    events = f"SELECT kind, user_id, ticket_number, epoch, reason FROM line_events {of} ORDER BY id"
    books.events = [Event(*event) for event in rows(events)]
    books.revoked = dict(rows(f"SELECT code, user_id FROM revocations {of}"))
    people = "uploads l JOIN listed_people p ON p.upload_id = l.id JOIN users u ON u.email = p.identifier"
    counts = f"l.coupon_id = {coupon_id} AND l.state = 'counted' AND l.kind = 'people'"
    books.listed = {user for (user,) in rows(f"SELECT u.id FROM {people} WHERE {counts}")}
    if books.row.pool_left is not None:
        files = "pool_codes p JOIN uploads l ON l.id = p.upload_id"
        codes = f"l.coupon_id = {coupon_id} AND l.state = 'counted' AND l.kind = 'codes'"
        query = f"SELECT p.upload_id, p.line, p.code FROM {files} WHERE {codes} ORDER BY p.upload_id, p.line"
        books.pool = [tuple(each) for each in rows(query)]
    for user, blocked_at in rows("SELECT id, blocked_at FROM users"):
        books.people.add(user)
        if blocked_at:
            books.blocked.add(user)
    if log_from is not None:
        asked = "id, verb, arguments, made_by, made_at, decision, decided_by"
        books.proposals = {
            which: Proposed(*facts) for which, *facts in rows(f"SELECT {asked} FROM proposals")
        }
        log = f"SELECT verb, actor_id, after FROM log_entries {of} AND id > {log_from} ORDER BY id"
        books.log = [_logged(*row) for row in rows(log)]
        books.roles = dict(rows("SELECT id, role FROM users WHERE blocked_at IS NULL"))
    return books


def _logged(verb: str, by: int | None, after: str | None) -> Logged:
    told = json.loads(after or "{}")
    return Logged(verb, by, told.get("proposal"), told.get("asked_by"))
