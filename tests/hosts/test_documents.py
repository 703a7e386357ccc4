"""Whatever command a document or a message names exists and runs; whatever address a document names answers.

They are found in the files by themselves. A command is run on a small real installation and has to succeed, unless it
stands in NOT_RUN with the reason why not; even then what it starts has to exist.
"""

import ast
import http.client
import importlib.util
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from flask import current_app
from sqlalchemy import select

from bench.__main__ import BENCHMARKS
from deploy.processes import ROOT
from tests.builders import make_coupon, make_user, session_cookie
from tests.installation import Installation
from webapp.accounts import invitations
from webapp.models import OWNER, CouponIssue, utcnow
from webapp.proposals.rule import Waits
from webapp.sale import admission, claims, redeeming
from webapp.sale.coupons import change_coupon
from webapp.stores.sql import db

ROOMS = ("webapp", "jobs", "deploy", "bench", "migrations")
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "templates").rglob("*.html")]
SOURCES = [ROOT / "gunicorn.conf.py", *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
SETTINGS = [
    *(ROOT / name for name in ("Procfile", "Makefile", ".ci/run")),
    *(path for path in (ROOT / "deploy").rglob("*") if path.suffix in (".conf", ".service", ".sh")),
]

PROGRAM = r"(?:\S*/bin/)?(?:flask|make|python3?|gunicorn|systemctl|apt-get|nginx|openssl|curl|pip|mysql)"
COMMAND = re.compile(rf"(?:[A-Z_]+=\S+ )*{PROGRAM} [\w'\"-].*|\S*/bin/\w+")
"""As it stands alone: between backticks, in an indented line, behind the name of a part."""
PART_OF_ONE = re.compile(r"(?:user|coupon|db) [a-z]+(?: .*)?")
"""`coupon resume` and the like, which leave out how a command begins."""
IN_A_SENTENCE = re.compile(
    r"(?<![\w./-])(?:flask --app|python3? -[mc]|make [A-Z]+=|apt-get |systemctl |(?:user|coupon) (?=[a-z]+ \{))"
    r"(?:'[^'\n]*'|\"[^\"\n]*\"|[^`\n;,()'\"])*"
)

NOT_RUN = {
    "make run": "tests/installation.py starts what it starts",
    "make test": "it is what runs this test",
    "make faults": "it takes minutes; tests/faults is what it runs",
    "make hosts": "it takes minutes; tests/hosts/test_several_hosts.py plays the same with fewer people",
    "make chaos": "it takes ten minutes",
    "make simulate": "tests/simulation runs a quick share of it",
    "make mutants": "it takes an hour; tests/simulation sees that each can still be made",
    "make screenshots": "it takes minutes; tests/browser/test_states.py is what it runs",
    "make bench": "it takes minutes; tests/hosts/test_bench.py runs its parts",
    "make PYTHON=": "it makes a virtual environment",
    "python -m deploy.web": "a server; tests/installation.py starts it",
    "python -m jobs.worker": "endless; tests/installation.py starts it",
    "python -m jobs.sweeper": "endless; tests/installation.py starts it",
    "python -m bench": "it takes minutes; tests/hosts/test_bench.py runs its parts",
    "systemctl enable": "no systemd here; its units are looked for",
    "apt-get": "it changes the machine",
}
NAMED_ALONE = {
    "flask audit",
    "flask capacity",
    "flask coupon unuse",
    "flask db",
    "flask rehearse",
    "flask user password",
    "user block",
    "user rename",
    "coupon export",
    "coupon report",
    "coupon resume",
}
"""Named without their arguments, so their help is asked for."""
EXAMPLES = {
    "--users 20000 --quota 10000": "--users 40 --quota 20",
    "coupon rehearse ID": "coupon rehearse ID --although-near",
    "you@example.com": "documents@example.com",
    "{email}": "EMAIL",
    "{aside}": "EMAIL",
    "unuse CODE": "unuse USED",
    "TEXT": "'a reason'",
    "content.md": "LICENSE",
    "list.csv": "tests/hosts/list.csv",
    "codes.csv": "tests/hosts/codes.csv",
    "members.csv": "tests/hosts/members.csv",
    "picture.jpg": "docs/pages/issued-ko-phone-light.webp",
    # The draft of `place` closes in two days; the tests may take an hour.
    "2026-12-07T10:00,2026-12-08T10:00": ",".join(
        (utcnow() + timedelta(hours=at)).isoformat() for at in (24, 25)
    ),
}
PASSWORD = "correct horse battery\n"


# The commands


def commands_of(path: Path) -> Iterator[str]:
    text = path.read_text()
    if path in SETTINGS:
        return commands_in_settings(text)
    return (
        command for piece in (texts_of(text) if path in SOURCES else [text]) for command in commands_in(piece)
    )


def commands_in(text: str) -> Iterator[str]:
    """Yield the commands of a text: code by itself, and what a sentence names."""
    indented = [line.partition("  #")[0] for line in re.findall(r"^(?: {4}|\$ )(\S.*)$", text, re.MULTILINE)]
    for code in (*re.findall(r"`([^`\n]+)`", text), *indented):
        if COMMAND.fullmatch(code.strip()) or PART_OF_ONE.fullmatch(code.strip()):
            yield code.strip()
    sentences = re.sub(r"`[^`\n]+`|^(?: {4}|\$ )\S.*$", "", text, flags=re.MULTILINE)
    yield from (found.strip().rstrip(".:") for found in IN_A_SENTENCE.findall(sentences))


def commands_in_settings(text: str) -> Iterator[str]:
    for line in text.splitlines():
        started = re.fullmatch(r"(?:\w+: |ExecStart=)(.+)", line)
        if started and COMMAND.fullmatch(started[1]):
            yield started[1].replace("/opt/firstcome/.venv/bin/", "")
        elif said := re.fullmatch(r'\s*(?:#|.*\becho ")(.*)', line):
            yield from commands_in(said[1])


def texts_of(source: str) -> Iterator[str]:
    """Yield the texts of a Python file; what an f-string fills in stands as {name}."""
    parts: set[ast.AST] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts.update(node.values)
            filled = (
                part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
                for part in node.values
            )
            yield "".join(filled)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
            yield inspect.cleandoc(node.value)


def spelt_out(command: str) -> Iterator[str]:
    """Yield every command that a line stands for: `a b | c` is `a b` and `a c`, and `[X]` may be left out."""
    first, *others = command.split(" | ")
    begin = " ".join(first.split()[:4])
    for each in (first, *(f"{begin} {other}" for other in others)):
        yield from dict.fromkeys((re.sub(r" \[.*?\]", "", each), re.sub(r"\[(.*?)\]", r"\1", each)))


def all_commands() -> dict[str, str]:
    """Return every command with the file that names it."""
    return {
        each: path.relative_to(ROOT).as_posix()
        for path in (*SOURCES, *SETTINGS, *PAGES)
        for command in commands_of(path)
        for each in spelt_out(command)
    }


COMMANDS = all_commands()


@pytest.fixture(scope="module")
def running() -> Iterator[Installation]:
    with Installation() as installation:
        yield installation


@pytest.fixture
def place(running) -> dict[str, str]:
    """Return what stands for a placeholder: coupons, two codes, an account, an invitation, a proposal."""
    with running.app.app_context():
        coupon, email = make_coupon(quota=5), make_user().email
        for _ in range(2):
            claims.claim(coupon, make_user().id)
        admission.admit(coupon)
        held = select(CouponIssue.code).where(CouponIssue.coupon_id == coupon).order_by(CouponIssue.id)
        code, used = db.session.scalars(held)
        redeeming.use(used, None)
        draft = str(make_coupon(status="draft", closes_in=2 * 24 * 3600))
        db.session.remove()
        invitations.invite("till", by=None)
        invitation = str(invitations.open_invitations()[0].id)
        proposal = str(asked(coupon))
    return {
        "INVITATION": invitation,
        "PROPOSAL": proposal,
        "ID": str(coupon),
        "CODE": code,
        "USED": used,
        "N": "7",
        "EMAIL": email,
        "NEW": f"new-{email}",
    } | {"DRAFT": draft}


def asked(coupon: int) -> int:
    """Return a proposal that a command has made."""
    current_app.config["TWO_PERSON_RULE"] = True
    try:
        with pytest.raises(Waits) as waits:
            change_coupon(coupon, total_quantity=9)
    finally:
        current_app.config["TWO_PERSON_RULE"] = False
    return waits.value.proposal_id


def run(command: str, installation: Installation, place: dict[str, str]) -> subprocess.CompletedProcess[str]:
    if command in NAMED_ALONE:
        command = f"{command} --help"
    for text, example in EXAMPLES.items():
        command = command.replace(text, example)
    command = re.sub(
        r"\b(ID|CODE|USED|N|EMAIL|NEW|DRAFT|INVITATION|PROPOSAL)\b", lambda found: place[found[1]], command
    )
    program, *words = shlex.split(f"flask {command}" if PART_OF_ONE.fullmatch(command) else command)
    # The programs of this Python stand for those of the installation's own.
    found = Path(sys.executable).with_name(Path(program).name)
    secret = (installation.directory / "secret_key").read_text().strip()
    stores = {"REDIS_URL": f"unix://{installation.directory}/valkey.sock", "SECRET_KEY": secret}
    return subprocess.run(
        [found if found.exists() else program, *(words or ["--help"])],
        cwd=ROOT,
        env=installation.env | stores,
        input=PASSWORD,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def all_addresses() -> set[str]:
    codes = (
        code
        for page in PAGES
        if page.suffix == ".md"
        for code in re.findall(r"`([^`\n]+)`", page.read_text())
    )
    found = (ADDRESS.fullmatch(code) for code in codes)
    return {match[1] or "/" for match in found if match and not match[1].startswith(NOT_OURS)}


def test_what_is_known_to_be_named_is_found():
    assert {
        "flask --app wsgi db upgrade",
        "flask --app wsgi coupon pause ID",
        "flask --app wsgi reconcile",
        "flask --app wsgi reconcile ID",
        "python -m webapp.startup",
        "python -c 'import secrets; print(secrets.token_hex(32))'",
        "user block {email}",
        "apt-get install python3-venv",
        "make PYTHON=/path/to/python3",
        ".venv/bin/flask",
        "systemctl enable --now firstcome-worker@1 firstcome-worker@2",
    } <= COMMANDS.keys()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Run `flask --app wsgi db upgrade` before.", ["flask --app wsgi db upgrade"]),
        ("it is old; run: flask --app wsgi db upgrade", ["flask --app wsgi db upgrade"]),
        ("e.g. from: python -c 'print(1); print(2)', once", ["python -c 'print(1); print(2)'"]),
        ("    make nonsense   # a remark", ["make nonsense"]),
        ("$ FLASK_APP=x .venv/bin/flask nonsense", ["FLASK_APP=x .venv/bin/flask nonsense"]),
        ("They make one poller of it, with `--flags` and `db` and `lua/a.lua`.", []),
        ("use: user block {email}", ["user block {email}"]),
    ],
)
def test_a_command_is_found_however_it_is_named(text, found):
    assert list(commands_in(text)) == found


