"""One coupon's line in Redis: the only place that knows the keys.

Keys of the line of coupon 7, all on one node of a cluster by their hash tag:

    {coupon:7}:gate      hash    epoch, revision, status, quota, issued, opens_at, closes_at (ms), last (number
                                 given), serving (highest number decided), last_issued (highest number that was
                                 issued a coupon), sold_out (0 or 1), sold_out_at (ms),
                                 grace_until and grace_end (ms), begun (run id of the server in whose life this epoch
                                 was begun), which becomes run_id when SQL knows of the epoch, floor (this epoch's
                                 numbers lie above), arrived (last bucket of the arrivals), heard (number that a receipt
                                 told of and the counter did not know)
    {coupon:7}:line      zset    user id -> ticket number, who waits
    {coupon:7}:standby   zset    user id -> ticket number, who waited when the quota ran out
    {coupon:7}:results   hash    user id -> "issued:<number>:<code>" or "rejected:<number>:<reason>"
    {coupon:7}:bell      string  exists for BELL_MS after somebody rang for the admission
    {coupon:7}:arrivals  zset    bucket of BUCKET_MS (epoch ms // BUCKET_MS) -> first ticket number given in it;
                                 "unknown:<floor>" -> first number below that floor that may be given and forgotten
    {coupon:7}:malformed list    what was found in the keys above and is none of our writing, the newest first

Each script in `lua/` states its own contract in its header.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import redis

from webapp.scripts import ScriptRedis

BELL_MS = 5000
BUCKET_MS = 100
"""How exactly the time of an arrival is kept: at most ten entries a second, however many people come."""
MOST_NUMBER = 2**52
"""No ticket's number is as high. Above 2**53 a sorted set would not tell one number from the next."""
KEPT_ASIDE = 1000
RESULT = re.compile(r"(issued|rejected):(\d{1,16}):([^\ud800-\udfff]*)", re.DOTALL)
RESTORE_CHUNK = 1000
READ_CHUNK = 1000


class Answer(IntEnum):
    """What the scripts answer; the same numbers stand at the head of each script."""

    NO_GATE = 0
    WAITING = 1
    DECIDED = 2
    STANDBY = 3
    NOT_OPEN = 4
    CLOSED = 5
    SOLD_OUT = 6
    NO_TICKET = 7


@dataclass(frozen=True)
class Claimed:
    answer: Answer
    epoch: int
    number: int
    ahead: int
    ring: bool
    now_ms: int
    result: str

    @property
    def readable(self) -> bool:
        return _is_readable(self)


@dataclass(frozen=True)
class Standing:
    answer: Answer
    epoch: int
    number: int
    ahead: int
    result: str

    @property
    def readable(self) -> bool:
        return _is_readable(self)


class Waiting(NamedTuple):
    member: str
    number: int


@dataclass(frozen=True)
class Head:
    """The first of a line. `malformed` are members whose scores are no ticket numbers."""

    epoch: int
    last: int
    tickets: list[Waiting]
    malformed: list[str]


class Life(NamedTuple):
    """The epoch of a gate, None where there is none to be trusted. Not `opened`: it gives no numbers yet."""

    epoch: int | None
    opened: bool


class Settled(NamedTuple):
    """A decided ticket and its result; an empty result only takes the ticket out of the line."""

    member: str | bytes
    number: int
    result: str


@dataclass(frozen=True)
class Policy:
    """What the gate copies from the coupon's row: times in epoch milliseconds, no quota means unlimited."""

    revision: int
    status: str
    quota: int | None
    issued: int
    opens_at_ms: int
    closes_at_ms: int

    @property
    def sold_out(self) -> bool:
        return self.quota is not None and self.issued >= self.quota

    def args(self) -> list[str | int]:
        quota = "" if self.quota is None else self.quota
        return [
            self.revision,
            self.status,
            quota,
            self.issued,
            self.opens_at_ms,
            self.closes_at_ms,
            int(self.sold_out),
        ]


@dataclass(frozen=True)
class Gate:
    """The gate, how many wait, and Redis's clock at that instant.

    Not `opened`: nobody got a number in its epoch yet. `doubted`: its counter was found to be behind.
    """

    policy: Policy
    epoch: int
    last: int
    serving: int
    sold_out: bool
    sold_out_at_ms: int | None
    floor: int
    opened: bool
    doubted: bool
    waiting: int
    now_ms: int


