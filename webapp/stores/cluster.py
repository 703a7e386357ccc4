"""A Redis Cluster: which node has which slot, and one of our clients for each node.

The slot of a key is that of the text in its braces, so all keys of a line are on one node, and a line is asked as if
there were one server. A slot may move, and a node may be lost: then the caller is led to the node that has the slot
now, if one is known soon enough. The run id of a gate names the server that opened its epoch, so a slot on another node
is a new epoch, and nothing here has to know of that.
"""

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import redis
from hiredis import pack_command
from redis.client import Pipeline
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError

from webapp.stores.addresses import Address, Server, read_address
from webapp.stores.pool import TCPConnection, TLSConnection
from webapp.stores.script_redis import Lines, ScriptRedis, connect_redis, connect_server

FOLLOWED_S = 0.5
"""For how long a caller begins another try. The last one takes 1.6 s at most, by LIMITS: 2.1 s in all, as long as one
server takes that does not answer."""
LIMITS = {"timeout": 0.2, "socket_timeout": 0.6, "socket_connect_timeout": 0.2}
READ_EACH_S, PAUSE_S = 0.1, 0.05
"""How often the slots are read while callers wait for another node, and how often each of them looks."""
AWAY_S = 1.0
"""For how long nobody waits for a node that somebody has waited for in vain."""
REDIRECTED = (AskError, TryAgainError, ClusterDownError)
LOST = (redis.ConnectionError, redis.TimeoutError)
MOST_NAMES = 100_000

Found = TypeVar("Found")


def connect_lines(url: str, **options: Any) -> Lines:
    """Connect to what an address names, a Cluster too. Nothing is sent before the first use. Raises ValueError."""
    address = read_address(url)
    return Cluster(address, **options) if address.kind == "cluster" else connect_redis(url, **options)