RUN = [command for command in COMMANDS if not command.startswith(tuple(NOT_RUN))]


@pytest.mark.parametrize("command", RUN)
def test_every_command_that_is_named_runs(command, running, place):
    assert Path(command.split()[0]).name != "make", f"say in NOT_RUN why {command} is not run"
    done = run(command, running, place)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), f"{COMMANDS[command]}: {done.stderr}"


@pytest.mark.parametrize(
    "command", ["flask --app wsgi db upgrad", "python -m webapp.check", "coupon resum ID"]
)
def test_control_a_command_that_does_not_exist_fails(command, running, place):
    assert run(command, running, place).returncode != 0


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in RUN])
def test_what_is_not_run_exists(command):
    program, *words = shlex.split(command)
    if program == "make":
        dry = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, check=False)
        assert dry.returncode == 0, command
        names = " ".join(words).partition("ARGS=")[2].split()
        assert {name for name in names if name not in ("NAME", "--write")} <= BENCHMARKS.keys()
    elif words[:1] == ["-m"]:
        assert importlib.util.find_spec(words[1]), command
    elif program == "systemctl":
        units = {re.sub(r"@\d+$", "@", word) for word in words if word.startswith("firstcome")}
        assert all((ROOT / f"deploy/systemd/{unit}.service").exists() for unit in units)
    else:
        assert program == "apt-get"


