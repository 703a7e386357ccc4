"""`make run`: it starts, says so, keeps the parts running, and leaves nothing behind."""

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from deploy import demo
from deploy.local import FIRST_PAUSE_S, Part, procfile
from deploy.processes import free_port, spawn, stop, wait_until
from deploy.stores import StoreError, Valkey
from tests.conftest import SECRET_KEY
from tests.installation import Installation
from webapp.accounts.passwords import check_password
from webapp.models import Coupon, User, utcnow
from webapp.sale.claims import line_status
from webapp.stores.sql import db

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
ENDED_S = 30


@pytest.fixture(scope="module")
def running() -> Iterator[Installation]:
    with Installation() as installation:
        yield installation


@pytest.fixture
def fresh() -> Iterator[Installation]:
    with Installation() as installation:
        yield installation


def processes(installation: Installation) -> dict[int, str]:
    """Return the command line of every process that was started for the installation, by its id.

    They have its directory in their environment; Valkey, which overwrites its own, works in it.
    """
    mark, found = f"VAR_DIR={installation.directory}".encode(), {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environ, cwd = (path / "environ").read_bytes().split(b"\0"), (path / "cwd").readlink()
            if mark in environ or cwd == installation.directory:
                found[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue
    return {pid: command for pid, command in found.items() if command}


def pid_of(installation: Installation, words: str) -> int | None:
    """Return the oldest process with these words in its command: the master, where it has workers."""
    return min((pid for pid, command in processes(installation).items() if words in command), default=None)


def readyz(installation: Installation) -> dict | None:
    connection = http.client.HTTPConnection("127.0.0.1", installation.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return json.loads(answer.read())["parts"] if answer.status == 200 else None
    except OSError:
        return None
    finally:
        connection.close()


def status(installation: Installation, path: str, headers: dict[str, str] | None = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", installation.port, timeout=5)
    try:
        connection.request("GET", path, headers=headers or {})
        return connection.getresponse().status
    finally:
        connection.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def demo_states(installation: Installation) -> list[str]:
    with installation.app.app_context():
        return [
            line_status(coupon).state for coupon in db.session.scalars(select(Coupon.id).order_by(Coupon.id))
        ]


def start_refused(**environ: str) -> str:
    """Start an installation that must refuse, and return the one line that it says."""
    installation = Installation(**environ)
    try:
        assert installation.launch().wait(60) == 1
        assert installation.stdout == ""
        (line,) = installation.stderr.splitlines()
        return line.removeprefix("firstcome: ")
    finally:
        installation.discard()


@pytest.fixture(scope="module")
def forgetful_valkey(directory) -> Iterator[Valkey]:
    """A Redis that throws keys away when memory runs short."""
    (directory / "forgetful").mkdir()
    options = ["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]
    with Valkey(directory / "forgetful", port=free_port(), options=options) as store:
        yield store


@pytest.fixture(params=["no key", "short key", "dead Redis", "forgetful Redis", "forgetful queue"])
def unsafe(request, valkey, directory) -> tuple[dict[str, str], str]:
    """Return an environment in which no part may start, and what the refusal says."""
    safe = {
        "PATH": os.environ["PATH"],
        "PORT": str(free_port()),
        "VAR_DIR": str(directory),
        "SECRET_KEY": SECRET_KEY,
        "REDIS_URL": valkey.url,
    }
    if request.param == "no key":
        return {name: value for name, value in safe.items() if name != "SECRET_KEY"}, "SECRET_KEY"
    if request.param == "short key":
        return safe | {"SECRET_KEY": SECRET_KEY[:31]}, "SECRET_KEY"
    if request.param == "dead Redis":
        return safe | {"REDIS_URL": "redis://127.0.0.1:1/0"}, "REDIS_URL does not answer"
    forgetful = request.getfixturevalue("forgetful_valkey").url
    name = "REDIS_URL" if request.param == "forgetful Redis" else "QUEUE_REDIS_URL"
    return safe | {name: forgetful}, f"the Redis of {name} may evict keys"


def test_one_line_says_that_it_is_ready_and_every_part_is(running):
    ready = [line for line in running.stdout.splitlines() if line.startswith("ready")]
    assert ready == [f"ready {running.url}"]
    parts = readyz(running)
    assert parts["workers"] == 1
    assert parts["sweeper"] is True


def test_the_sign_ins_that_it_prints_are_right_and_drawn_for_this_installation(running):
    shown = [line.split() for line in running.stdout.splitlines() if "sign in:" in line]
    assert [words[-2] for words in shown] == ["demo@example.com", "operator@example.com"]
    with running.app.app_context():
        users = {user.email: user for user in db.session.scalars(select(User))}
        for *_, email, password in shown:
            assert len(password) >= 12
            assert check_password(users[email].password_hash, password)
        assert [users[words[-2]].role for words in shown] == ["user", "owner"]


def test_one_demo_coupon_is_open_and_one_opens_within_two_minutes(running):
    with running.app.app_context():
        now, coupons = utcnow(), db.session.scalars(select(Coupon).order_by(Coupon.id)).all()
        assert [line_status(coupon.id).state for coupon in coupons] == ["open", "scheduled"]
        assert now < coupons[1].issue_start_at <= now + timedelta(minutes=2)


def test_what_it_writes_is_for_its_owner_only(running):
    assert mode(running.directory / "secret_key") == 0o600
    assert mode(running.directory / "demo.json") == 0o600
    assert mode(running.directory / "valkey.sock") == 0o700
    assert mode(running.directory / "firstcome.db") & 0o077 == 0


def test_a_directory_that_it_makes_is_for_its_owner_only(tmp_path):
    assert "is too long for a socket" in start_refused(VAR_DIR=str(tmp_path / ("deep" * 30)))
    assert mode(tmp_path / ("deep" * 30)) == 0o700


def test_flask_commands_reach_it_without_a_key_in_the_environment(running):
    environ = {name: running.env[name] for name in ("PATH", "HOME", "VAR_DIR")}
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "coupon", "show", "1"]
    shown = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    assert "line state     open" in shown


def test_it_listens_on_this_machine_only(running):
    others = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    for address in [address for address in others if ":" not in address][:1]:
        connection = http.client.HTTPConnection(address, running.port, timeout=5)
        with pytest.raises(ConnectionRefusedError):
            connection.connect()


def test_requests_that_never_end_hold_nobody_up(running):
    with ExitStack() as half_sent:
        for _ in range(50):
            connection = half_sent.enter_context(socket.create_connection(("127.0.0.1", running.port), 10))
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
        assert [status(running, "/healthz") for _ in range(4)] == [200] * 4


@pytest.mark.parametrize("header", ["SCRIPT_NAME", "PATH_INFO", "REMOTE_USER", "X_FORWARDED_FOR"])
def test_a_client_cannot_set_what_the_server_sets(running, header):
    assert status(running, "/healthz", {header: "/elsewhere"}) == 200


def test_a_client_cannot_say_that_it_came_over_https(running):
    assert status(running, "/healthz", {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "off"}) == 200


def test_a_second_start_on_the_same_directory_is_refused(running):
    line = start_refused(VAR_DIR=str(running.directory), PORT=str(free_port()))
    assert line.startswith(f"already running on {running.directory}")
    assert readyz(running)


def test_a_port_that_is_taken_is_refused(running):
    assert start_refused(PORT=str(running.port)).startswith(f"port {running.port} cannot be used")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "http", "PORT must be a number"),
        ("PORT", "65536", "PORT must be a number"),
        ("VAR_DIR", "/dev/null/var", "VAR_DIR /dev/null/var cannot be made"),
        ("WEB_CONCURRENCY", "0", "WEB_CONCURRENCY"),
        ("SECRET_KEY", "too short", "SECRET_KEY must be set to at least 32"),
        ("SECRET_KEY", "changeme" * 8, "SECRET_KEY is made of known words"),
        ("REDIS_URL", "redis://127.0.0.1:1/0", "REDIS_URL does not answer"),
        ("QUEUE_REDIS_URL", "no url", "QUEUE_REDIS_URL is not an address"),
        ("DATABASE_URL", "mysql+pymysql://nobody@127.0.0.1:1/none", "Can't connect to MySQL server"),
        ("DATABASE_URL", "no url", "DATABASE_URL is not an address"),
        ("DATABASE_URL", "postgresql://localhost/x", "DATABASE_URL speaks postgresql"),
        ("TRUSTED_PROXIES", "many", "TRUSTED_PROXIES"),
    ],
)
def test_a_setting_it_cannot_work_with_is_refused_in_one_line(name, value, words):
    assert words in start_refused(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("REDIS_URL", "no url"), ("REDIS_URL", "http://localhost"), ("QUEUE_REDIS_URL", "unix://")),
        *(
            ("DATABASE_URL", "no url"),
            ("DATABASE_URL", "postgresql://localhost/x"),
            ("DATABASE_URL", "mysql://a@b/c"),
        ),
        *(
            ("TRUSTED_PROXIES", "many"),
            ("WEB_CONCURRENCY", "abc"),
            ("PORT", "1.5"),
            ("ALLOWED_HOSTS", "a b..c"),
        ),
    ],
)
def test_commands_refuse_such_a_setting_in_one_line_too(name, value):
    environ = {"PATH": os.environ["PATH"], name: value}
    flask = Path(sys.executable).with_name("flask")
    process = spawn([flask, "--app", "wsgi", "coupon", "list"], env=environ, stderr=subprocess.PIPE)
    (line,) = process.communicate(timeout=60)[1].decode().splitlines()
    assert process.returncode == 1
    assert line.startswith(REFUSING)
    assert name in line


