"""One pool for scripts and commands, which leaves a server that has become a replica."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from deploy.processes import free_port, wait_until
from deploy.stores import Valkey
from tests.faults.proxy import Proxy
from tests.redises import REDISES, program
from webapp.sale.condition import PROBE_KEY, PROBE_MS, REDIS_SAYS, in_words
from webapp.stores.malformed import is_malformed
from webapp.stores.pool import Demoted
from webapp.stores.script_redis import ScriptRedis, connect_redis

OPENED = 5
SERVED_S = 20


class Pair:
    """Two servers, and a client whose connections lead to the first until they are made anew after a switch."""

    def __init__(self, first: Valkey, second: Valkey, link: Proxy) -> None:
        self.old, self.new = redis.Redis.from_url(first.url), redis.Redis.from_url(second.url)
        self.port, self.link = second.port, link
        self.client: ScriptRedis = connect_redis(f"redis://127.0.0.1:{link.port}/0", decode_responses=True)

    def open(self, beside: int = 0) -> None:
        """Have the client keep OPENED connections to the first server, beside those in use."""
        self.client.connection_pool.open(OPENED)
        assert wait_until(lambda: self.kept() == OPENED + beside, wait_s=SERVED_S)

    def switch(self) -> None:
        """Make the second the master, as a planned failover does; every connection to the first stays open."""
        self.link.target_port = self.port
        self.old.execute_command("REPLICAOF", "127.0.0.1", str(self.port))

    def kept(self) -> int:
        """Return how many connections of the client lead to the first server."""
        own = self.old.client_id()
        return len([each for each in self.old.client_list(_type="normal") if int(each["id"]) != own])


@pytest.fixture(scope="module", params=REDISES)
def servers(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[list[Valkey]]:
    """Two servers of each kind."""
    kind = program(request.param)
    with ExitStack() as stack:
        yield [
            stack.enter_context(Valkey(tmp_path_factory.mktemp("redis"), port=free_port(), program=kind))
            for _ in range(2)
        ]


@pytest.fixture
def pair(servers: list[Valkey]) -> Iterator[Pair]:
    with ExitStack() as stack:
        link = Proxy(servers[0].port)
        link.start()
        stack.callback(link.stop)
        built = Pair(*servers, link)
        for client in (built.client, built.old, built.new):
            stack.callback(client.connection_pool.disconnect)
        for server in (built.old, built.new):
            server.replicaof("NO", "ONE")
            server.config_set("replica-serve-stale-data", "yes")
            server.flushall()
        yield built


def probe(client: ScriptRedis) -> Any:
    return client.run_script("probe", [PROBE_KEY], [PROBE_MS])


def in_a_pipeline(client: ScriptRedis, *, transaction: bool = False) -> Any:
    with client.pipeline(transaction=transaction) as pipe:
        pipe.get(PROBE_KEY)
        pipe.set(PROBE_KEY, "1")
        return pipe.execute()


WRITES: dict[str, Callable[[ScriptRedis], Any]] = {
    "script": probe,
    "command": lambda client: client.set(PROBE_KEY, "1"),
    "pipeline": in_a_pipeline,
    "transaction": lambda client: in_a_pipeline(client, transaction=True),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_leaves_a_replica_at_once_and_takes_every_connection_along(pair, write):
    pair.open()
    pair.switch()
    write(pair.client)
    assert pair.new.exists(PROBE_KEY)
    assert wait_until(lambda: pair.kept() == 0, wait_s=SERVED_S)


def test_reads_after_one_write_come_from_the_new_master(pair):
    def asked() -> str:
        return str(pair.client.info("server")["run_id"])

    pair.open()
    pair.switch()
    assert asked() == pair.old.info("server")["run_id"]  # the control: a replica answers reads
    probe(pair.client)
    assert {asked() for _ in range(OPENED)} == {pair.new.info("server")["run_id"]}


def test_a_connection_that_was_in_use_is_dropped_when_it_is_given_back(pair):
    pool = pair.client.connection_pool
    held = pool.take()
    held.connect()
    pair.open(beside=1)
    pair.switch()
    probe(pair.client)
    assert wait_until(lambda: pair.kept() == 1, wait_s=SERVED_S)
    pool.give_back(held)
    assert wait_until(lambda: pair.kept() == 0, wait_s=SERVED_S)


def test_connections_to_the_new_master_stay(pair):
    pool = pair.client.connection_pool
    late = pool.take()
    late.connect()
    pair.open(beside=1)
    pair.switch()
    probe(pair.client)
    pool.drop(late)
    assert pool.generation == 1
    pool.give_back(late)


def test_whoever_waits_for_an_entry_is_told_of_the_switch(pair):
    """A worker waits so for its next job."""
    taken: list[Any] = []
    pair.client.connection_pool.connection_kwargs["socket_timeout"] = 40
    waiting = threading.Thread(target=lambda: taken.append(pair.client.blmove("from", "to", 30)))
    waiting.start()
    assert wait_until(lambda: pair.old.info("clients")["blocked_clients"] == 1, wait_s=SERVED_S)
    pair.switch()
    pair.new.lpush("from", "job")
    waiting.join(SERVED_S)
    assert taken == ["job"]


def test_a_replica_that_stays_one_is_an_error_that_names_it(pair):
    pair.old.execute_command("REPLICAOF", "127.0.0.1", str(pair.port))
    for write in WRITES.values():
        with pytest.raises(Demoted) as raised:
            write(pair.client)
        assert in_words(raised.value, REDIS_SAYS) == "read only"
    pair.old.execute_command("REPLICAOF", "127.0.0.1", "1")
    pair.old.config_set("replica-serve-stale-data", "no")
    with pytest.raises(Demoted) as raised:
        pair.client.get("who")
    assert in_words(raised.value, REDIS_SAYS) == "its master is away"


def test_a_reply_that_was_not_read_is_no_reply_to_the_next_script(valkey):
    client = connect_redis(valkey.url, decode_responses=True)
    connection = client.connection_pool.take()
    connection.connect()
    read, connection.read_response = connection.read_response, _interrupted
    client.connection_pool.give_back(connection)
    with pytest.raises(KeyboardInterrupt):
        client.run_script("ring_bell", ["{x}:gate", "{x}:line", "{x}:bell"], [1000])
    connection.read_response = read
    now_ms, back_ms = probe(client)
    assert now_ms > back_ms
    client.connection_pool.disconnect()


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


IN_62 = "Error running script (call to f_0): @user_script:1: "
SAID = {
    "WRONGTYPE Operation against a key holding the wrong kind of value script: on @user_script:1.": True,
    IN_62 + "WRONGTYPE Operation against a key holding the wrong kind of value": True,
    IN_62 + "user_script:1: attempt to compare nil with number": True,
    IN_62 + "ERR value is not an integer or out of range": True,
    "value is not an integer or out of range script: on @user_script:1.": True,
    "Command # 1 (LPUSH x a: OOM b) of pipeline caused error: WRONGTYPE Operation against": True,
    IN_62 + "@user_script: 1: -READONLY You can't write against a read only replica.": False,
    "@user_script: 1: -READONLY You can't write against a read only replica.": False,
    IN_62 + "@user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.": False,
    IN_62 + "@user_script: 1: -NOREPLICAS Not enough good replicas to write.": False,
    IN_62 + "@user_script: 1: The user executing the script can't run this command or subcommand": False,
    "ACL failure in script: User x has no permissions to run the 'set' command script: on @user_script:1.": False,
    "The user executing the script can't run this command or subcommand script: 0, on @user_script:1.": False,
    "MISCONF Errors writing to the AOF file: No space left on device": False,
    "NOREPLICAS Not enough good replicas to write. script: on @user_script:1.": False,
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)": False,
}
"""What servers of 6.2, 7 and Valkey 9 have said, and whether it is about the data."""


@pytest.mark.parametrize(("said", "about_data"), SAID.items())
def test_what_a_server_says_of_itself_is_not_taken_for_malformed_data(said, about_data):
    assert is_malformed(redis.ResponseError(said)) == about_data