class Line:
    """One coupon's line. Every method is one round trip and raises redis.RedisError when Redis does not answer."""

    def __init__(self, connection: ScriptRedis, coupon_id: int) -> None:
        self.redis = connection
        tag = f"{{coupon:{coupon_id}}}:"
        self.gate_key, self.line_key, self.standby_key = tag + "gate", tag + "line", tag + "standby"
        self.results_key, self.bell_key, self.arrivals_key = tag + "results", tag + "bell", tag + "arrivals"
        self.malformed_key = tag + "malformed"

    def claim(self, user_id: int) -> Claimed:
        """Give the user the next number, or the answer they already have; a repeat changes nothing."""
        keys = [self.gate_key, self.line_key, self.standby_key, self.results_key, self.bell_key]
        reply = self._run("claim", [*keys, self.arrivals_key], [user_id, BELL_MS, BUCKET_MS])
        answer, epoch, number, ahead, ring, now_ms, result = reply
        return Claimed(Answer(answer), epoch, number, ahead, ring == 1, now_ms, result)

    def standing(self, user_id: int) -> Standing:
        keys = [self.gate_key, self.line_key, self.standby_key, self.results_key]
        answer, *rest = self._run("read_standing", keys, [user_id])
        return Standing(Answer(answer), *rest)

    def head(self, count: int) -> Head | None:
        """Return the first tickets in order of number, or None when the gate is missing."""
        reply = self._run("read_head", [self.gate_key, self.line_key], [count])
        if not reply:
            return None
        epoch, last, *pairs = reply
        tickets, malformed = _told_apart(zip(pairs[::2], pairs[1::2], strict=True))
        return Head(int(epoch), int(last), tickets, malformed)

    def settle(self, policy: Policy, settled: Iterable[Settled]) -> int:
        """Copy a committed batch into Redis and return how many tickets left the line; a repeat changes nothing."""
        keys = [self.gate_key, self.line_key, self.standby_key, self.results_key]
        flat = [part for ticket in settled for part in ticket]
        return int(
            self._run("settle_batch", keys, [policy.revision, policy.issued, int(policy.sold_out), *flat])
        )

    def to_standby(self) -> int:
        """Move everybody who waits to standby if the gate says sold out; return how many."""
        return int(self._run("move_to_standby", [self.gate_key, self.line_key, self.standby_key], []))

    def write_gate(self, policy: Policy) -> bool:
        """Rewrite the gate after a commit and return True, or False when there is no gate to rewrite.

        An older revision changes nothing. When coupons came back, standby becomes the line again.
        """
        return (
            int(self._run("write_gate", [self.gate_key, self.line_key, self.standby_key], policy.args())) >= 0
        )

    def seed(
        self,
        policy: Policy,
        *,
        epoch: int,
        known: int,
        serving: int,
        last_issued: int | None = None,
        step: int = 0,
    ) -> int | None:
        """Begin an epoch and return its floor; None, and nothing changed, when a gate of this server stands.

        The floor is above `known` and every surviving ticket: the next multiple of `step`, if there is a step. Nobody
        gets a number before `open`.
        """
        keys = [self.gate_key, self.line_key, self.standby_key, self.arrivals_key]
        last = "" if last_issued is None else last_issued
        floor = int(self._run("seed_gate", keys, [*policy.args(), epoch, known, serving, step, last]))
        return None if floor < 0 else floor

    def open(self, epoch: int, *, grace_ms: int = 0) -> bool:
        """Have an epoch that was begun give numbers; return False, and change nothing, when another was begun since.

        Call it when SQL knows of the epoch. Admission waits `grace_ms` for receipts, and up to twice as long while they
        come in.
        """
        return bool(self._run("open_gate", [self.gate_key], [epoch, grace_ms]))

    def restore(self, user_id: int, *, number: int, epoch: int, next_ms: int = 0) -> Standing:
        """Put a lost ticket back at its number, if it is nobody's; a repeat changes nothing.

        Where admission waits for receipts, it goes on waiting for `next_ms`, at most until grace_end. A receipt that
        is ahead of the counter has the next caller begin a new epoch, above it.
        """
        keys = [self.gate_key, self.line_key, self.standby_key, self.results_key]
        answer, *rest = self._run("restore_ticket", keys, [user_id, number, epoch, next_ms])
        return Standing(Answer(answer), *rest)

    def take_back(self, user_id: int, result: str, instead: str) -> bool:
        """Put a result in the place of another, "" for none, if that still stands; return whether it did."""
        return bool(self._run("take_back", [self.results_key], [user_id, raw(result), instead]))

    def set_aside(self) -> int:
        """Set aside keys and a gate that are none of our writing; return how many things that was."""
        keys = [self.gate_key, self.line_key, self.standby_key, self.results_key, self.bell_key]
        return int(self._run("set_aside", [*keys, self.arrivals_key, self.malformed_key], [KEPT_ASIDE]))

    def set_members_aside(self, members: Iterable[str]) -> None:
        """Take members out of the line and of standby that are no users, or whose scores are no numbers."""
        strange = [raw(member) for member in members]
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.zrem(self.line_key, *strange)
            pipe.zrem(self.standby_key, *strange)
            pipe.lpush(self.malformed_key, *(b"member " + member[:200] for member in strange))
            pipe.ltrim(self.malformed_key, 0, KEPT_ASIDE - 1)
            pipe.execute()

    def set_result_aside(self, user_id: int, instead: str) -> None:
        """Take a result away that cannot be read, and put what SQL knows in its place, "" for nothing."""
        result: Any = self.redis.hget(self.results_key, str(user_id))
        if result is not None and not RESULT.fullmatch(result) and self.take_back(user_id, result, instead):
            self.redis.lpush(self.malformed_key, b"result %d " % user_id + raw(result)[:200])
            self.redis.ltrim(self.malformed_key, 0, KEPT_ASIDE - 1)

    def aside(self) -> list[str]:
        """Return what was set aside, the newest first, at most KEPT_ASIDE texts."""
        kept: Any = self.redis.lrange(self.malformed_key, 0, -1)
        return [printable(text) for text in kept]

    def distrust(self) -> None:
        """Have the next caller begin a new epoch: this gate is behind what SQL knows."""
        self.redis.hdel(self.gate_key, "run_id")

    def restore_results(self, results: Mapping[str, str]) -> None:
        """Write results that SQL knows, step by step, so that others get their answers; "issued" overrides anything."""
        items = list(results.items())
        for start in range(0, len(items), RESTORE_CHUNK):
            self.redis.hset(self.results_key, mapping=dict(items[start : start + RESTORE_CHUNK]))

    def rebuild_results(self, results: Mapping[str, str]) -> None:
        """Make the results these and no others, and take who has one out of the line and of standby.

        Call it while the coupon's row is locked, with all that SQL knows.
        """
        unknown, known = [user for user, _ in self.results() if user not in results], list(results)
        self.restore_results(results)
        with self.redis.pipeline(transaction=False) as pipe:
            for start in range(0, len(unknown), RESTORE_CHUNK):
                pipe.hdel(self.results_key, *map(raw, unknown[start : start + RESTORE_CHUNK]))
            for start in range(0, len(known), RESTORE_CHUNK):
                pipe.zrem(self.line_key, *known[start : start + RESTORE_CHUNK])
                pipe.zrem(self.standby_key, *known[start : start + RESTORE_CHUNK])
            pipe.execute()

    def results(self) -> Iterator[tuple[str, str]]:
        """Yield every stored result by user id, in steps that do not hold Redis up."""
        yield from self.redis.hscan_iter(self.results_key, count=READ_CHUNK)

    def waiting(self) -> Iterator[Waiting]:
        """Yield who is in line; whoever joins meanwhile, and whose score is no number, may be missing."""
        return self._tickets(self.line_key)

    def standby(self) -> Iterator[Waiting]:
        return self._tickets(self.standby_key)

    def _tickets(self, key: str) -> Iterator[Waiting]:
        yield from _told_apart(self.redis.zscan_iter(key, count=READ_CHUNK))[0]

    def gate(self) -> Gate | None:
        """Return the gate, or None when it is missing or cannot be read."""
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(self.gate_key)
            pipe.zcard(self.line_key)
            pipe.time()
            try:
                fields, waiting, (seconds, micros) = pipe.execute()
                return _gate(fields, waiting, seconds * 1000 + micros // 1000)
            except (KeyError, ValueError):
                return None
            except redis.ResponseError as error:
                if type(error) is not redis.ResponseError:
                    raise  # not about the gate, but about Redis
                return None

    def arrival(self, number: int) -> int | None:
        """Return when the number was given, in epoch ms, BUCKET_MS exact; None when Redis does not know any more."""
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.hget(self.gate_key, "last")
            pipe.zrevrangebyscore(self.arrivals_key, number, "-inf", start=0, num=1)
            last, buckets = pipe.execute()
        if not buckets or not buckets[0].isdecimal() or not _is_below(number, last or "0"):
            return None
        return int(buckets[0]) * BUCKET_MS

    def stands(self) -> bool:
        """Return whether there is a gate that is open, and belongs to this life of the server."""
        return self.life().opened

    def life(self) -> Life:
        """Return the epoch that was begun in this life of the server, and whether it is open."""
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.hmget(self.gate_key, "epoch", "run_id", "begun")
            pipe.info("server")
            (epoch, opened_in, begun_in), server = pipe.execute()
        run_id = server["run_id"]
        if not (epoch or "").isdecimal() or run_id not in (opened_in, begun_in):
            return Life(None, False)
        return Life(int(epoch), opened_in == run_id)

    def ring(self) -> bool:
        """Set the bell when somebody waits and nobody rang; True tells the caller to enqueue one admission job."""
        return bool(self._run("ring_bell", [self.gate_key, self.line_key, self.bell_key], [BELL_MS]))

    def quiet_bell(self) -> None:
        """Take the bell away before reading the line, so that no ticket comes in unheard."""
        self.redis.delete(self.bell_key)

    def forget(self) -> None:
        """Delete every key of this line. Only for coupons that are deleted themselves."""
        keys = [self.gate_key, self.line_key, self.standby_key, self.results_key, self.bell_key]
        self.redis.delete(*keys, self.arrivals_key, self.malformed_key)

    def _run(self, name: str, keys: list[str], args: list[Any]) -> Any:
        return self.redis.run_script(name, keys, args)


def raw(text: str) -> bytes:
    """Return the bytes that Redis holds for a text that was read from it, also where they are no UTF-8."""
    return text.encode(errors="surrogateescape")


def printable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _is_readable(found: "Claimed | Standing") -> bool:
    if found.answer is Answer.DECIDED:
        return RESULT.fullmatch(found.result) is not None
    return 0 <= found.number < MOST_NUMBER


def _is_below(number: int, last: str) -> bool:
    return last.isdecimal() and number <= int(last)


def _told_apart(pairs: Iterable[tuple[str, Any]]) -> tuple[list[Waiting], list[str]]:
    """Return tickets, and the members whose scores are no ticket numbers."""
    tickets, malformed = [], []
    for member, score in pairs:
        number = float(score)
        if number.is_integer() and 0 <= number < MOST_NUMBER:
            tickets.append(Waiting(member, int(number)))
        else:
            malformed.append(member)
    return tickets, malformed


def _gate(fields: dict[str, str], waiting: int, now_ms: int) -> Gate:
    policy = Policy(
        revision=int(fields["revision"]),
        status=fields["status"],
        quota=int(fields["quota"]) if fields["quota"] else None,
        issued=int(fields["issued"]),
        opens_at_ms=int(fields["opens_at"]),
        closes_at_ms=int(fields["closes_at"]),
    )
    sold_out_at = fields.get("sold_out_at")
    return Gate(
        policy=policy,
        epoch=int(fields["epoch"]),
        last=int(fields["last"]),
        serving=int(fields["serving"]),
        sold_out=fields["sold_out"] == "1",
        sold_out_at_ms=int(sold_out_at) if sold_out_at else None,
        floor=int(fields["floor"]),
        opened="begun" not in fields,
        doubted=not fields.keys() & {"begun", "run_id"},
        waiting=waiting,
        now_ms=now_ms,
    )
