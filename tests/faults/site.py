"""A private installation in the shape of production, each of whose parts can be killed, stopped and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import flask_migrate
import redis
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from deploy.clusters import Cluster, Watched
from deploy.processes import ROOT, TICK_S, free_port, kill_group, spawn, stop
from deploy.stores import MariaDB, Valkey
from jobs.rehearsal.load import Answer, send_all
from tests.conftest import close, queue_url_for, settings
from tests.faults.proxy import Proxy
from webapp import create_app
from webapp.stores.queue import SWEEPER_ALIVE_KEY
from webapp.stores.script_redis import connect_redis, line_redis

READY_S = 30
PAUSE_S = 0.3
"""Between the death of a part that is kept running and its next start."""


class Part:
    """One of our processes. `kept` parts are started again when they die, as systemd would."""

    def __init__(self, site: "Running", name: str, command: Sequence[str | Path], **environ: str) -> None:
        self.site, self.name, self.command, self.environ = site, name, command, environ
        self.process: subprocess.Popen[bytes] | None = None
        self.kept = True
        self.died_at: float | None = None

    def start(self, **environ: str) -> None:
        with (self.site.directory / f"{self.name}.log").open("ab") as log:
            own = self.site.environ | self.environ | environ
            self.process = spawn(self.command, cwd=ROOT, env=own, stdout=log, stderr=log)
        self.kept, self.died_at = True, None

    def kill(self) -> None:
        """Send SIGKILL to the one process: what it started stays, as after a crash."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()
        self.site.kills += 1

    def signal(self, number: int) -> None:
        """Signal the process, unless it is dead already."""
        assert self.process is not None
        if self.process.poll() is None:
            os.kill(self.process.pid, number)

    def stop(self) -> None:
        self.kept = False
        if self.process is not None:
            stop(self.process, wait_s=15)

    def discard(self) -> None:
        self.kept = False
        if self.process is not None:
            kill_group(self.process)
            self.process.wait()

    def keep(self) -> None:
        if not self.kept or self.process is None or self.process.poll() is None:
            return
        now = time.monotonic()
        if self.died_at is None:
            self.died_at = now
            self.site.deaths += 1
        elif now - self.died_at > PAUSE_S:
            self.start()


class Running:
    """Our processes in `parts`, in the directory of their logs, with `app` to look into their stores."""

    directory: Path
    address: tuple[str, int]
    app: Flask
    environ: dict[str, str]
    kills = deaths = 0

    @property
    def parts(self) -> list[Part]:
        raise NotImplementedError

    def wait(self, condition: Callable[[], Any], *, within_s: float) -> bool:
        """Keep the parts running until the condition holds; return whether it did in time.

        A store that does not answer just now counts as "not yet".
        """
        until = time.monotonic() + within_s
        while not _holds(condition):
            if time.monotonic() > until:
                return False
            for part in self.parts:
                part.keep()
            time.sleep(TICK_S)
        return True

    def said(self) -> str:
        """Return the last words of every part, for a failure's message."""
        return "\n".join(
            f"{log.name}: {log.read_text(errors='replace')[-1000:]}" for log in self.directory.glob("*.log")
        )


