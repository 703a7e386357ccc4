"""A private nginx with the configuration of `deploy/nginx`, in front of a server of ours."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.processes import ROOT, free_port, spawn, stop, wait_until

SITE = ROOT / "deploy" / "nginx" / "firstcome.conf"
FRAME = """
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
    types {{ text/html html; text/css css; text/javascript js; image/svg+xml svg; }}
    log_format seen '$uri $status $upstream_cache_status $upstream_addr';
    access_log {log};
    {temp}
    {site}
}}
"""
START_S = 10


def program() -> str | None:
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


@contextmanager
def in_front_of(port: int, directory: Path, *, log: bool = False) -> Iterator[int]:
    """Run nginx with all its files in the directory, and yield its port; `log`: an access.log of who answered what."""
    nginx = program()
    assert nginx is not None
    own = free_port()
    log_to = f"{directory}/access.log seen" if log else "off"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temp = " ".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
    conf = directory / "nginx.conf"
    conf.write_text(
        FRAME.format(directory=directory, site=_site(own, port, directory), temp=temp, log=log_to)
    )
    directory.chmod(0o755)
    as_root = " user root;" if os.geteuid() == 0 else ""
    process = spawn([nginx, "-p", directory, "-c", conf, "-g", f"daemon off;{as_root}"])
    try:
        assert wait_until(lambda: _listens(own), wait_s=START_S), (directory / "error.log").read_text()
        yield own
    finally:
        stop(process, wait_s=START_S)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _site(own: int, port: int, directory: Path) -> str:
    """Return our configuration for these ports and this checkout."""
    site = SITE.read_text()
    for ours, theirs in {
        "127.0.0.1:8000": f"127.0.0.1:{port}",
        "listen 80;": f"listen 127.0.0.1:{own};",
        "/var/cache/nginx": str(directory),
        "/srv/firstcome": str(ROOT),
    }.items():
        assert ours in site, ours
        site = site.replace(ours, theirs)
    return site
