"""One mutant: its name says what is taken out, its edits say where."""

from pathlib import Path
from typing import NamedTuple


class Edit(NamedTuple):
    """A text that stands exactly once in a file, and what stands there in its place."""

    path: str
    old: str
    new: str


class Mutant(NamedTuple):
    name: str
    edits: tuple[Edit, ...]

    def applied_to(self, root: Path) -> None:
        """Change the files below `root`. Raises ValueError when a text does not stand there exactly once."""
        for path, old, new in self.edits:
            text = (root / path).read_text()
            if text.count(old) != 1:
                raise ValueError(f"{self.name}: stands {text.count(old)} times in {path}: {old}")
            (root / path).write_text(text.replace(old, new))


def mutant(name: str, *edits: tuple[str, str, str]) -> Mutant:
    return Mutant(name, tuple(Edit(*edit) for edit in edits))
