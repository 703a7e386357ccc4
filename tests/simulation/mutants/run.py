"""`make mutants`: run the simulation against every mutant, and say which it caught and after how many steps.

    python -m tests.simulation.mutants.run --steps 20000

The table goes to standard output, and its rows take the place of theirs in docs/reliability.md, one by one. The
command fails when one was not caught that is not named in NOT_CAUGHT.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from deploy.processes import ROOT
from tests.simulation.mutants import MUTANTS
from tests.simulation.mutants.mutant import Mutant

PAGE = ROOT / "docs" / "reliability.md"
MARKS = re.compile(r"(<!-- mutants -->\n).*(<!-- end of mutants -->)", re.DOTALL)
CHANGED = ("webapp", "jobs")
SHARED = ("deploy", "tests", "migrations", "templates", "static")
BROKEN = re.compile(r"broken after (\d+) steps, with seed (\d+): (.*)")
ROW = re.compile(r"^(\| (.+?) \| (?:not caught|[\d,]+ steps) \|.*)$", re.MULTILINE)
HEAD = ["| taken out | caught after | by |", "|---|---|---|"]
NOT_CAUGHT: dict[str, str] = {
    "a bell can live for long": "it takes a clock that goes back just while a bell is set and its job is lost; "
    "tests/sale/test_histories.py has that history",
    "a wait that is over goes on when the clock is put back": "it takes a clock that leaps within the wait, and is put "
    "back within it too; tests/sale/test_histories.py has that history",
    "a revocation replaces whatever stands there": "no promise hangs on it: a result that left Redis long after the "
    "end would come back",
    "standby is overtaken before Redis hears of a raise": "it takes a worker that dies before standby, then a raise "
    "that Redis does not hear of; tests/sale/test_histories.py has that history",
    "a receipt takes a number that somebody has": "the simulation reconciles SQL as soon as it is put back, so no two "
    "of its epochs give one number; tests/sale/test_histories.py has the history without that",
    "the head of a gate of another run is read": "20,000 steps are too few; STEPS=48000 catches it after 46,850",
    "a late settle puts a revoked coupon back": "20,000 steps are too few; STEPS=48000 catches it after 35,159",
    "the line takes the place of standby": "20,000 steps are too few; STEPS=48000 catches it after 27,830",
    "an epoch counts from one": "a second guard holds: what is known is not below the numbers of all epochs before",
    "reconcile trusts an epoch whose results SQL has forgotten": "the simulation reconciles SQL as soon as it is put "
    "back, and the gate's revision tells then; tests/sale/test_histories.py has the history in which it does not",
    "a file leaves the pool although its codes were given": "it takes an operator who takes out a file just while its "
    "codes go; tests/sale/test_pools.py has that history",
    "a revoked issue is not settled first": "a second guard holds: admission looks who was rejected",
}
"""The mutants that the simulation cannot catch, each with the reason."""


class Outcome(NamedTuple):
    mutant: Mutant
    steps: int | None
    words: str

    @property
    def line(self) -> str:
        after = "not caught" if self.steps is None else f"{self.steps:,} steps"
        return f"| {self.mutant.name} | {after} | {self.words} |"


def tried(mutant: Mutant, steps: int) -> Outcome:
    """Run the simulation on a copy of the product with the mutant in it."""
    with tempfile.TemporaryDirectory(prefix="fc-mutant-") as name:
        root = Path(name)
        for room in CHANGED:
            shutil.copytree(ROOT / room, root / room, ignore=shutil.ignore_patterns("__pycache__"))
        for room in SHARED:
            (root / room).symlink_to(ROOT / room)
        mutant.applied_to(root)
        command = [sys.executable, "-m", "tests.simulation.play", "--steps", str(steps), "--as-found"]
        ran = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if found := BROKEN.search(ran.stdout):
        return Outcome(mutant, int(found[1]), found[3].replace("|", "/")[:100])
    if ran.returncode:
        return Outcome(mutant, None, f"the simulation itself failed: {ran.stderr.strip()[-200:]}")
    return Outcome(mutant, None, NOT_CAUGHT.get(mutant.name, "why is not known"))


def write_page(outcomes: list[Outcome], steps: int) -> None:
    """Write the table between the marks: these rows anew, and those of the other mutants as they stand there."""
    page = PAGE.read_text()
    found = MARKS.search(page)
    rows = {name: line for line, name in ROW.findall(found[0] if found else "")} | {
        each.mutant.name: each.line for each in outcomes
    }
    lines = [rows[mutant.name] for mutant in MUTANTS if mutant.name in rows]
    caught = sum(" steps |" in line for line in lines)
    missing = f"; {len(MUTANTS) - len(lines)} more were not run" if len(lines) < len(MUTANTS) else ""
    words = f"`make mutants STEPS={steps}` caught {caught} of {len(lines)}, each from seed 1 on{missing}:"
    text = "\n".join([words, "", *HEAD, *lines, ""])
    PAGE.write_text(MARKS.sub(lambda marks: marks[1] + text + marks[2], page))


def main() -> None:
    parser = argparse.ArgumentParser(
        description="See that the simulation catches every guard that is taken out."
    )
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--only", default="", help="a part of the names of those to try")
    parser.add_argument("--at-once", type=int, default=2, help="how many to try at a time")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.name]
    outcomes = []
    with ThreadPoolExecutor(options.at_once) as threads:
        for outcome in threads.map(lambda each: tried(each, options.steps), chosen):
            print(outcome.line, flush=True)
            outcomes.append(outcome)
            write_page(outcomes, options.steps)
    missed = [outcome.mutant.name for outcome in outcomes if outcome.steps is None]
    if unknown := [name for name in missed if name not in NOT_CAUGHT]:
        raise SystemExit(f"{len(unknown)} of {len(chosen)} were not caught: {', '.join(unknown)}")


if __name__ == "__main__":
    main()
