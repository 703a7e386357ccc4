"""Run FirstCome on one machine: `make run`. The parts are those of the Procfile; the stores are embedded, unless named.

Every part runs in its own session, is started again when it dies, and is stopped in order when this process is.
"""

import fcntl
import http.client
import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from deploy.processes import ROOT, TICK_S, kill_group, spawn, stop
from deploy.stores import StoreError, Valkey

SAID_BY_US = "firstcome: "
READY_S = 60
STOP_S = {"web": 15, "sweeper": 10, "worker": 35}
"""How long each part may take to stop, in this order. A worker finishes its job first, which may take 30 s."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 2.0
"""The pause between a death and the next start. Every line has to move within 10 s of a store's recovery."""
STEADY_S = 30
"""A part that lived so long is started again after the first pause, not after a longer one."""


class Refusal(Exception):
    """A reason not to start; the message is one line for people."""


@dataclass
class Part:
    """A process that is kept running; `start` starts it and returns without waiting."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    due_at: float = 0.0
    deaths: int = 0

    def keep_running(self) -> None:
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            self._bury(now)
        if self.process is None and now >= self.due_at:
            self.process, self.started_at = self.start(), now

    def _bury(self, now: float) -> None:
        assert self.process is not None
        # The children of a dead web master would keep the port.
        kill_group(self.process)
        self.deaths = 1 if now - self.started_at > STEADY_S else self.deaths + 1
        pause = min(FIRST_PAUSE_S * 2 ** (self.deaths - 1), LONGEST_PAUSE_S)
        say(f"{self.name} ended ({_ending(self.process.returncode)}); starting it again in {pause:g} s")
        self.process, self.due_at = None, now + pause


@dataclass
class Supervisor:
    """Starts the parts, keeps them running and stops them. SIGINT, SIGTERM and SIGHUP set `stopping`."""

    port: int
    parts: list[Part] = field(default_factory=list)
    stopping: bool = False

    def listen_to_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop_soon)

    def _stop_soon(self, *_: object) -> None:
        self.stopping = True

    def wait_until_ready(self) -> bool:
        """Start the parts and wait for all of them; return False when told to stop. Raises Refusal when one fails."""
        until = time.monotonic() + READY_S
        for part in self.parts if not self.stopping else []:
            part.keep_running()
        while not self.stopping:
            if _is_ready(answer := _readyz(self.port)):
                return True
            for part in self.parts:
                if part.process and part.process.poll() is not None:
                    raise Refusal(f"{part.name} ended ({_ending(part.process.returncode)}) while starting")
            if time.monotonic() > until:
                raise Refusal(f"not ready after {READY_S} s: {answer}")
            time.sleep(TICK_S)
        return False

    def keep_running(self) -> None:
        while not self.stopping:
            for part in self.parts:
                part.keep_running()
            time.sleep(TICK_S)

    def stop(self) -> None:
        for name, wait_s in STOP_S.items():
            for part in self.parts:
                if part.name == name and part.process is not None:
                    stop(part.process, wait_s=wait_s)


def main() -> None:
    os.umask(0o077)
    try:
        with ExitStack() as cleanup:
            run(_port(), _var_dir(), cleanup)
    except (Refusal, StoreError) as refusal:
        say(str(refusal))
        raise SystemExit(1) from None


def run(port: int, var: Path, cleanup: ExitStack) -> None:
    lock = _lock(var)
    _check_port_is_free(port)
    environ = _environment(port, var)
    supervisor = Supervisor(port)
    supervisor.listen_to_signals()
    embedded = not os.environ.get("REDIS_URL")
    if embedded:
        valkey = Valkey(var)
        cleanup.callback(valkey.stop)
        valkey.start(pass_fds=(lock,))
        supervisor.parts.append(Part("valkey", partial(valkey.spawn, pass_fds=(lock,)), valkey.process))
    demo = embedded and not os.environ.get("DATABASE_URL")
    _prepare(environ, *(["--demo"] if demo else []))
    for name, command in procfile().items():
        supervisor.parts.append(Part(name, partial(spawn, command, env=environ, pass_fds=(lock,))))
    cleanup.callback(supervisor.stop)
    if supervisor.wait_until_ready():
        _tell(port, _sign_ins(var) if demo else [])
        supervisor.keep_running()


def procfile() -> dict[str, list[str]]:
    """Return the command of every part, by its name."""
    rows = (row.partition(":") for row in (ROOT / "Procfile").read_text().splitlines())
    return {name: shlex.split(command) for name, _, command in rows if command}


def say(line: str) -> None:
    print(f"{SAID_BY_US}{line}", file=sys.stderr, flush=True)


def _port() -> int:
    text = os.environ.get("PORT") or "8000"
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise Refusal(f"PORT must be a number from 1 to 65535, not {text!r}")
    return int(text)


def _var_dir() -> Path:
    var = Path(os.environ.get("VAR_DIR") or ROOT / "var").resolve()
    try:
        var.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal(f"VAR_DIR {var} cannot be made: {error.strerror}") from error
    return var


def _lock(var: Path) -> int:
    """Lock the directory. Every part inherits the lock, so it is held until the last of them is gone."""
    try:
        lock = os.open(var / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refusal(f"already running on {var}; stop it first, or set VAR_DIR to another") from None
    except OSError as error:
        raise Refusal(f"VAR_DIR {var} cannot be used: {error.strerror}") from None
    return lock


def _check_port_is_free(port: int) -> None:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise Refusal(f"port {port} cannot be used ({error.strerror}); set PORT to another") from None


def _environment(port: int, var: Path) -> Mapping[str, str]:
    # An idle connection of a browser delays a graceful stop up to its timeout, so that is short here.
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    given = {"GUNICORN_CMD_ARGS": "--graceful-timeout=2", "SECRET_KEY": "", **os.environ}
    secret = given["SECRET_KEY"] or _secret_key(var / "secret_key")
    return {**given, "PATH": programs, "PORT": str(port), "VAR_DIR": str(var), "SECRET_KEY": secret}


def _secret_key(path: Path) -> str:
    """Return the key that signs sessions and receipts. It is made once and kept, so that they outlive a restart."""
    path.touch(mode=0o600)
    if not path.read_text().strip():
        path.write_text(secrets.token_hex(32))
    return path.read_text().strip()


def _prepare(environ: Mapping[str, str], *options: str) -> None:
    """Check, migrate and fill the stores. Raises Refusal with the error of the program that failed, in one line."""
    command = [sys.executable, "-m", "deploy.prepare", *options]
    process = spawn(command, env=environ, stderr=subprocess.PIPE)
    said = [line for line in process.communicate()[1].decode(errors="replace").splitlines() if line]
    if process.returncode:
        error = next((line for line in reversed(said) if "Error" in line), said[-1] if said else "")
        raise Refusal(
            error.removeprefix(SAID_BY_US) or f"the stores cannot be prepared ({_ending(process.returncode)})"
        )


def _readyz(port: int) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return {"http": answer.status, **json.loads(answer.read())}
    except (OSError, http.client.HTTPException, ValueError) as error:
        return {"http": type(error).__name__}
    finally:
        connection.close()


def _is_ready(answer: dict[str, Any]) -> bool:
    parts = answer.get("parts", {})
    return answer["http"] == 200 and parts.get("workers", 0) >= 1 and parts.get("sweeper") is True


def _tell(port: int, sign_ins: list[str]) -> None:
    print("\n".join([f"ready http://127.0.0.1:{port}", *sign_ins]), flush=True)


def _sign_ins(var: Path) -> list[str]:
    accounts = json.loads((var / "demo.json").read_text())["accounts"]
    return [f"  sign in: {account['email']}  {account['password']}" for account in accounts]


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


if __name__ == "__main__":
    main()
