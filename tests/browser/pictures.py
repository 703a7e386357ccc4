"""Pictures of pages, small enough to keep, when SCREENSHOTS_DIR says where; `make screenshots` takes them all."""

import io
import os
from collections import defaultdict
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from tests.browser.pages import DESKTOP, PHONE

SIZES = {"phone": PHONE, "desktop": DESKTOP}
SCHEMES = ("light", "dark")
COLOURS = 32
"""Enough for flat colours and the edges of letters; a picture is about 8 KB then."""


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
    """Write README.md: a row for each state, with all of its pictures."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(directory.glob("*.webp")):
        state, _language, _size, _scheme = path.stem.rsplit("-", 3)
        found[state].append(path.name)
    lines = ["# Every state of every page", "", "Taken by `make screenshots`.", ""]
    for state, names in found.items():
        lines += [f"## {state.replace('-', ' ')}", "", *(_picture(name) for name in names), ""]
    (directory / "README.md").write_text("\n".join(lines))


def _picture(name: str) -> str:
    width = 220 if "-phone-" in name else 480
    return f'<a href="{name}"><img src="{name}" width="{width}" alt="{Path(name).stem}" loading="lazy"></a>'