@LINUX
def test_a_deploy_ends_idle_connections_without_a_word(running):
    """gunicorn's own worker answers each of them with a 500 when the graceful timeout is over."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as idle:
        answer = b""
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while not answer.endswith(b"ok\n"):
            answer += idle.recv(65536)
        master = min(pid for pid, command in processes(running).items() if "gunicorn" in command)
        os.kill(master, signal.SIGHUP)
        assert idle.recv(65536) == b""


@LINUX
@pytest.mark.parametrize("words", ["jobs.worker", "jobs.sweeper", "gunicorn", "valkey-server"])
def test_a_part_that_was_killed_is_started_again(running, words):
    killed = pid_of(running, words)
    os.kill(killed, signal.SIGKILL)
    assert wait_until(lambda: pid_of(running, words) not in (None, killed), wait_s=ENDED_S)
    assert wait_until(lambda: (readyz(running) or {}).get("sweeper"), wait_s=ENDED_S)
    assert killed not in processes(running)


@LINUX
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_starts_stops_it(number):
    installation = Installation()
    process = installation.launch()
    try:
        assert wait_until(lambda: pid_of(installation, "gunicorn") is not None, wait_s=ENDED_S)
        process.send_signal(number)
        assert process.wait(ENDED_S) == 0
        assert processes(installation) == {}
        assert "ready" not in installation.stdout
    finally:
        installation.discard()


@LINUX
def test_a_part_that_cannot_start_ends_the_others_too():
    installation = Installation(GUNICORN_CMD_ARGS="--no-such-option")
    try:
        assert installation.launch().wait(ENDED_S) == 1
        assert installation.stderr.splitlines()[-1] == "firstcome: web ended (exit code 2) while starting"
        assert processes(installation) == {}
    finally:
        installation.discard()


@LINUX
def test_it_stops_whole_and_starts_again_with_what_it_had(fresh):
    kept = {name: (fresh.directory / name).read_text() for name in ("secret_key", "demo.json")}
    with fresh.app.app_context(), db.engine.begin() as connection:
        week = timedelta(days=7)
        connection.execute(
            update(Coupon).values(issue_start_at=utcnow() - week, issue_end_at=utcnow() - week / 2)
        )
    assert len(processes(fresh)) >= 6
    fresh.process.send_signal(signal.SIGTERM)
    fresh.process.send_signal(signal.SIGTERM)
    assert fresh.process.wait(ENDED_S) == 0
    assert processes(fresh) == {}
    assert fresh.stderr == ""

    fresh.start()
    assert (fresh.directory / "secret_key").read_text() == kept["secret_key"]
    accounts = json.loads((fresh.directory / "demo.json").read_text())["accounts"]
    assert accounts == json.loads(kept["demo.json"])["accounts"]
    assert demo_states(fresh) == ["closed", "closed", "open", "scheduled"]
    with fresh.app.app_context():
        demo.refresh()
    assert len(demo_states(fresh)) == 4

    fresh.process.kill()
    fresh.process.wait()
    assert wait_until(lambda: processes(fresh) == {}, wait_s=ENDED_S), processes(fresh)


@pytest.mark.parametrize("installation", ["mariadb"], indirect=True)
def test_there_is_no_demo_on_a_database_of_ones_own(installation):
    assert "sign in" not in installation.stdout
    with installation.app.app_context():
        assert not db.session.scalar(select(User.id).where(User.email == "demo@example.com"))


def test_a_part_that_keeps_dying_is_started_less_and_less_often(capsys):
    part = Part("worker", lambda: spawn(["false"]))
    pauses = []
    for _ in range(3):
        part.due_at = 0
        part.keep_running()
        part.process.wait()
        part.keep_running()
        pauses.append(float(capsys.readouterr().err.split()[-2]))
    assert pauses == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]


def test_a_process_that_ignores_the_signal_is_killed_with_all_it_started():
    script = "trap '' TERM; echo started; sleep 600 & sleep 600; sleep 600"
    process = spawn(["sh", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"started\n"
    stop(process, wait_s=0.2)
    assert process.returncode == -signal.SIGKILL
    # It ends only when nobody holds the other end any more.
    assert process.stdout.read() == b""
    process.stdout.close()


PARTS = list(procfile())
REFUSING = "firstcome: refusing to start: "


SETTINGS = [
    ("WEB_CONCURRENCY", "0"),
    ("WEB_CONCURRENCY", "abc"),
    ("PORT", "http"),
    ("SECRET_KEY", "changeme" * 8),
    ("DATABASE_URL", "nonsense"),
    ("REDIS_URL", "http://localhost"),
]
"""One or two of each kind: test_startup.py has every value, without a process for each."""


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_every_part_refuses_a_setting_in_one_line(part, name, value, valkey, directory):
    environ = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PORT": str(free_port()),
        "VAR_DIR": str(directory),
        "SECRET_KEY": SECRET_KEY,
        "REDIS_URL": valkey.url,
    }
    process = spawn(
        procfile()[part], env=environ | {name: value}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = process.communicate(timeout=60)
    (line,) = err.decode().splitlines()
    assert (process.returncode, out) == (1, b"")
    assert line.startswith(REFUSING)
    assert name in line


@pytest.mark.parametrize("part", PARTS)
def test_no_part_starts_in_an_unsafe_state(part, unsafe):
    environ, words = unsafe
    environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environ["PATH"]])
    process = spawn(procfile()[part], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == b""
    (line,) = err.decode().splitlines()
    assert line.startswith(REFUSING)
    assert words in line


def test_a_store_that_cannot_start_says_where_it_wrote_why(directory):
    (directory / "broken").mkdir()
    store = Valkey(directory / "broken", port=free_port(), options=["--no-such-option", "1"])
    with pytest.raises(StoreError, match=r"broken/valkey\.log"):
        store.start()
