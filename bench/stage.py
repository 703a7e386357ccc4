"""The stores and servers of a benchmark: private, on free ports of 127.0.0.1, gone at its end."""

import http.client
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import flask_migrate
from sqlalchemy import insert, select

from deploy.processes import ROOT, free_port, spawn, stop, wait_until
from deploy.stores import MariaDB, Store, Valkey
from webapp import create_app
from webapp.accounts.passwords import UNUSABLE
from webapp.models import User, utcnow
from webapp.sale.coupons import create_coupon
from webapp.stores.sql import db

SECRET_KEY = "098151ced5582d1cb3291d672742afd39e8309947945854800a5e0e49ae5a509"
START_S = 30
CHUNK = 1000


class Stage:
    """A Valkey, a database (MariaDB where it is installed, else SQLite) and an app of this process on both."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.valkey = Valkey(directory, port=free_port())
        self.mariadb = MariaDB(directory) if MariaDB.installed() else None
        self.stores: list[Store] = [self.valkey, *([self.mariadb] if self.mariadb else [])]

    def start(self) -> None:
        for store in self.stores:
            store.start()
        sqlite = f"sqlite:///{self.directory}/firstcome.db"
        self.database_url = self.mariadb.database("bench") if self.mariadb else sqlite
        self.app = create_app(
            {
                "SECRET_KEY": SECRET_KEY,
                "SQLALCHEMY_DATABASE_URI": self.database_url,
                "REDIS_URL": self.valkey.url,
                "QUEUE_REDIS_URL": self.valkey.url,
            }
        )
        with self.app.app_context():
            flask_migrate.upgrade()

    def stop(self) -> None:
        for store in reversed(self.stores):
            store.stop()

    @property
    def database(self) -> str:
        return "MariaDB" if self.mariadb else "SQLite"

    @contextmanager
    def server(
        self,
        application: str,
        *,
        workers: int,
        options: tuple[str, ...] = (),
        environ: Mapping[str, str] = {},
    ) -> Iterator[int]:
        """Run gunicorn with our settings on a WSGI callable such as `wsgi:app`, and yield its port."""
        port = free_port()
        gunicorn = Path(sys.executable).with_name("gunicorn")
        command: list[str | Path] = [gunicorn, *options, "--graceful-timeout=1", application]
        with self.process(command, PORT=str(port), WEB_CONCURRENCY=str(workers), **environ):
            if not wait_until(lambda: _answers(port), wait_s=START_S):
                raise RuntimeError(
                    f"{application} does not answer; its last words are in {self.directory}/log"
                )
            yield port

    @contextmanager
    def process(self, command: list[str | Path], **environ: str) -> Iterator[None]:
        """Run one of our processes on the stores of this stage."""
        environ = {
            "PATH": os.environ["PATH"],
            "SECRET_KEY": SECRET_KEY,
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.valkey.url,
        } | environ
        with (self.directory / "log").open("ab") as log:
            process = spawn(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
        try:
            yield
        finally:
            stop(process, wait_s=10)

    def users(self, count: int) -> list[int]:
        """Add accounts until there are that many, and return the ids of the first `count`."""
        with db.engine.begin() as connection:
            known = list(connection.scalars(select(User.id).order_by(User.id)))
            rows = [
                {"email": f"bench{number}@example.com", "name": "bench", "password_hash": UNUSABLE}
                for number in range(len(known), count)
            ]
            for start in range(0, len(rows), CHUNK):
                connection.execute(insert(User), rows[start : start + CHUNK])
            return list(connection.scalars(select(User.id).order_by(User.id).limit(count)))

    def coupon(self, quota: int | None = None, *, opens_in_s: float = -60) -> int:
        now = utcnow()
        start, end = now + timedelta(seconds=opens_in_s), now + timedelta(days=1)
        return create_coupon(title="Benchmark", total_quantity=quota, issue_start_at=start, issue_end_at=end)


@contextmanager
def stage() -> Iterator[Stage]:
    directory = Path(tempfile.mkdtemp(prefix="fc-bench-"))
    built = Stage(directory)
    try:
        built.start()
        with built.app.app_context():
            yield built
    finally:
        built.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _answers(port: int) -> bool:
    """Say whether a worker answers at all, with any status: a reference has no page of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
