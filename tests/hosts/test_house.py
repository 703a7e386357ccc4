"""The rooms of the house: nothing is imported from above or in circles, and ARCHITECTURE.md shows them as they are."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from deploy.processes import ROOT

FLOORS = [
    {"values"},
    {"config"},
    {"stores"},
    {"line", "models"},
    {"log"},
    {"proposals"},
    {"accounts"},
    {"sale"},
    {"web", "cli"},
    {"app"},  # create_app, and the refusals to start
    {"jobs"},
]
"""From the ground up. A room imports from itself and from the floors below it."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT = {
    "values": {"flask", "redis", "sqlalchemy"},
    "line": {"flask", "sqlalchemy"},
    "models": {"flask", "redis"},
}
"""What a room knows nothing of."""
NO_HTTP = {"Flask", "current_app"}
"""All that the sale takes from Flask."""


@cache
def modules() -> dict[str, ast.Module]:
    paths = [*(ROOT / "webapp").rglob("*.py"), *(ROOT / "jobs").rglob("*.py")]
    return {name_of(path): ast.parse(path.read_text()) for path in paths}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    top, *rest = module.split(".")
    if top == "jobs":
        return "jobs"
    return rest[0] if rest and rest[0] in FLOOR else "app"


def imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield module and name of everything that is imported, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((str(node.module), alias.name) for alias in node.names)


def ours(tree: ast.Module) -> Iterator[str]:
    for module, name in imports(tree):
        if module.split(".")[0] in ("webapp", "jobs"):
            yield whole if (whole := f"{module}.{name}") in modules() else module


def arrows_up(module: str, tree: ast.Module) -> list[str]:
    """Return what a module imports from its own floor's other rooms, or from above."""
    room = room_of(module)
    others = {other for other in ours(tree) if room_of(other) != room}
    return sorted(other for other in others if FLOOR[room_of(other)] >= FLOOR[room])


def strangers(module: str, tree: ast.Module) -> list[str]:
    """Return what a module imports that its room knows nothing of."""
    room = room_of(module)
    found = [
        f"{source} {name}"
        for source, name in imports(tree)
        if source.split(".")[0] in WITHOUT.get(room, set())
    ]
    if room == "sale":
        found += [name for source, name in imports(tree) if source == "flask" and name not in NO_HTTP]
    return found


def section(title: str) -> str:
    """Return what stands under a heading, up to the next one of the same level or above."""
    level = title.partition(" ")[0]
    return re.split(rf"^#{{1,{len(level)}}} ", ARCHITECTURE.partition(f"\n{title}\n")[2], flags=re.MULTILINE)[
        0
    ]


def cells(text: str) -> list[list[str]]:
    """Return the cells of a table's rows, without its head."""
    rows = [re.split(r" *(?<!\\)\| *", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    return rows[2:]


def file_of(name: str) -> Path | None:
    """Return the file that a document means, named from webapp/ or from the top; scripts of pages stand in static/."""
    found = (ROOT / room / name for room in ("webapp", ".", "static"))
    return next((path for path in found if path.is_file()), None)


def names_in(path: Path) -> set[str]:
    """Return the functions, classes, methods and constants of a module."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {
                name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
            }
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
            names |= {
                f"{node.name}.{part.name}" for part in ast.walk(node) if isinstance(part, ast.FunctionDef)
            }
    return names


def missing(text: str) -> list[str]:
    """Return each file, and each `file: name`, of a text that does not exist."""
    found = [(match[0], file_of(match[1]), match[2]) for match in PLACE.finditer(text)]
    return [
        place
        for place, path, name in found
        if path is None or (name is not None and name not in names_in(path))
    ]


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_room_imports_from_below(module):
    assert arrows_up(module, modules()[module]) == []
    assert strangers(module, modules()[module]) == []


def test_no_module_is_imported_by_what_it_imports():
    graph = {module: {other for other in ours(tree) if other != module} for module, tree in modules().items()}
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("webapp.line.line", "from webapp.models import Coupon"),
        ("webapp.line.line", "import sqlalchemy"),
        ("webapp.sale.claims", "from webapp.web import errors"),
        ("webapp.sale.claims", "from flask import request"),
        ("webapp.accounts.visitor", "def later():\n    from webapp.sale.claims import claim"),
        ("webapp.stores.sql", "from webapp.models import User"),
        ("webapp.web.health", "import jobs.worker"),
        ("webapp.cli.users", "from webapp.web.errors import problem"),
    ],
)
def test_an_arrow_that_goes_up_is_seen(module, code):
    assert arrows_up(module, ast.parse(code)) + strangers(module, ast.parse(code))


# What ARCHITECTURE.md says of the house

ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
PLACE = re.compile(r"`([\w./-]+\.(?:py|lua|js|md))(?:: ([\w.]+))?`")
DOCUMENTS = [
    ROOT / "ARCHITECTURE.md",
    ROOT / "README.md",
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "docs/adr").glob("*.md"),
]
FORMER = re.compile(
    r"\b(?:seed(?:s|ed|ing)|distrust\w*|t(?:ake|akes|aken|ook) back|lanes?|(?:issuing|policy)\.\w+)\b"
)
"""Words that things had before they had those of ARCHITECTURE.md, Words."""
MOST_FILES = 6
MOST_WORDS = 20


PATHS = ("A click", "An admission", "A Redis that lost everything", "A quota that is raised")


def test_every_place_that_is_named_exists():
    assert missing(ARCHITECTURE) == []


@pytest.mark.parametrize(
    "place",
    [
        "`sale/nowhere.py`",
        "`line/lua/nothing.lua`",
        "`sale/claims.py: claims`",
        "`line/line.py: Line.nothing`",
        "`line/line.py: claim`",
    ],
)
def test_control_a_place_that_does_not_exist_is_seen(place):
    assert missing(f"| 1 | web | {place} | Redis |") == [place]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_goes_through_few_files(path):
    steps = cells(section(f"### {path}"))
    files = {match[1] for step in steps for match in PLACE.finditer(step[2])}
    assert [step[0] for step in steps] == [str(number) for number in range(1, len(steps) + 1)]
    assert 3 < len(files) <= MOST_FILES, sorted(files)


def test_the_diagram_shows_the_floors():
    drawn = section("## The rooms").split("```")[1].strip("\n")
    rooms = {room for floor in FLOORS for room in floor}
    assert [set(line[:20].split()) for line in drawn.splitlines()] == list(reversed(FLOORS))
    assert {path.name for path in (ROOT / "webapp").iterdir() if (path / "__init__.py").exists()} < rooms


def test_the_words_are_few_and_each_is_used():
    words = [word for word, _meaning in cells(section("## Words"))]
    assert len(words) <= MOST_WORDS
    told = ARCHITECTURE.replace(section("## Words"), "").lower()
    assert [word for word in words if word not in told] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_speaks_in_these_words(document):
    assert FORMER.findall(document.read_text()) == []


@pytest.mark.parametrize(
    "text", ["it was taken back", "whoever seeds it", "`issuing.claim`", "the lane answers"]
)
def test_control_a_former_word_is_seen(text):
    assert FORMER.search(text)
