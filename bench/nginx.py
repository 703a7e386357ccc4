"""A private nginx with the configuration of `deploy/nginx`, in front of a server of ours."""

import os
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.processes import ROOT, free_port, spawn, stop, wait_until

SITE = ROOT / "deploy" / "nginx" / "firstcome.conf"
FRAME = """
pid {directory}/pid;
error_log {directory}/main.log;
events {{ worker_connections 4096; }}
http {{
    types {{ text/html html; text/css css; text/javascript js; image/svg+xml svg; }}
    log_format seen '$uri $status $upstream_cache_status $upstream_addr';
    {temp}
    {site}
}}
"""
SERVER = "server 127.0.0.1:8000 max_fails=10 fail_timeout=2s;"
LOG = "access_log /var/log/nginx/firstcome.log firstcome;"
START_S = 10


def program() -> str | None:
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


@contextmanager
def in_front_of(
    port: int,
    directory: Path,
    *,
    log: bool = False,
    certificate: Path | None = None,
    host: str = "127.0.0.1",
    servers: Sequence[str] = ("127.0.0.1",),
    inside: Sequence[str] = (),
) -> Iterator[int]:
    """Run nginx with all its files in the directory, in front of the servers at a port, and yield its own port.

    With `log` it writes its own log and an access.log that names the server of each answer. With `certificate`, a file
    with a certificate and its key, it speaks TLS, else plain HTTP. It listens on `host`; `inside` begins the command
    that runs it elsewhere, such as in another network namespace.
    """
    nginx = program()
    assert nginx is not None
    own = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temp = " ".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
    site = _site(f"{host}:{own}", [f"{server}:{port}" for server in servers], directory, certificate)
    site = site.replace(
        LOG,
        f"access_log {directory}/own.log firstcome; access_log {directory}/access.log seen;"
        if log
        else "access_log off;",
    )
    conf = directory / "nginx.conf"
    conf.write_text(FRAME.format(directory=directory, site=site, temp=temp))
    directory.chmod(0o755)
    as_root = " user root;" if os.geteuid() == 0 else ""
    process = spawn([*inside, nginx, "-p", directory, "-c", conf, "-g", f"daemon off;{as_root}"])
    try:
        assert wait_until(lambda: _listens(host, own), wait_s=START_S), (directory / "main.log").read_text()
        yield own
    finally:
        stop(process, wait_s=START_S)


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _site(own: str, servers: Sequence[str], directory: Path, certificate: Path | None) -> str:
    """Return our configuration for these addresses and this checkout."""
    site = SITE.read_text()
    for ours, theirs in {
        SERVER: "\n    ".join(SERVER.replace("127.0.0.1:8000", server) for server in servers),
        "listen 80;": f"listen unix:{directory}/plain.sock;",
        "listen 443 ssl;": f"listen {own}{' ssl' if certificate else ''};",
        "/etc/ssl/firstcome/fullchain.pem": str(certificate),
        "/etc/ssl/firstcome/privkey.pem": str(certificate),
        "/var/log/nginx/firstcome.error.log": f"{directory}/error.log",
        "/var/cache/nginx": str(directory),
        "/srv/firstcome": str(ROOT),
    }.items():
        assert ours in site, ours
        site = site.replace(ours, theirs)
    return site if certificate else re.sub(r"^ *ssl_.*\n", "", site, flags=re.MULTILINE)
