"""Pictures of pages, small enough to keep, when SCREENSHOTS_DIR says where; `make screenshots` takes them all."""

import io
import os
import shutil
import sys
from collections import defaultdict
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from deploy.processes import ROOT
from tests.browser.pages import DESKTOP, PHONE

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
"""The pictures that docs/pages keeps: README.md shows the first four, and the index there all of them."""
TAKEN = "Taken by `make screenshots`, which puts every state of every page into build/pages, and some into docs/pages."


def photograph(page: Page, name: str, scheme: str) -> None:
    """Keep pictures of the page at both sizes, as NAME-SIZE-SCHEME.webp."""
    if not (directory := os.environ.get("SCREENSHOTS_DIR")):
        return
    for size, viewport in SIZES.items():
        page.set_viewport_size(viewport)
        taken = Image.open(io.BytesIO(page.screenshot(full_page=True)))
        few = taken.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).convert("RGB")
        few.save(Path(directory) / f"{name}-{size}-{scheme}.webp", lossless=True, method=6)
    page.set_viewport_size(PHONE)


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
    for name in SHOWN:
        if (picture := taken / f"{name}.webp").exists():
            shutil.copy(picture, KEPT)
    write_index(KEPT)


if __name__ == "__main__":
    keep_shown(Path(sys.argv[1]))
