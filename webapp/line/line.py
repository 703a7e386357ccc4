"""One coupon's line in Redis: each method is one script of `lua/`, or a few plain commands."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import redis

from webapp.line.keys import BELL_MS, BUCKET_MS, MARK_BYTES
from webapp.line.reading import claims_from, gate_from, is_below, printable, raw, standings_from, told_apart
from webapp.line.results import RESULT
from webapp.line.types import Claimed, Gate, Head, Life, Policy, Reply, Restored, Settled, Standing, Waiting
from webapp.stores.script_redis import Lines

KEPT_ASIDE = 1000
NO_POLICY = [""] * 10
WRITE_CHUNK = 1000
READ_CHUNK = 1000


class Line:
    """One coupon's line. Every method raises redis.RedisError when Redis does not answer.

    A method that runs a script is one round trip, and so is `gate`. The methods for many results or tickets take a
    round trip for each thousand.
    """

    def __init__(self, connections: Lines, coupon_id: int) -> None:
        # A Cluster hashes what is in the braces alone, so all keys of a coupon are on one node.
        tag = f"{{coupon:{coupon_id}}}:"
        self.redis = connections.of(tag)
        self.gate_key, self.line_key, self.standby_key = tag + "gate", tag + "line", tag + "standby"
        self.results_key, self.bell_key, self.arrivals_key = tag + "results", tag + "bell", tag + "arrivals"
        self.malformed_key, self.late_key = tag + "malformed", tag + "late"
        self.members_key, self.elsewhere_key = tag + "members", tag + "elsewhere"
        self.turnout_key, self.refused_key = tag + "turnout", tag + "refused"
        self.shown_key = tag + "shown"
        self.bits_keys = [self.members_key, self.elsewhere_key]
        self.place_keys = [self.gate_key, self.line_key, self.standby_key, self.results_key]
        self.policy_keys = [*self.place_keys, self.arrivals_key]
        self.claim_keys = [*self.place_keys, self.bell_key, self.arrivals_key, *self.bits_keys]
        self.all_keys = [*self.claim_keys[:-2], self.malformed_key, self.late_key, *self.bits_keys]
        self.all_keys += [self.turnout_key, self.refused_key, self.shown_key]

    def claim(self, user_id: int) -> Claimed:
        """Give the user the next number, or the reply that they already have; a repeat changes nothing."""
        return self.claims([user_id])[0]

    def claims(self, user_ids: Sequence[int]) -> list[Claimed]:
        """Do the same for users who pressed the button in this order, some perhaps twice. One round trip for all."""
        return claims_from(self._run("claim", self.claim_keys, [BELL_MS, BUCKET_MS, *user_ids]))

    def standing(self, user_id: int) -> Standing:
        """Return the user's place or result. Nothing is changed."""
        return self.standings([user_id])[0]

    def standings(self, user_ids: Sequence[int]) -> list[Standing]:
        """Return the places or results of users, in their order. One round trip for all, and nothing is changed."""
        return standings_from(self._run("read_standing", self.place_keys, user_ids))

    def head(self, count: int) -> Head | None:
        """Return the first tickets in order of number, or None when the epoch is not open."""
        reply = self._run("read_head", [self.gate_key, self.line_key], [count])
        if not reply:
            return None
        epoch, last, sold_out, *pairs = reply
        tickets, malformed = told_apart(zip(pairs[::2], pairs[1::2], strict=True))
        return Head(int(epoch), int(last), sold_out == "1", tickets, malformed)

    def settle(self, policy: Policy | None, settled: Iterable[Settled]) -> int:
        """Copy a committed batch into Redis and return how many tickets left the line; a repeat changes nothing.

        The policy is that of the row after the commit; without one the gate is left alone.
        """
        row = policy.args() if policy else NO_POLICY
        return int(
            self._run(
                "settle_batch", self.policy_keys, [*row, *(part for ticket in settled for part in ticket)]
            )
        )

    def to_standby(self) -> int:
        """Move all tickets of the line to standby if the gate says sold out; return how many."""
        return int(self._run("move_to_standby", [self.gate_key, self.line_key, self.standby_key], []))

    def publish(self, policy: Policy) -> bool:
        """Rewrite the gate after a commit and return True, or False when no epoch is open in this run of the server.

        An older revision changes nothing. When coupons came back, standby becomes the line again.
        """
        return int(self._run("publish", self.policy_keys, policy.args())) >= 0

    def begin_epoch(
        self,
        policy: Policy,
        *,
        epoch: int,
        mark: int,
        known: int,
        serving: int,
        last_issued: int | None = None,
        step: int = 0,
    ) -> int | None:
        """Begin an epoch and return its floor; return None, and change nothing, when an epoch is open.

        The floor is not below `known` and every surviving ticket; with a `step` it is the next multiple of it. Nobody
        gets a number before `open_epoch`, which asks for the `mark`: two beginnings never have the same one.
        """
        last = "" if last_issued is None else last_issued
        args = [*policy.args(), epoch, known, serving, step, last, mark]
        floor = int(self._run("begin_epoch", self.policy_keys, args))
        return None if floor < 0 else floor

    def open_epoch(self, mark: int, *, grace_ms: int = 0) -> bool:
        """Open the epoch that was begun with this mark; return False, and change nothing, if another stands there.

        Call it when SQL knows the mark. From then on the epoch gives numbers. Admission waits `grace_ms` for receipts.
        """
        return bool(self._run("open_epoch", [self.gate_key], [mark, grace_ms]))

    def restore(self, user_id: int, *, number: int, epoch: int) -> Restored:
        """Restore a lost ticket at its old number, if nobody has that number; a repeat changes nothing.

        A user who has a ticket meanwhile moves down to a lower number, and keeps theirs before a higher one. A receipt
        that is ahead of the counter ends the epoch: the next caller begins a new one above it.
        """
        answer, *rest = self._run(
            "restore_ticket", [*self.place_keys, self.late_key], [user_id, number, epoch]
        )
        return Restored(Reply(answer), *rest)

    def await_receipts(self, grace_ms: int) -> bool:
        """Have admission wait so long for receipts since the epoch was opened, if it still waits; return whether."""
        return bool(self._run("await_receipts", [self.gate_key], [grace_ms]))

    def revoke(self, user_id: int, result: str, instead: str) -> bool:
        """Replace `result` by `instead` ("" for none), if Redis still holds it; return whether it did."""
        return bool(self._run("revoke", [self.results_key], [user_id, raw(result), instead]))

    def write_members(self, *, epoch: int, audience: str, bits: bytes) -> bool:
        """Write who may have the coupon; return False, and change nothing, when the gate is of another audience.

        The first bit is that of user id 0. They count at once, and in this epoch only.
        """
        args = [epoch, audience, bits]
        return bool(self._run("write_members", [self.gate_key, self.members_key], args))

    def mark_members(self, marks: Mapping[int, bool], *, was: str, audience: str) -> bool:
        """Change the bits of some users where an audience has changed by just these, or in nothing.

        Return False, and change nothing, when the members in Redis are not whole. One call takes 2,000 users.
        """
        flat = [part for user_id, may in marks.items() for part in (user_id, int(may))]
        return bool(self._run("mark_members", [self.gate_key, self.members_key], [was, audience, *flat]))

    def members_are_of(self, epoch: int, audience: str) -> bool:
        """Return whether the members in Redis are whole, and those of this audience in this epoch."""
        mark: Any = self.redis.getrange(self.members_key, 0, MARK_BYTES - 1)
        return bool(mark == _bits_mark(epoch, audience))

    def member_bits(self) -> bytes:
        """Return the bits of who may have the coupon, without those that are 0 at the end; b"" for none."""
        return self._bits(self.members_key)

    def count_members(self) -> int:
        """Return how many users may have the coupon, as Redis knows it."""
        return int(self.redis.bitcount(self.members_key, MARK_BYTES, -1))

    def write_elsewhere(self, *, epoch: int, version: str, bits: bytes) -> bool:
        """Write who has one of another wave; return False, and change nothing, when another epoch is open, or none.

        The first bit is that of user id 0. From then on claims look at them, in this epoch.
        """
        return bool(self._run("write_elsewhere", [self.gate_key, self.elsewhere_key], [epoch, version, bits]))

    def doubt_elsewhere(self) -> None:
        """Have claims look at nobody's bit of another wave until all are written anew."""
        self.redis.hdel(self.gate_key, "elsewhere")

    def elsewhere_is_of(self, epoch: int, version: str) -> bool:
        """Return whether claims look at who has one of another wave, by this version of the other waves."""
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.hget(self.gate_key, "elsewhere")
            pipe.getrange(self.elsewhere_key, 0, MARK_BYTES - 1)
            return bool(pipe.execute() == [version, _bits_mark(epoch, version)])

    def elsewhere_bits(self) -> bytes:
        """Return the bits of who has one of another wave, without those that are 0 at the end; b"" for none."""
        looked_at = self.redis.hexists(self.gate_key, "elsewhere")
        return self._bits(self.elsewhere_key) if looked_at else b""

    def _bits(self, key: str) -> bytes:
        kept: Any = self.redis.getrange(key, MARK_BYTES, -1)
        return raw(kept).rstrip(b"\0")

    def set_aside(self) -> int:
        """Set malformed keys and a malformed gate aside; return how many things that was."""
        return int(self._run("set_aside", self.all_keys, [KEPT_ASIDE]))

    def set_members_aside(self, members: Iterable[str]) -> None:
        """Move members to `malformed` that are no user ids, or whose scores are no numbers of tickets."""
        strange = [raw(member) for member in members]
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.zrem(self.line_key, *strange)
            pipe.zrem(self.standby_key, *strange)
            pipe.lpush(self.malformed_key, *(b"member " + member[:200] for member in strange))
            pipe.ltrim(self.malformed_key, 0, KEPT_ASIDE - 1)
            pipe.execute()

    def set_result_aside(self, user_id: int, instead: str) -> None:
        """Move a result that cannot be read to `malformed`, and put SQL's result in its place ("" for none)."""
        result: Any = self.redis.hget(self.results_key, str(user_id))
        # A worker may have written a good result since the bad one was read: that one stays.
        if result is not None and not RESULT.fullmatch(result) and self.revoke(user_id, result, instead):
            self.redis.lpush(self.malformed_key, b"result %d " % user_id + raw(result)[:200])
            self.redis.ltrim(self.malformed_key, 0, KEPT_ASIDE - 1)

    def aside(self) -> list[str]:
        """Return the texts that were set aside, the newest first, at most KEPT_ASIDE."""
        kept: Any = self.redis.lrange(self.malformed_key, 0, -1)
        return [printable(text) for text in kept]

    def end_epoch(self) -> None:
        """End the epoch, whose gate does not fit SQL: it gives no numbers, and the next caller begins a new one."""
        self.redis.hdel(self.gate_key, "run_id")

    def replace_results(self, revision: int, results: Mapping[str, str], *, mark: int | None = None) -> bool:
        """Make these the only results, and remove the tickets of their users from the line and from standby.

        Call it while the coupon's row is locked, with the revision that the lock has raised and every result that SQL
        knows: in an open epoch, or with the `mark` of one that the caller has begun. Return whether Redis held another
        one that was ours: then SQL has forgotten what it decided. They are written a thousand at a time, so that Redis
        answers others in between. Raises redis.ResponseError when the lock was lost meanwhile, or the epoch has ended.
        """
        stood = {user: result for user, result in self.results() if user not in results}
        changes = [*((raw(user), "") for user in stood), *results.items()]
        for start in range(0, len(changes), WRITE_CHUNK):
            flat = [part for change in changes[start : start + WRITE_CHUNK] for part in change]
            self._run("replace_results", self.place_keys, [revision, "" if mark is None else mark, *flat])
        return any(user.isdecimal() and RESULT.fullmatch(result) for user, result in stood.items())

    def results(self) -> Iterator[tuple[str, str]]:
        """Yield every result by user id, in steps that do not hold Redis up."""
        yield from self.redis.hscan_iter(self.results_key, count=READ_CHUNK)

    def waiting(self) -> Iterator[Waiting]:
        """Yield the tickets in line. A ticket that comes meanwhile may be missing; a malformed one is."""
        return self._tickets(self.line_key)

    def standby(self) -> Iterator[Waiting]:
        return self._tickets(self.standby_key)

    def late(self) -> Iterator[Waiting]:
        """Yield the tickets that were restored after the wait for receipts: higher numbers may have won before."""
        return self._tickets(self.late_key)

    def _tickets(self, key: str) -> Iterator[Waiting]:
        yield from told_apart(self.redis.zscan_iter(key, count=READ_CHUNK))[0]

    def gate(self) -> Gate | None:
        """Return the gate as it stands, open or not; None when it is missing or malformed."""
        try:
            return gate_from(*self._run("read_gate", [self.gate_key, self.line_key, self.standby_key], []))
        except (KeyError, ValueError):
            return None
        except redis.ResponseError as error:
            if type(error) is not redis.ResponseError:
                raise  # a subclass is about Redis (read only, loading, full), not about the gate
            return None

    def arrival(self, number: int) -> int | None:
        """Return when the number was given, in ms since 1970, BUCKET_MS exact; None when Redis does not know it."""
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.hget(self.gate_key, "last")
            pipe.zrevrangebyscore(self.arrivals_key, number, "-inf", start=0, num=1)
            last, buckets = pipe.execute()
        # The last bucket would seem to hold numbers that were not given yet; a mark "unknown:…" is no bucket.
        if not buckets or not buckets[0].isdecimal() or not is_below(number, last or "0"):
            return None
        return int(buckets[0]) * BUCKET_MS

    def arrivals(self) -> list[tuple[int, int]]:
        """Return the first number of each bucket of arrivals, and when the bucket began, in ms since 1970."""
        buckets = self.redis.zscan_iter(self.arrivals_key, count=READ_CHUNK)
        # A mark "unknown:…" is no bucket.
        return [(int(number), int(name) * BUCKET_MS) for name, number in buckets if name.isdecimal()]

    def is_open(self) -> bool:
        """Return whether the epoch is open, in this run of the server."""
        return self.life().opened

    def life(self) -> Life:
        """Return whether the epoch is open in this run of the server, or the mark with which it was begun there."""
        # It changes nothing, and a server that has become a replica refuses it.
        self.redis.hdel(self.gate_key, "")
        gate = self.gate()
        # A gate of an earlier run may have lost its last numbers, so its epoch has ended.
        return Life(gate.opened, gate.mark) if gate else Life(False, None)

    def set_bell(self) -> bool:
        """Set the bell when tickets wait and no bell is set; True tells the caller to enqueue one admission job."""
        return bool(self._run("ring_bell", [self.gate_key, self.line_key, self.bell_key], [BELL_MS]))

    def bell_ms(self) -> int | None:
        """Return in how many ms the bell expires, -1 for never, None when it is not set."""
        ms = int(self.redis.pttl(self.bell_key))
        return None if ms == -2 else ms

    def quiet_bell(self) -> None:
        """Delete the bell. Do so before reading the line: a ticket that comes later then rings again."""
        self.redis.delete(self.bell_key)

    def forget(self) -> None:
        """Delete every key of this line. Only for coupons whose rows are deleted too."""
        self.redis.delete(*self.all_keys)

    def _run(self, name: str, keys: list[str], args: Sequence[Any]) -> Any:
        return self.redis.run_script(name, keys, args)


