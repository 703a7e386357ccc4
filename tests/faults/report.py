"""`make faults`: run every fault and every control, so many times over, and write what was seen as a table.

    python -m tests.faults.report --times 10

The table goes to standard output, and between the two marks in docs/reliability.md when every run passed.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deploy.processes import ROOT

PAGE = ROOT / "docs" / "reliability.md"
MARKS = re.compile(r"(<!-- faults -->\n).*(<!-- end of faults -->)", re.DOTALL)
HEAD = ["| fault | test | runs | passed | claims | processes killed |", "|---|---|---|---|---|---|"]


def table(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return one line for each test: how often it ran and passed, and what that took, all runs together."""
    seen: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        seen[row["test"]].append(row)
    return HEAD + [_line(test, runs) for test, runs in sorted(seen.items())]


def _line(test: str, runs: list[dict[str, Any]]) -> str:
    number, words = re.fullmatch(r"test_(?:(\d+)_)?(.*)", test).groups()  # type: ignore[union-attr]
    passed, claims, kills = (sum(run[name] for run in runs) for name in ("passed", "claims", "kills"))
    shown = [int(number) if number else "", words.replace("_", " "), len(runs), passed, f"{claims:,}", kills]
    return f"| {' | '.join(map(str, shown))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Break every part of FirstCome, and see that it holds.")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--log", type=Path, help="only make the table, from the log of runs that are over")
    options = parser.parse_args()
    log = options.log or Path(tempfile.mkstemp(prefix="fc-faults-")[1])
    ended = [] if options.log else [_run(log) for _ in range(options.times)]
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    lines = table(rows)
    print("\n".join(lines))
    if any(ended) or not rows or not all(row["passed"] for row in rows):
        raise SystemExit("not every run passed")
    PAGE.write_text(MARKS.sub(lambda found: found[1] + "\n".join([*lines, ""]) + found[2], PAGE.read_text()))


def _run(log: Path) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-m", "", "tests/faults"]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | {"FAULTS_LOG": str(log)}, check=False
    ).returncode


if __name__ == "__main__":
    main()
