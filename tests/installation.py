"""A running system, as a newcomer has it after `make run`."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

from flask import Flask

from deploy.processes import free_port, spawn, stop, wait_until
from webapp import create_app
from webapp.stores.sql import db

READY_S = 90
STOP_S = 90


class Installation:
    """`python -m deploy.local` on a port and a directory of its own, with nothing else in its environment.

    `.app` is an app of this process on the same stores, to look into them and to build what a test starts from.
    With `count_requests` gunicorn writes an access log, and `requests` counts in it.
    """

    def __init__(
        self,
        *,
        database_url: str | None = None,
        directory: Path | None = None,
        count_requests: bool = False,
        **environ: str,
    ) -> None:
        self.directory = directory or Path(tempfile.mkdtemp(prefix="fc-"))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "PORT": str(self.port),
            "VAR_DIR": str(self.directory),
            **({"DATABASE_URL": database_url} if database_url else {}),
            **environ,
        }
        if count_requests:
            self.env["GUNICORN_CMD_ARGS"] = f"--graceful-timeout=2 --access-logfile={self.access_log}"
        self.process: subprocess.Popen[bytes] | None = None
        self._app: Flask | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def start(self) -> None:
        """Start it and return when it says that it is ready."""
        process = self.launch()
        wait_until(lambda: "ready " in self.stdout or process.poll() is not None, wait_s=READY_S)
        assert "ready " in self.stdout, self.stderr

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it without waiting; `stdout` and `stderr` tell what it has said so far."""
        with (self.directory / "stdout").open("wb") as out, (self.directory / "stderr").open("wb") as err:
            self.process = spawn([sys.executable, "-m", "deploy.local"], env=self.env, stdout=out, stderr=err)
        return self.process

    def discard(self) -> None:
        """Stop it and leave nothing of it."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def stop(self) -> None:
        if self._app is not None:
            with self._app.app_context():
                db.engine.dispose()
            self._app.extensions["ended_sessions"].stop()
            for name in ("line", "bells"):
                self._app.extensions[name].connection_pool.disconnect()
            self._app = None
        if self.process is not None:
            stop(self.process, wait_s=STOP_S)

    @property
    def access_log(self) -> Path:
        return self.directory / "access.log"

    def requests(self, method: str, path: str) -> int:
        """Return how many of these the server has answered."""
        return self.access_log.read_text().count(f'"{method} {path} HTTP')

    @property
    def stdout(self) -> str:
        return (self.directory / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self.directory / "stderr").read_text()

    @property
    def app(self) -> Flask:
        if self._app is None:
            redis_url = self.env.get("REDIS_URL") or f"unix://{self.directory}/valkey.sock"
            self._app = create_app(
                {
                    "VAR_DIR": self.directory,
                    "SECRET_KEY": (self.directory / "secret_key").read_text(),
                    "SQLALCHEMY_DATABASE_URI": self.env.get("DATABASE_URL")
                    or f"sqlite:///{self.directory}/firstcome.db",
                    "REDIS_URL": redis_url,
                    "QUEUE_REDIS_URL": self.env.get("QUEUE_REDIS_URL") or redis_url,
                }
            )
        return self._app