class Site(Running):
    """Valkey, SQL, gunicorn, workers and a sweeper. `tamper` names what is wrong with each kind of process."""

    def __init__(
        self,
        directory: Path,
        mariadb: MariaDB,
        *,
        workers: int = 1,
        sweeper: bool = True,
        tamper: dict[str, str] | None = None,
        valkey_options: Sequence[str] = (),
        program: Path | None = None,
        redis_url: str | None = None,
        proxied: bool = False,
        embedded: bool = False,
        web_processes: int = 2,
        lines: Cluster | Watched | None = None,
    ) -> None:
        """`proxied` puts a proxy before each of the stores, through which our processes, and not the test, reach it.

        `embedded` has SQLite in place of MariaDB; `program` is another server than Valkey, and
        `redis_url` another address of it. `lines` are other servers for the lines, and where they are no Cluster
        for the queue too.
        """
        self.lines = lines
        self.embedded, self.web_processes, self.redis_url = embedded, web_processes, redis_url
        self.directory, self.mariadb = directory, mariadb
        self.valkey = Valkey(directory, port=free_port(), options=valkey_options, program=program)
        self.port = free_port()
        self.address = ("127.0.0.1", self.port)
        self.database = f"site{free_port()}"
        wrong = tamper or {}
        self.redis_proxy = Proxy(self.valkey.port) if proxied else None
        self.sql_proxy = Proxy(mariadb.port) if proxied else None
        self.web = Part(self, "web", self._gunicorn(bool(wrong.get("web"))), TAMPER=wrong.get("web", ""))
        python = [sys.executable, "-m", "tests.faults.tampered"]
        self.workers = [
            Part(self, f"worker{number}", [*python, "jobs.worker"], TAMPER=wrong.get("worker", ""))
            for number in range(workers)
        ]
        self.sweeper = Part(self, "sweeper", [*python, "jobs.sweeper"], TAMPER=wrong.get("sweeper", ""))
        self.sweepers = [self.sweeper] if sweeper else []

    @property
    def parts(self) -> list[Part]:
        return [self.web, *self.workers, *self.sweepers]

    def sweep(self) -> None:
        """Start the sweeper where none runs yet."""
        if not self.sweepers:
            self.sweepers = [self.sweeper]
            self.sweeper.start()

    @property
    def proxies(self) -> list[Proxy]:
        return [proxy for proxy in (self.redis_proxy, self.sql_proxy) if proxy is not None]

    def _gunicorn(self, tampered: bool) -> list[str | Path]:
        app = "tests.faults.web:app" if tampered else "wsgi:app"
        return [Path(sys.executable).with_name("gunicorn"), "--graceful-timeout=3", app]

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        self.valkey.start()
        for proxy in self.proxies:
            proxy.start()
        url = self._database_url()
        address = f"127.0.0.1:{self.mariadb.port}/"
        self.environ = {
            "PATH": os.environ["PATH"],
            "SECRET_KEY": settings("", "")["SECRET_KEY"],
            "DATABASE_URL": url.replace(address, f"127.0.0.1:{(self.sql_proxy or self.mariadb).port}/"),
            **self._redis_urls(),
            "PORT": str(self.port),
            "WEB_CONCURRENCY": str(self.web_processes),
            "SQL_PID_FILE": str(self.mariadb.directory / "mariadb.pid"),
            "ALLOW_REDIS_WITHOUT_AOF": str("no" in self.valkey.options),
            "TAMPER_ONCE": str(self.directory / "tampered"),
        }
        lines_url = self.lines.url if self.lines else self.valkey.url
        self.app = create_app(settings(url, lines_url, queue_url_for(lines_url, self.valkey)))
        self.context = self.app.app_context()
        self.context.push()
        flask_migrate.upgrade()
        for part in self.parts:
            part.start()
        assert self.wait(self.is_ready, within_s=READY_S), self.said()

    def _redis_urls(self) -> dict[str, str]:
        if self.lines is not None:
            url = self.lines.url
            return {"REDIS_URL": url, "QUEUE_REDIS_URL": queue_url_for(url, self.valkey)}
        own = f"redis://127.0.0.1:{(self.redis_proxy or self.valkey).port}/0"
        return {"REDIS_URL": self.redis_url or own}

    def _database_url(self) -> str:
        if self.embedded:
            return f"sqlite:///{self.directory}/firstcome.db"
        return self.mariadb.database(self.database)

    def __exit__(self, *_: object) -> None:
        for part in self.parts:
            part.discard()
        if hasattr(self, "context"):
            close(self.app)
            self.context.pop()
        self.valkey.stop()
        for proxy in self.proxies:
            proxy.stop()

    def fail_over(self, replica: Valkey) -> None:
        """Kill Redis and have a replica take its place, for our processes and for the test. Needs `proxied`."""
        assert self.redis_proxy is not None
        self.valkey.kill()
        self.kills += 1
        self.follow(replica)
        self.redis_proxy.cut()
        line_redis().replicaof("NO", "ONE")

    def follow(self, master: Valkey) -> None:
        """Have new connections lead to another server; those of our processes to the old one stay open."""
        assert self.redis_proxy is not None
        self.valkey = master
        self.redis_proxy.target_port = master.port
        for name, options in (("line", {"decode_responses": True}), ("bells", {})):
            self.app.extensions[name].connection_pool.disconnect()
            self.app.extensions[name] = connect_redis(master.url, **options)

    def is_ready(self) -> bool:
        """Whether every part that there should be answers."""
        (answer,) = self.ask(["/readyz"], within_s=2)
        if answer is None or answer.status != 200:
            return False
        sweeping = not self.sweepers or bool(line_redis().of(SWEEPER_ALIVE_KEY).exists(SWEEPER_ALIVE_KEY))
        # A worker that was killed is counted until its time to live is over.
        return json.loads(answer.body)["parts"]["workers"] >= len(self.workers) and sweeping

    def ask(self, paths: Sequence[str], *, within_s: float = 5.0) -> list[Answer | None]:
        requests = [f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() for path in paths]
        return send_all(self.address, requests, within_s=within_s)


def _holds(condition: Callable[[], Any]) -> bool:
    try:
        return bool(condition())
    except (redis.RedisError, SQLAlchemyError):
        return False
