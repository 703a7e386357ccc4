"""The files that name each other agree, and what is promised to be there is there."""

import configparser
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from werkzeug.utils import import_string

from deploy.local import STOP_S, procfile
from deploy.processes import ROOT
from jobs.worker import ALLOWED_JOBS, make_worker
from tests.conftest import on_sqlite
from webapp.sale.bells import ADMISSION_JOB
from webapp.stores.queue import QUEUE_NAME, bell_queue

TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "Procfile",
    "README.md",
    "babel.cfg",
    "bench",
    "deploy",
    "docs",
    "gunicorn.conf.py",
    "jobs",
    "migrations",
    "pyproject.toml",
    "requirements-dev.txt",
    "requirements.txt",
    "static",
    "templates",
    "tests",
    "webapp",
    "wsgi.py",
}
PIN = re.compile(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+(; .+)?")


def requirements(name: str) -> list[str]:
    lines = (ROOT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r "))]


def settings() -> set[str]:
    """Return every variable that the code reads from its environment."""
    read = re.compile(r"""(?:\benv\.\w+, |os\.environ\.get\(|os\.environ\[)\s*["']([A-Z_]+)["']""")
    sources = [ROOT / "gunicorn.conf.py", *(ROOT / "webapp").rglob("*.py"), *(ROOT / "deploy").glob("*.py")]
    return {name for path in sources for name in read.findall(path.read_text())} - {"PATH"}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned(name):
    assert [line for line in requirements(name) if not PIN.fullmatch(line)] == []


@pytest.mark.parametrize("names", [["requirements.txt"], ["requirements.txt", "requirements-dev.txt"]])
def test_what_a_requirement_needs_is_pinned_too(names):
    pins = [Requirement(line) for name in names for line in requirements(name)]
    pinned = {canonicalize_name(pin.name) for pin in pins if pin.marker is None or pin.marker.evaluate()}
    needed = {
        canonicalize_name(requirement.name)
        for name in pinned
        for requirement in map(Requirement, importlib.metadata.requires(name) or [])
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    }
    assert needed - pinned - {"setuptools"} == set()


def test_a_web_process_carries_no_migrations():
    """Alembic takes 11 MB of each, so it is imported when the first migration or its command asks for it."""
    asked = "print([name for name in ('alembic', 'mako', 'flask_migrate') if name in sys.modules])"
    command = "wsgi.app.cli.get_command(None, 'db').make_context('db', ['current'])"
    program = f"import sys, wsgi; {asked}; {command}; {asked}"
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert said.splitlines() == ["[]", "['alembic', 'mako', 'flask_migrate']"]


def test_the_procfile_names_what_exists():
    commands = procfile()
    assert set(commands) == {"web", "worker", "sweeper"}
    for python, option, module in commands.values():
        assert (python, option) == ("python", "-m")
        assert importlib.util.find_spec(module)


def test_every_part_is_known_where_it_is_stopped():
    assert set(procfile()) == set(STOP_S)


@pytest.mark.parametrize(
    ("part", "unit"),
    [("web", "firstcome-web"), ("worker", "firstcome-worker@"), ("sweeper", "firstcome-sweeper")],
)
def test_the_units_start_what_the_procfile_starts(part, unit):
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    parsed.optionxform = str
    parsed.read(ROOT / "deploy" / "systemd" / f"{unit}.service")
    service = parsed["Service"]
    program, *arguments = service["ExecStart"].split()
    assert [Path(program).name, *arguments] == procfile()[part]
    assert (service["KillMode"], service["Restart"]) == ("mixed", "always")
    assert "EnvironmentFile" in service


@on_sqlite
def test_the_worker_listens_to_the_queue_that_is_rung_and_runs_its_job(app):
    assert make_worker().queue_names() == [QUEUE_NAME] == [bell_queue().name]
    assert ADMISSION_JOB in ALLOWED_JOBS
    assert callable(import_string(ADMISSION_JOB))


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE"])
def test_the_documents_exist(name):
    assert len((ROOT / name).read_text().splitlines()) > 5


def test_the_readme_tells_every_setting_and_command():
    readme = (ROOT / "README.md").read_text()
    assert {"SECRET_KEY", "PORT", "WEB_CONCURRENCY", "VAR_DIR", "DATABASE_URL", "REDIS_URL"} <= settings()
    assert sorted(name for name in settings() if name not in readme) == []
    for command in ("make run", "make test"):
        assert command in readme


def test_every_target_of_the_makefile_has_its_line_of_help():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split())
    assert set(re.findall(r"^([a-z]+):.*## .+$", makefile, re.MULTILINE)) == targets


def test_nothing_lies_at_the_top_that_has_no_place_there():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {path.split("/")[0] for path in listed} - TOP_LEVEL == set()
