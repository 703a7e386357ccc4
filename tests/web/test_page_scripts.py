"""Scripts as they are served, and that the oldest browsers we serve can read them."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import on_sqlite
from webapp.web.page_scripts import SOURCES, served_script

ALL = sorted(SOURCES.glob("*.js"))

TOO_NEW = {
    "logical assignment, Chrome 85": r"(\|\||&&|\?\?)=",
    "private names, Safari 14.1": r"#[a-zA-Z_$]\w*\s*[(=;]",
    "class fields, Safari 14.1": r"\bclass\b",
    "await outside of a function, Chrome 89": r"(?m)^(\w+ [^=\n]+= )?await\b",
    "looking behind in a pattern, Safari 16.4": r"\(\?<[=!]",
    "at(), Chrome 92": r"\.at\(",
    "replaceAll, Chrome 85": r"\.replaceAll\(",
    "findLast, Chrome 97": r"\.findLast",
    "Object.hasOwn, Chrome 93": r"\bhasOwn\b",
    "Object.groupBy, Chrome 117": r"\bgroupBy\b",
    "toSorted and its like, Chrome 110": r"\.(toSorted|toReversed|toSpliced|with)\(",
    "Promise.any, Chrome 85": r"\bPromise\.(any|withResolvers|try)\b",
    "structuredClone, Chrome 98": r"\bstructuredClone\b",
    "crypto.randomUUID, Chrome 92": r"\brandomUUID\b",
    "AbortSignal.timeout, Chrome 103": r"\bAbortSignal\b",
    "replaceChildren, Chrome 86": r"\breplaceChildren\b",
    "reflected ARIA, Chrome 81": r"\baria[A-Z]\w+",
    "BigInt, Safari 14": r"\b\d+n\b",
    "import.meta and import()": r"\bimport\b",
    "scheduler, Chrome 94": r"\bscheduler\b",
    "navigation API, Chrome 102": r"\bnavigation\b(?!s)",
}
"""What the oldest browsers of docs/browsers.md cannot read or have not, by since when others can."""
WORDS_OF_THEM = [
    *("a ||= b", "a &&= b", "a ??= b", "#name = 1;", "#name()", "class A { b = 1 }", "await ask();"),
    *("const a = await ask();", "/(?<=a)b/", "/(?<!a)b/", "list.at(-1)", "text.replaceAll('a', 'b')"),
    *(
        "list.findLast(one)",
        "Object.hasOwn(a, b)",
        "Object.groupBy(a, b)",
        "list.toSorted()",
        "list.with(1, 2)",
    ),
    *("Promise.any([a])", "structuredClone(a)", "crypto.randomUUID()", "AbortSignal.timeout(8)"),
    *("node.replaceChildren()", "node.ariaBusy = true", "10n", "import('a')", "scheduler.yield()"),
    "navigation.navigate(a)",
]
OPTIONAL = {
    "localStorage": r"attempt\(",
    "BroadcastChannel": r"attempt\(",
    "AbortController": r"attempt\(",
    "navigator.locks": r"attempt\(",
    "replaceState": r"attempt\(",
    "navigator.clipboard": r"if \(navigator\.clipboard\)|await navigator",
}
"""What a served browser may lack, and what stands on the line of each use."""


def code_of(source: Path) -> str:
    return re.sub(r"(?m)(^|\s)//.*$", "", source.read_text())


@pytest.mark.parametrize("source", ALL, ids=lambda source: source.name)
def test_the_oldest_browsers_can_read_it(source):
    assert [what for what, pattern in TOO_NEW.items() if re.search(pattern, code_of(source))] == []


@pytest.mark.parametrize("newer", WORDS_OF_THEM)
def test_control_what_they_cannot_read_is_found(newer):
    assert any(re.search(pattern, newer) for pattern in TOO_NEW.values())


@pytest.mark.parametrize("source", ALL, ids=lambda source: source.name)
def test_what_may_be_missing_is_only_tried(source):
    lines = code_of(source).splitlines()
    uses = [(line, guard) for line in lines for name, guard in OPTIONAL.items() if name in line]
    bare = [line for line, guard in uses if not re.search(guard, line)]
    assert bare == [] or "try {" in code_of(source)


def test_scripts_are_joined_in_blocks_of_their_own_and_without_comments():
    joined = served_script("coupon+claim+opening+times.js").decode()
    assert [joined.count(brace) for brace in "{}"] == [joined.count("{")] * 2
    assert "//" not in joined
    places = [
        joined.index(text)
        for text in ("BroadcastChannel", "aria-busy", "data-countdown", "getTimezoneOffset")
    ]
    assert all(first < second for first, second in pairwise(places))
    assert joined.startswith("{const page=")


@on_sqlite
@pytest.mark.parametrize(
    "name",
    [
        *("no.js", "coupon+no.js", "+coupon.js", "coupon+.js", "coupon++claim.js", "../wsgi.js", "Coupon.js"),
        *("coupon.js.js", "coupon%2Fclaim.js", "coupon+..%2Fclaim.js", ".js", "coupon%00.js", "style.css.js"),
    ],
)
def test_there_is_nothing_under_another_name(client, name):
    assert client.get(f"/static/{name}").status_code == 404


@on_sqlite
def test_a_script_is_kept_by_browsers_and_named_by_its_contents(client):
    page = client.get("/login").text
    address = re.search(r'"(/static/times\.js\?v=\w{10})"', page)[1]
    with client.get(address) as answer:
        assert answer.mimetype == "text/javascript"
        assert answer.cache_control.max_age == 300
        assert answer.data == served_script("times.js")
    with client.get("/static/style.css") as answer:
        assert answer.mimetype == "text/css"
