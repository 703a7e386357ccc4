"""Start and stop processes, so that none is left behind."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TICK_S = 0.05
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def spawn(command: Sequence[str | Path], **options: Any) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, so that a Ctrl-C in the terminal reaches this process alone.

    On Linux the kernel sends SIGTERM to the command when this process dies in any way. Call this from the main thread,
    because the kernel watches the calling thread.
    """
    parent = os.getpid()
    options.setdefault("cwd", ROOT)
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen(
        [str(word) for word in command],
        start_new_session=True,
        preexec_fn=lambda: _die_with(parent),
        **options,
    )


def stop(process: subprocess.Popen[bytes], *, wait_s: float) -> None:
    """Send SIGTERM to the process alone and wait; after `wait_s` send SIGKILL to it and to its children."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            kill_group(process)
            process.wait()
    kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Send SIGKILL to every process that is left of the session that the process led."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def wait_until(condition: Callable[[], bool], *, wait_s: float) -> bool:
    """Check the condition every TICK_S; return True when it holds, or False when `wait_s` has passed."""
    until = time.monotonic() + wait_s
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(TICK_S)
    return True


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that no process listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _die_with(parent: int) -> None:
    if _libc is None:
        return
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    # The parent may have died before the call above.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
