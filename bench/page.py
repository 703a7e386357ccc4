"""The page docs/performance.md: the tables of each benchmark as text and as bar charts, between marks with its name."""

import re
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from bench.measure import Table
from deploy.processes import ROOT

PAGE = ROOT / "docs" / "performance.md"
CHARTS = ROOT / "docs" / "performance"
BAR, GAP, LABELS, WIDTH = 22, 8, 250, 720


def write(name: str, said: Sequence[Table | str]) -> None:
    """Replace the part of the page that is between `<!-- name -->` and `<!-- end of name -->`."""
    parts: list[str] = []
    for number, part in enumerate(said, 1):
        if isinstance(part, Table):
            chart = CHARTS / f"{name}-{number}.svg"
            chart.parent.mkdir(exist_ok=True)
            chart.write_text(bars(part))
            parts += [f"![{part.title}]({chart.relative_to(PAGE.parent)})", ""]
    text = "\n".join(line for part in said for line in (part.lines() if isinstance(part, Table) else [part]))
    parts += ["```", text.rstrip(), "```"]
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    _replace(PAGE, marks, "\n".join([*parts, ""]))


def bars(table: Table) -> str:
    """Draw the medians as bars, with their ranges as lines, in colours that can be read on white and on black."""
    most = max(max(row.values) for row in table.rows)
    scale = (WIDTH - LABELS - 90) / most
    height = 40 + len(table.rows) * (BAR + GAP)
    parts = [f'<text x="0" y="18" font-weight="bold">{escape(table.title)} ({escape(table.unit)})</text>']
    for number, row in enumerate(table.rows):
        y = 34 + number * (BAR + GAP)
        middle, end = y + BAR / 2, LABELS + row.median * scale
        low, high = (LABELS + value * scale for value in (min(row.values), max(row.values)))
        parts += [
            f'<text x="{LABELS - 8}" y="{middle + 5}" text-anchor="end">{escape(row.name)}</text>',
            f'<rect x="{LABELS}" y="{y}" width="{end - LABELS:.1f}" height="{BAR}" fill="#0b8f6a"/>',
            f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#d9822b" stroke-width="3"/>',
            f'<text x="{high + 8:.1f}" y="{middle + 5}">{row.median:,.0f}</text>',
        ]
    style = "text{font:14px system-ui,sans-serif;fill:#222}@media(prefers-color-scheme:dark){text{fill:#ddd}}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"><style>{style}</style>'
    return "\n".join([head, *parts, "</svg>", ""])


def _replace(page: Path, marks: re.Pattern[str], text: str) -> None:
    before = page.read_text()
    if not marks.search(before):
        raise SystemExit(f"{page} has no place for this benchmark")
    page.write_text(marks.sub(lambda found: found[1] + text + found[2], before))