def _bits_mark(epoch: int, version: str) -> str:
    return f"{epoch}:{version}".ljust(MARK_BYTES)


def to_be_served(connections: Lines, coupons_left: Mapping[int, bool]) -> list[int]:
    """Return the coupons in whose lines somebody waits, or stands in standby while coupons are left.

    It takes one round trip for all of them on one server. Raises redis.RedisError.
    """
    lines = {coupon_id: Line(connections, coupon_id) for coupon_id in coupons_left}
    found = connections.ask_all(
        [
            ("EXISTS", line.line_key, *([line.standby_key] if coupons_left[coupon_id] else []))
            for coupon_id, line in lines.items()
        ]
    )
    return [coupon_id for coupon_id, exists in zip(lines, found, strict=True) if exists]


def holders_of(connections: Lines, coupon_ids: Iterable[int], number: int) -> list[tuple[int, int]]:
    """Return who waits with a number, or stands in standby with it: pairs of a coupon id and a user id.

    It takes one round trip for all of the coupons on one server. Raises redis.RedisError.
    """
    keys = [
        (coupon_id, key)
        for coupon_id in coupon_ids
        for line in [Line(connections, coupon_id)]
        for key in (line.line_key, line.standby_key)
    ]
    replies = connections.ask_all([("ZRANGEBYSCORE", key, number, number) for _, key in keys])
    found = zip((coupon_id for coupon_id, _ in keys), replies, strict=True)
    return [(each, int(member)) for each, members in found for member in members if member.isdecimal()]
