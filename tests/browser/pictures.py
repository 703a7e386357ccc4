"""Pictures of pages, small enough to keep, when SCREENSHOTS_DIR says where; `make screenshots` takes them all."""

import io
import os
import re
import shutil
import sys
from collections import defaultdict
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from deploy.processes import ROOT
from tests.browser import jobs, jobs_of_a_sale
from tests.browser.pages import DESKTOP, PHONE

JOBS = jobs.JOBS | jobs_of_a_sale.JOBS
"""All jobs, in the order of docs/campaign.md."""


def slug(job: str) -> str:
    """Return the name of a job as it stands in the names of files."""
    return re.sub(r"\W+", "-", job.lower())


SIZES = {"phone": PHONE, "desktop": DESKTOP}
SCHEMES = ("light", "dark")
COLOURS = 32
"""Enough for flat colours and the edges of letters; a picture is about 8 KB then."""
KEPT = ROOT / "docs" / "pages"
IN_DOCUMENTS = {
    "en-phone-light": "scheduled open-now waiting issued",
    "ko-phone-light": "scheduled open-now too-early waiting more-ahead-than-left issued missed sold-out place-found "
    "connection-lost wallet till receipt-of-a-winner code-used",
    "ko-phone-dark": "waiting issued",
    "ko-desktop-light": "the-list operations operations-of-a-coupon code-to-check",
}
SHOWN = [f"{state}-{kind}" for kind, states in IN_DOCUMENTS.items() for state in states.split()]
"""The pictures of states that docs/pages keeps: README.md shows the first four, and the index there all of them."""
JOBS_SHOWN = [f"job-{job}-ko-{size}-light" for job in map(slug, JOBS) for size in SIZES]
"""The pictures of jobs that docs/pages keeps: docs/campaign.md shows them."""
MOST_HIGH = 1200
"""Pixels of a job's picture: what of a long page one reads without much scrolling."""
CAMPAIGN = ROOT / "docs" / "campaign.md"
MARKS = re.compile(r"(<!-- jobs -->\n).*(<!-- end of jobs -->)", re.DOTALL)
HEAD = ["| job | steps on a phone | on a desktop | when it is done |", "|---|---|---|---|"]
ROW = re.compile(r"^\| (?P<job>[^|]+) \| (?P<phone>\d+) \| (?P<desktop>\d+) \|", re.MULTILINE)
TAKEN = "Taken by `make screenshots`, which puts every state of every page into build/pages, and some into docs/pages."


def photograph(page: Page, name: str, scheme: str) -> None:
    """Keep pictures of the page at both sizes, as NAME-SIZE-SCHEME.webp."""
    if not (directory := os.environ.get("SCREENSHOTS_DIR")):
        return
    for size, viewport in SIZES.items():
        page.set_viewport_size(viewport)
        _keep(page, Path(directory) / f"{name}-{size}-{scheme}.webp")
    page.set_viewport_size(PHONE)


def _keep(page: Page, path: Path, most_high: int | None = None) -> None:
    taken = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    shown = taken.crop((0, 0, taken.width, min(taken.height, most_high or taken.height)))
    few = shown.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).convert("RGB")
    few.save(path, lossless=True, method=6)


def keep_job(page: Page, job: str, size: str, steps: int) -> bool:
    """Keep a picture of where a job ends, and the number of its steps; return whether pictures are taken at all."""
    directory = os.environ.get("SCREENSHOTS_DIR")
    if directory:
        _keep(page, Path(directory) / f"job-{slug(job)}-ko-{size}-light.webp", MOST_HIGH)
        (Path(directory) / f"{slug(job)}.{size}.steps").write_text(str(steps))
    return directory is not None


def told_steps(job: str, size: str) -> int:
    """Return how many steps docs/campaign.md tells of a job; 0 for one that it does not know."""
    rows = {row["job"]: row for row in ROW.finditer(CAMPAIGN.read_text())}
    return int(rows[job][size]) if job in rows else 0


def write_jobs(taken: Path) -> None:
    """Write the table of docs/campaign.md anew; a job that was not done keeps its numbers."""
    lines = [*HEAD, *(_row(job, taken) for job in JOBS), ""]
    written = MARKS.sub(lambda found: found[1] + "\n".join(lines) + found[2], CAMPAIGN.read_text())
    CAMPAIGN.write_text(written)


def _row(job: str, taken: Path) -> str:
    counted = {size: taken / f"{slug(job)}.{size}.steps" for size in SIZES}
    steps = [file.read_text() if file.exists() else told_steps(job, size) for size, file in counted.items()]
    pictures = [f"[{size}](pages/job-{slug(job)}-ko-{size}-light.webp)" for size in SIZES]
    return f"| {job} | {steps[0]} | {steps[1]} | {', '.join(pictures)} |"


def write_index(directory: Path) -> None:
    """Write README.md: a row for each state, with its pictures that are there."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(directory.glob("*.webp")):
        state, _language, _size, _scheme = path.stem.rsplit("-", 3)
        found[state].append(path.name)
    lines = ["# Pages", "", TAKEN, ""]
    for state, names in found.items():
        lines += [f"## {state.replace('-', ' ')}", "", *(_picture(name) for name in names), ""]
    (directory / "README.md").write_text("\n".join(lines))


def _picture(name: str) -> str:
    width = 220 if "-phone-" in name else 480
    return f'<a href="{name}"><img src="{name}" width="{width}" alt="{Path(name).stem}" loading="lazy"></a>'


def keep_shown(taken: Path) -> None:
    """Renew the pictures that the documents show from those that were taken, which may be a few of all."""
    for name in SHOWN + JOBS_SHOWN:
        if (picture := taken / f"{name}.webp").exists():
            shutil.copy(picture, KEPT)
    write_index(KEPT)


if __name__ == "__main__":
    keep_shown(Path(sys.argv[1]))
    write_jobs(Path(sys.argv[1]))
