"""The web server's settings. The command line and GUNICORN_CMD_ARGS override them, e.g. --bind 0.0.0.0:8000."""

import ctypes
import os
import resource
import signal
import subprocess
import sys

from deploy import web

CONNECTIONS = 10_000
PR_SET_PDEATHSIG = 1

bind = f"127.0.0.1:{web.port()}"
workers = web.processes()
# Half-sent headers on a few connections would stop the sync and gthread workers for good.
worker_class = "deploy.web_worker.QuietWorker"
worker_connections = CONNECTIONS
backlog = 4096

# A visitor waits 2.5 s at most for a dead store.
raw_env = [f"SQL_ANSWER_S={os.environ.get('SQL_ANSWER_S') or 1}"]

# Longer than the idle timeout of a load balancer (60 s), which would else send requests into closing connections.
keepalive = 75
# The slowest answer waits up to 10 s for its turn to hash a password.
graceful_timeout = 12

limit_request_line = 4094
limit_request_fields = 60
limit_request_field_size = 8190

# TRUSTED_PROXIES alone says which proxies are in front. With gunicorn's defaults a client's SCRIPT_NAME is a 500.
forwarder_headers = ""
secure_scheme_headers = {}

# The control socket is on by default, and two masters of one user collide on it.
control_socket_disable = True
# No access log; a refusal to start is then the only line on stderr.
loglevel = "warning"


def on_starting(server):
    # The checks run in a process of their own: nothing may be imported here before gevent has patched the workers.
    if subprocess.run([sys.executable, "-m", "webapp.startup"]).returncode:
        raise SystemExit(1)


def post_fork(server, worker):
    end_with(server.pid)
    hold_connections()


def end_with(master):
    """Have the kernel end this worker at once when its master is killed; it would hold the port and accept nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != master:
            os.kill(os.getpid(), signal.SIGKILL)


def hold_connections():
    """Let the worker hold CONNECTIONS sockets where the system's hard limit allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 1000
    possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < possible:
        resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
