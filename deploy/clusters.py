"""Several servers that hold the lines, for tests and benchmarks: a Redis Cluster, and a master that sentinels watch."""

import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import redis
from redis.crc import key_slot

from deploy.processes import wait_until
from deploy.stores import Store, Valkey, valkey_binary

MASTER = "mymaster"
NODE_TIMEOUT_MS = DOWN_AFTER_MS = 1000
FORMED_S = 30
SLOTS = 16384
AT_ONCE = ["--repl-diskless-sync-delay", "0"]
Certificate = tuple[Path, Path]


class Cluster:
    """A Redis Cluster of three masters that share the slots; the first so many of them have a replica each."""

    def __init__(
        self,
        directory: Path,
        *,
        replicas: int = 0,
        program: Path | None = None,
        tls: Certificate | None = None,
    ) -> None:
        self.directory, self.program, self.tls = directory, program, tls
        self.tls_ports: dict[int, int] = {}
        self.masters = [self._node(f"node{number}") for number in range(3)]
        self.replicas = [self._node(f"replica{number}") for number in range(replicas)]

    @property
    def nodes(self) -> list[Valkey]:
        return [*self.masters, *self.replicas]

    @property
    def url(self) -> str:
        return self.url_of(*self.masters)

    def url_of(self, *nodes: Valkey, account: str = "") -> str:
        ports = (self.tls_ports.get(node.port, node.port) for node in nodes)
        named = ",".join(f"{node.host}:{port}" for node, port in zip(nodes, ports, strict=True))
        return address("cluster", f"{account}{named}", self.tls)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            self._form()
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def master_of(self, key: str) -> Valkey:
        """Return the node that takes writes of a key, by the Cluster's own word."""
        slot, alive = key_slot(key.encode()), next(node for node in self.nodes if node.answers())
        for start, end, (_, port, *_), *_ in ask(alive, "CLUSTER", "SLOTS"):
            if start <= slot <= end:
                return next(node for node in self.nodes if port in (node.port, self.tls_ports.get(node.port)))
        raise LookupError(key)

    def move(self, key: str, to: Valkey) -> None:
        """Move the slot of a key to another node, as `redis-cli --cluster reshard` does."""
        for _ in self.moving(key, to):
            pass

    def moving(self, key: str, to: Valkey) -> Iterator[str]:
        """Move a slot, and yield what comes next before each step: "keys", and "owner" when all keys have moved."""
        slot, source = key_slot(key.encode()), self.master_of(key)
        if source is to:
            return
        ask(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", id_of(source))
        ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", id_of(to))
        yield "keys"
        while keys := ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            ask(source, "MIGRATE", to.host, to.port, "", 0, 5000, "KEYS", *keys)
        yield "owner"
        for node in (to, source, *self.nodes):
            try:
                ask(node, "CLUSTER", "SETSLOT", slot, "NODE", id_of(to))
            except redis.ResponseError:
                assert node in self.replicas, "only a replica learns it from its master"

    def knows(self) -> bool:
        """Whether every node that lives says that all is well, and names the same owners."""
        said = [ask(node, "CLUSTER", "SLOTS") for node in self.nodes if node.answers()]
        owners = [sorted((start, end, port) for start, end, (_, port, *_), *_ in slots) for slots in said]
        states = [ask(node, "CLUSTER", "INFO") for node in self.nodes if node.answers()]
        return all(each == owners[0] for each in owners) and all(
            "cluster_state:ok" in said for said in states
        )

    def _node(self, name: str) -> Valkey:
        (self.directory / name).mkdir()
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS), *AT_ONCE]
        options += ["--cluster-port", str(quiet_port())]
        port = quiet_port()
        if self.tls:
            self.tls_ports[port] = quiet_port()
            options += tls_options(self.tls_ports[port], *self.tls)
            options += ["--tls-cluster", "yes", "--tls-replication", "yes"]
        return self._server(name, port, options)

    def _server(self, name: str, port: int, options: list[str]) -> Valkey:
        return Valkey(self.directory / name, port=port, options=options, program=self.program)

    def _form(self) -> None:
        share = -(-SLOTS // len(self.masters))
        first = self.masters[0]
        bus = first.options[first.options.index("--cluster-port") + 1]
        for number, node in enumerate(self.masters):
            ask(node, "CLUSTER", "ADDSLOTSRANGE", number * share, min((number + 1) * share, SLOTS) - 1)
        for number, node in enumerate(self.nodes):
            ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            ask(node, "CLUSTER", "MEET", first.host, first.port, bus)
        assert wait_until(self._is_formed, wait_s=FORMED_S), "the Cluster does not come together"

    def _is_formed(self) -> bool:
        known = all(len(ask(node, "CLUSTER", "NODES").splitlines()) == len(self.nodes) for node in self.nodes)
        if not known or not self.knows():
            return False
        for replica, master in zip(self.replicas, self.masters, strict=False):
            if ask(replica, "ROLE")[0] == "master":
                ask(replica, "CLUSTER", "REPLICATE", id_of(master))
        return self.is_in_step()

    def is_in_step(self) -> bool:
        """Whether every node knows of every replica, and each of these has what its master has."""
        # So many parts has the row of slots whose master has a replica.
        rows = [[row for row in ask(node, "CLUSTER", "SLOTS") if len(row) == 4] for node in self.nodes]
        return all(len(known) == len(self.replicas) for known in rows) and all(
            "master_link_status:up" in ask(node, "INFO", "replication")
            for node in self.nodes
            if ask(node, "ROLE")[0] == "slave"
        )


class Sentinel(Store):
    """A sentinel that watches one master."""

    name = "sentinel"

    def __init__(self, directory: Path, *, master_port: int, options: str, program: Path | None) -> None:
        super().__init__(directory)
        self.port, self.program = quiet_port(), program or valkey_binary()
        (directory / "sentinel.conf").write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {directory}\n{options}"
            f"sentinel monitor {MASTER} 127.0.0.1 {master_port} 2\n"
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {MASTER} 5000\n"
        )

    def command(self) -> list[str]:
        return [str(self.program), str(self.directory / "sentinel.conf"), "--sentinel"]

    def answers(self) -> bool:
        try:
            return bool(ask(self, "PING"))
        except redis.RedisError:
            return False