def test_every_reason_is_needed():
    assert [begin for begin in NOT_RUN if not any(command.startswith(begin) for command in COMMANDS)] == []


@pytest.mark.parametrize(
    "words",
    [
        *(
            "upgrade",
            "current",
            "heads",
            "history",
            "branches",
            "check",
            "show head",
            "stamp head",
            "edit head",
        ),
        *("downgrade", "list-templates", "init -d {copy}/new", "revision -d {copy}", "migrate -d {copy}"),
        *("merge --help", "upgrade --help"),
    ],
)
def test_every_command_of_the_tables_runs(words, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "migrations", copy, ignore=shutil.ignore_patterns("__pycache__"))
    environ = {"PATH": os.environ["PATH"], "VAR_DIR": str(tmp_path / "var"), "EDITOR": "true"}
    commands = ["upgrade", *([] if words == "upgrade" else [words.format(copy=copy)])]
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", "db", *command.split()],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


# The addresses

ADDRESS = re.compile(r"(?:GET |POST |https?://127\.0\.0\.1:8000)?(/(?:$|[a-z<{][\w<>{}/.?=…-]*)?)")
NOT_OURS = ("/etc/", "/srv/", "/var/", "/opt/", "/bin/", "/path/")
OF_A_COUPON = ("/serving", "/ticket", "/claim")


