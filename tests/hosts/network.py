"""Hosts on a network of their own: network namespaces, each with one link to a switch, which can be pulled.

No namespace has a name, a link or an address outside. Each lives as long as the process that holds it, and the kernel
removes its links with it. So nothing is left behind however a run ends, and runs beside each other never meet.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from deploy.processes import spawn, stop, wait_until

PROGRAMS = {"ip": "iproute2", "nsenter": "util-linux", "unshare": "util-linux"}
PREFIX = "10.77.0."
STARTS_S = 10

_libc = ctypes.CDLL(None, use_errno=True)


def obstacle() -> str | None:
    """Return why this user cannot have hosts on this machine, None where nothing stands in the way."""
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian: {package})"
    for kind in (["bridge"], ["veth", "peer", "name", "other"]):
        made = subprocess.run(
            ["unshare", "--net", "ip", "link", "add", "one", "type", *kind],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            return f"this user may not make network namespaces with a {kind[0]}: {made.stderr.strip()}"
    return None


class Namespace:
    """A network namespace, held by a process that does nothing."""

    def __enter__(self) -> Self:
        self.holder = spawn(["unshare", "--net", "sleep", "infinity"])
        if not wait_until(self._is_apart, wait_s=STARTS_S):
            self.__exit__()
            raise OSError("no network namespace was made")
        self.ip("link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        stop(self.holder, wait_s=STARTS_S)

    @property
    def path(self) -> Path:
        return Path(f"/proc/{self.holder.pid}/ns/net")

    @property
    def inside(self) -> list[str]:
        """How a command begins that runs in here."""
        return ["nsenter", f"--net={self.path}"]

    def ip(self, *words: str) -> None:
        subprocess.run([*self.inside, "ip", *words], check=True)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have this thread, and the threads and processes that it starts, be in here."""
        with Path("/proc/thread-self/ns/net").open() as home, self.path.open() as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def _is_apart(self) -> bool:
        return self.holder.poll() is None and self.path.readlink() != Path("/proc/self/ns/net").readlink()


class Host(Namespace):
    """A namespace with an address, whose link leads to a port of the switch."""

    def __init__(self, switch: Namespace, number: int) -> None:
        self.switch, self.port, self.address = switch, f"port{number}", f"{PREFIX}{number}"

    def __enter__(self) -> Self:
        super().__enter__()
        link = ["link", "add", self.port, "type", "veth", "peer", "name", "eth0", "netns"]
        self.switch.ip(*link, str(self.holder.pid))
        self.switch.ip("link", "set", self.port, "master", "switch", "up")
        self.ip("address", "add", f"{self.address}/24", "dev", "eth0")
        self.ip("link", "set", "eth0", "up")
        return self

    def pull(self) -> None:
        """Pull the cable out of the switch: nobody is told, and nothing arrives any more."""
        self.switch.ip("link", "set", self.port, "down")

    def plug(self) -> None:
        self.switch.ip("link", "set", self.port, "up")

    @contextmanager
    def unheard(self, by: "Host", *, from_port: int) -> Iterator[None]:
        """Lose what one server here says to another host; all else goes on."""
        rule = ["to", by.address, "ipproto", "tcp", "sport", str(from_port), "blackhole"]
        self.ip("rule", "add", *rule)
        try:
            yield
        finally:
            self.ip("rule", "delete", *rule)


@contextmanager
def network(names: Sequence[str]) -> Iterator[dict[str, Host]]:
    """Yield hosts of these names that reach each other and nobody else."""
    with ExitStack() as stack:
        switch = stack.enter_context(Namespace())
        switch.ip("link", "add", "switch", "type", "bridge")
        switch.ip("link", "set", "switch", "up")
        yield {name: stack.enter_context(Host(switch, number)) for number, name in enumerate(names, 1)}


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