class Watched:
    """A master, its replica, and three sentinels, two of which have to agree that the master is down."""

    def __init__(
        self, directory: Path, *, program: Path | None = None, tls: Certificate | None = None
    ) -> None:
        self.directory, self.program, self.tls = directory, program, tls
        self.tls_ports: dict[int, int] = {}
        first = self._server("first")
        self.servers = [first, self._server("second", "--replicaof", "127.0.0.1", str(self._port_of(first)))]
        self.sentinels: list[Sentinel] = []

    @property
    def url(self) -> str:
        return self.url_of(*self.sentinels)

    def url_of(self, *sentinels: Sentinel, account: str = "", options: str = "") -> str:
        named = ",".join(f"127.0.0.1:{self._port_of(each)}" for each in sentinels)
        return address("sentinel", f"{account}{named}/{MASTER}/0", self.tls, options)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            for number in range(3):
                self.sentinels.append(stack.enter_context(self._sentinel(f"sentinel{number}")))
            assert wait_until(self.is_formed, wait_s=FORMED_S), "the sentinels do not find each other"
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    @property
    def master(self) -> Valkey:
        """The server that the sentinels name."""
        alive = next(each for each in self.sentinels if each.answers())
        _, port = ask(alive, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
        return next(server for server in self.servers if self._port_of(server) == int(port))

    def is_formed(self) -> bool:
        """Whether every sentinel knows the others and a replica that is in step."""
        for sentinel in self.sentinels:
            said = ask(sentinel, "SENTINEL", "MASTER", MASTER)
            facts = dict(zip(said[::2], said[1::2], strict=True))
            if (facts["num-other-sentinels"], facts["num-slaves"], facts["flags"]) != ("2", "1", "master"):
                return False
        return "state=online" in ask(self.master, "INFO", "replication")

    def _port_of(self, server: Valkey | Sentinel) -> int:
        return self.tls_ports.get(server.port, server.port)

    def _server(self, name: str, *options: str) -> Valkey:
        (self.directory / name).mkdir()
        port, wanted = quiet_port(), [*AT_ONCE, *options]
        if self.tls:
            self.tls_ports[port] = quiet_port()
            wanted += tls_options(self.tls_ports[port], *self.tls)
            wanted += ["--tls-replication", "yes"]
        return Valkey(self.directory / name, port=port, options=wanted, program=self.program)

    def _sentinel(self, name: str) -> Sentinel:
        (self.directory / name).mkdir()
        options, tls_port = "", quiet_port()
        if self.tls:
            words = [*tls_options(tls_port, *self.tls), "--tls-replication", "yes"]
            pairs = zip(words[::2], words[1::2], strict=True)
            options = "".join(f"{option.removeprefix('--')} {value}\n" for option, value in pairs)
        port = self._port_of(self.servers[0])
        made = Sentinel(self.directory / name, master_port=port, options=options, program=self.program)
        if self.tls:
            self.tls_ports[made.port] = tls_port
        return made


def address(kind: str, named: str, tls: Certificate | None, options: str = "") -> str:
    """Return an address for `REDIS_URL`; `options` are more of those that TLS has."""
    return f"rediss+{kind}://{named}?ssl_ca_certs={tls[0]}{options}" if tls else f"redis+{kind}://{named}"


def tls_options(port: int, cert: Path, key: Path) -> list[str]:
    files = ["--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file", str(cert)]
    return ["--tls-port", str(port), *files, "--tls-auth-clients", "no"]


def ask(server: Valkey | Sentinel, *words: Any) -> Any:
    """Send one command to one server, over a connection of its own, and return the reply as it is."""
    with redis.Redis(
        host=server.host, port=server.port, decode_responses=True, protocol=2, socket_timeout=10
    ) as client:
        client.response_callbacks.clear()
        return client.execute_command(*words)


def quiet_port() -> int:
    """Return a port on which no process listens now, of those that no connection is given meanwhile by the system."""
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def id_of(node: Valkey) -> str:
    return str(ask(node, "CLUSTER", "MYID"))