@pytest.mark.parametrize("address", sorted(all_addresses()))
def test_every_address_that_is_named_answers(address, running, place):
    with running.app.app_context():
        operator = make_user(role=OWNER)
        cookie, _token = session_cookie(running.app, operator)
        claims.claim(int(place["ID"]), operator.id)
        admission.admit(int(place["ID"]))
        held = db.session.scalars(select(CouponIssue.id).where(CouponIssue.user_id == operator.id)).one()
    address = f"/coupons/<id>{address}" if address in OF_A_COUPON else address
    path = (
        address.replace("/wallet/<id>", f"/wallet/{held}")
        .replace("<id>", place["ID"])
        .replace("…", place["CODE"])
    )
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    try:
        connection.request("GET", path, headers={"Cookie": f"session={cookie}", "Accept": "text/html"})
        status = connection.getresponse().status
    finally:
        connection.close()
    assert status == (405 if path.endswith("/claim") else 200), address  # a click is no GET


LINK = re.compile(r"\]\(([^)#\s]+)?(?:#([\w-]+))?\)|(?:src|href)=\"([^\"]+)\"")


@pytest.mark.parametrize("page", [path for path in PAGES if path.suffix == ".md"], ids=lambda path: path.name)
def test_every_link_of_a_document_leads_somewhere(page):
    for target, heading, source in LINK.findall(page.read_text()):
        name = target or source
        if name.startswith("http"):
            continue
        file = page.parent / name if name else page
        assert file.exists(), name
        if heading:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in headings}
            assert heading in slugs, f"{name}#{heading}"
