"""Comparisons: subjects run in turns; medians, ranges, and the ratio to the reference."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Figures:
    """The figures of one subject, one of each round, in the unit of its table."""

    name: str
    values: list[float]

    @property
    def median(self) -> float:
        return median(self.values)


@dataclass(frozen=True)
class Table:
    """One comparison. The first row is the reference that every ratio is to."""

    title: str
    unit: str
    rows: list[Figures]

    def lines(self) -> list[str]:
        width = max(len(row.name) for row in self.rows)
        head = f"{'':{width}}  {'median':>10}  {'from':>10}  {'to':>10}  {'ratio':>6}"
        return [f"{self.title} ({self.unit})", head, *(self._line(row, width) for row in self.rows), ""]

    def _line(self, row: Figures, width: int) -> str:
        numbers = "  ".join(f"{value:>10,.0f}" for value in (row.median, min(row.values), max(row.values)))
        return f"{row.name:{width}}  {numbers}  {row.median / self.rows[0].median:>6.2f}"


def interleaved(subjects: Mapping[str, Callable[[], float]], *, rounds: int) -> list[Figures]:
    """Run every subject once a round, so that a slow minute of the machine slows all of them; return their figures.

    A first round warms up and is thrown away.
    """
    seen: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(rounds + 1):
        for name, run in subjects.items():
            value = run()
            if number:
                seen[name].append(value)
    return [Figures(name, values) for name, values in seen.items()]