class Cluster:
    """The nodes of a Cluster that take writes. The slots are read at the first use."""

    def __init__(self, address: Address, **options: Any) -> None:
        self.address, self.options = address, LIMITS | options
        self.nodes: dict[tuple[Server, bool], ScriptRedis] = {}
        self.seeds = [self.node(*server) for server in address.servers]
        self.slots: list[ScriptRedis | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self.clients: dict[int, SlotRedis] = {}
        self.turn = threading.Lock()
        self.read_at, self.rounds = 0.0, itertools.count()
        self.away_until: dict[ScriptRedis, float] = {}

    def node(self, host: str, port: int, *, asking: bool = False) -> ScriptRedis:
        """Return the client for a node; `asking` is for a slot that is on its way to it."""
        if ((host, port), asking) not in self.nodes:
            named = {**self.address.options, "host": host, "port": port}
            node = connect_server(Address("cluster", named), **self.options)
            if asking:
                node.connection_pool.connection_class = ASKING[node.connection_pool.connection_class]
            self.nodes[(host, port), asking] = node
        return self.nodes[(host, port), asking]

    # What a line asks: see webapp.stores.script_redis.Lines

    def is_apart(self, error: Exception) -> bool:
        return isinstance(error, (*LOST, TryAgainError, ClusterDownError))

    def of(self, key: str) -> "ScriptRedis":
        slot = key_slot(key.encode())
        if slot not in self.clients:
            self.clients[slot] = SlotRedis(self, slot)
        return self.clients[slot]

    def each(self) -> list[ScriptRedis]:
        with self.turn:
            self._read_slots()
        if None in self.slots:
            raise ClusterDownError("some slots have no node")
        return list(dict.fromkeys(node for node in self.slots if node is not None))

    def keys_everywhere(self, name: str) -> list[str]:
        left, keys = set(self.each()), []
        for number in range(MOST_NAMES):
            if not left:
                break
            node = self.slots[key_slot((key := f"{name}:{number}").encode())]
            if node in left:
                left.remove(node)
                keys.append(key)
        return keys

    def ask_all(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        places: dict[ScriptRedis | None, list[int]] = defaultdict(list)
        for place, command in enumerate(commands):
            places[self.slots[key_slot(command[1].encode())]].append(place)
        replies: dict[int, Any] = {}
        for node, asked in places.items():
            replies.update(zip(asked, _replies(node, [commands[place] for place in asked]), strict=True))
        # What a node did not answer is asked by itself, and follows its slot.
        for place, reply in replies.items():
            if isinstance(reply, redis.RedisError):
                client: Any = self.of(commands[place][1])
                replies[place] = client.execute_command(*commands[place])
        return [replies[place] for place in range(len(commands))]

    # Following a slot

    def follow(self, slot: int, ask: Callable[[ScriptRedis], Found]) -> Found:
        """Ask the node that has the slot, and be led to the one that has it by then. Raises redis.RedisError."""
        until, node = time.monotonic() + FOLLOWED_S, self.slots[slot]
        if node is None:
            node = self._successor(slot, None, until)
        elif time.monotonic() < self.away_until.get(node, 0.0):
            until = time.monotonic() + PAUSE_S
        for tries in itertools.count():
            try:
                if node is None:
                    raise ClusterDownError("no node that answers has this slot")
                return ask(node)
            except (*REDIRECTED, *LOST) as error:
                if time.monotonic() > until:
                    raise
                # Two nodes that name each other are asked ever more slowly.
                time.sleep(min(tries * PAUSE_S / 5, PAUSE_S))
                if (found := self._next(slot, node, error, until)) is None:
                    raise
                node = found
        raise AssertionError  # the loop has no end

    def _next(
        self, slot: int, node: ScriptRedis | None, error: redis.RedisError, until: float
    ) -> ScriptRedis | None:
        """Return the client to ask after an error, None when nobody knows one in time."""
        if node is not None and isinstance(error, AskError):
            found = self.node(_named(error.host, node), error.port, asking=type(error) is AskError)
            if isinstance(error, MovedError):
                self.slots[slot] = found
            return found
        if isinstance(error, TryAgainError | ClusterDownError):
            time.sleep(PAUSE_S)
            return self._successor(slot, None, until, anew=isinstance(error, ClusterDownError))
        return self._successor(slot, node, until)

    def _successor(
        self, slot: int, lost: ScriptRedis | None, until: float, *, anew: bool = False
    ) -> ScriptRedis | None:
        """Wait until another node than the lost one has the slot; return None when the time is up.

        The slots are read where no such node is known, and always for `anew`, once in READ_EACH_S by all callers.
        """
        while True:
            with self.turn:
                unknown = anew or self.slots[slot] in (None, lost)
                if unknown and time.monotonic() > self.read_at + READ_EACH_S:
                    self._read_slots(lost)
            if self.slots[slot] not in (None, lost):
                return self.slots[slot]
            if time.monotonic() > until:
                if lost is not None:
                    self.away_until[lost] = time.monotonic() + AWAY_S
                return None
            time.sleep(PAUSE_S)

    def _read_slots(self, lost: ScriptRedis | None = None) -> None:
        """Read the slots from a node that answers, another one each time; the lost one is asked last.

        Raises redis.RedisError. The caller has the turn.
        """
        self.read_at = time.monotonic()
        known = list(dict.fromkeys([*(node for node in self.slots if node is not None), *self.seeds]))
        first = next(self.rounds) % len(known)
        for node in sorted(known[first:] + known[:first], key=lambda each: each is lost):
            try:
                ranges: Any = node.cluster("SLOTS")
                break
            except LOST as error:
                why = error
        else:
            raise why
        slots: list[ScriptRedis | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for start, end, (host, port, *_), *_replicas in ranges:
            master = self.node(_named(host, node), int(port))
            slots[start : end + 1] = [master] * (end + 1 - start)
        self.slots = slots


class SlotRedis(ScriptRedis):
    """The client for the keys of one slot, wherever that is."""

    def __init__(self, cluster: Cluster, slot: int) -> None:
        super().__init__(connection_pool=cluster.seeds[0].connection_pool)
        self.follow = partial(cluster.follow, slot)

    def run_script(self, *args: Any, **options: Any) -> Any:
        return self.follow(lambda node: node.run_script(*args, **options))

    def execute_command(self, *args: Any, **options: Any) -> Any:
        return self.follow(lambda node: _execute(node, *args, **options))

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> "SlotPipeline":
        pipe = SlotPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipe.follow, pipe.whole = self.follow, transaction
        return pipe


class SlotPipeline(Pipeline):
    """Commands of one slot that travel together; what changes has to bear a repeat, as our scripts do."""

    follow: Callable[[Callable[[ScriptRedis], list[Any]]], list[Any]]
    whole: bool

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        stack = list(self.command_stack)

        def ask(node: ScriptRedis) -> list[Any]:
            if node.connection_pool.connection_class in ASKING.values() and not self.whole:
                return [_execute(node, *args, **options) for args, options in stack]
            with node.pipeline(self.whole) as pipe:
                pipe.command_stack = stack.copy()
                return pipe.execute(raise_on_error)

        try:
            return self.follow(ask) if stack else []
        finally:
            self.reset()


class _Asking:
    """What a connection does that asks for a slot that is on its way: it says ASKING before whatever it sends."""

    owes = False

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        packed = [command] if isinstance(command, str | bytes) else list(command)
        super().send_packed_command([pack_command(("ASKING",)), *packed], check_health)  # type: ignore[misc]
        self.owes = True

    def read_response(self, *args: Any, **options: Any) -> Any:
        if self.owes:
            self.owes = False
            # The reply to ASKING; before AUTH it is an error.
            with suppress(redis.ResponseError):
                super().read_response()  # type: ignore[misc]
        return super().read_response(*args, **options)  # type: ignore[misc]


class _AskingTCP(_Asking, TCPConnection):
    pass


class _AskingTLS(_Asking, TLSConnection):
    pass


ASKING: dict[type, type] = {TCPConnection: _AskingTCP, TLSConnection: _AskingTLS}


def _replies(node: ScriptRedis | None, commands: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the replies of a node, errors among them; if it does not answer, or is not known, all are that error."""
    try:
        if node is None:
            raise redis.ConnectionError("no node is known")
        return node.ask_all(commands, raise_on_error=False)
    except LOST as error:
        return [error] * len(commands)


def _execute(node: Any, *args: Any, **options: Any) -> Any:
    return node.execute_command(*args, **options)


def _named(host: str | None, by: ScriptRedis) -> str:
    """Return a host as a node has named it; where it knows no name, the host is the one that it was asked at."""
    return host if host not in (None, "", "?") else str(by.connection_pool.connection_kwargs["host"])
