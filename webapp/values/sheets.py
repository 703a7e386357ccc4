"""Files of one table, as people export them: CSV in UTF-8, UTF-16 or CP949, with commas, semicolons or tabs.

The whole file is decoded before its first row is read: a text in CP949 can look like UTF-8 for many lines.
"""

import csv
import io
import os
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import BinaryIO, NamedTuple, TextIO

from webapp.values.moments import SEOUL

MOST_BYTES = 128 * 1024 * 1024
"""A million addresses take 25 to 60 MB."""
PIECE = 256 * 1024
AT_ONCE = 500
"""Rows of a piece that is written: few enough that the first ones are sent at once."""
BOMS = ((BOM_UTF8, "utf-8-sig"), (BOM_UTF16_LE, "utf-16"), (BOM_UTF16_BE, "utf-16"))
OTHERS = ((b"PK\x03\x04", "excel"), (b"\xd0\xcf\x11\xe0", "excel"), (b"%PDF", "not_text"))
"""How files begin that are no tables in text, whatever their names say."""
SEPARATORS = ("\t", ";", ",")
ROUNDED = re.compile(r"\d([.,]\d+)?[eE]\+\d+", re.ASCII)
"""A long number as Excel shows it. Its last digits are gone when the file is saved."""
FORMULA = tuple("=+-@\t\r\n＝＋－＠")
"""How a cell begins that a table program would take for a formula."""
MONTH = r"(JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)[A-Z]*"
CHANGED = re.compile(
    rf"0\d+|\d{{12,}}|\d+E\d+|\d+([-/.:,]\d+)+|{MONTH}[-/. ]?\d+|\d+[-/. ]?{MONTH}([-/. ]?\d+)?",
    re.IGNORECASE | re.ASCII,
)
"""A text that a table program would take for a number or a date: it would lose zeros, or its last digits."""


class Unreadable(ValueError):
    """The whole file cannot be taken. `why` is one of its codes; `line` is where, if that is known."""

    def __init__(self, why: str, line: int | None = None) -> None:
        super().__init__(why if line is None else f"{why} in line {line}")
        self.why, self.line = why, line


class Row(NamedTuple):
    """The chosen cells of one row, and the line of the file in which it begins."""

    line: int
    cells: tuple[str, ...]
    columns: int


class Sheet:
    """A file whose whole text was decoded. `rows` reads it from the beginning; `share` says how far it has come."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.size = stream.seek(0, os.SEEK_END)
        self.encoding = encoding_of(stream, self.size)
        self.ends_with_a_line = True

    @property
    def share(self) -> float:
        return self.stream.tell() / self.size

    def rows(self, names: Mapping[str, tuple[str, ...]]) -> Iterator[Row]:
        """Yield the rows that are not empty. `names` are the columns that are wanted, each with how it may be called.

        Without a first line that names them, a file must have just these columns, in this order. Other columns are
        passed over where the first line names the wanted ones. Raises Unreadable.
        """
        self.stream.seek(0)
        text = io.TextIOWrapper(self.stream, self.encoding, newline="")
        separator = _separator(text)
        reader = csv.reader(self._lines(text), delimiter=separator, strict=True)
        take, begins = None, 1
        try:
            for row in reader:
                line, begins = begins, reader.line_num + 1
                cells = [cell.strip() for cell in row]
                if not any(cells):
                    continue
                if take is None:
                    take = _columns(cells, names)
                    if take.named:
                        continue
                yield Row(line, take.of(cells), len(cells) - take.others)
        except csv.Error as error:
            raise Unreadable("cut" if "unexpected end" in str(error) else "quotes", begins) from error
        finally:
            text.detach()

    def _lines(self, text: TextIO) -> Iterator[str]:
        line = "\n"
        for line in text:
            yield line
        self.ends_with_a_line = line.endswith(("\n", "\r"))


class _Columns(NamedTuple):
    at: tuple[int | None, ...]
    named: bool
    others: int

    def of(self, cells: list[str]) -> tuple[str, ...]:
        return tuple("" if at is None or at >= len(cells) else cells[at] for at in self.at)


def encoding_of(stream: BinaryIO, size: int) -> str:
    """Return the encoding in which the whole file is text. Raises Unreadable."""
    if size > MOST_BYTES:
        raise Unreadable("too_large")
    stream.seek(0)
    begins = stream.read(8)
    if not begins:
        raise Unreadable("empty")
    for magic, why in OTHERS:
        if begins.startswith(magic):
            raise Unreadable(why)
    for bom, encoding in BOMS:
        if begins.startswith(bom):
            if _is_text(stream, encoding):
                return encoding
            raise Unreadable("cut")
    for encoding in ("utf-8", "cp949"):
        if _is_text(stream, encoding):
            return encoding
    raise Unreadable("not_text")


def _is_text(stream: BinaryIO, encoding: str) -> bool:
    stream.seek(0)
    decoder = getincrementaldecoder(encoding)()
    try:
        while piece := stream.read(PIECE):
            if "\0" in decoder.decode(piece):
                return False
        decoder.decode(b"", True)
    except UnicodeDecodeError:
        return False
    return True


def _separator(text: TextIO) -> str:
    """Return what separates the cells of the first line. Most files here have one column, and none."""
    first = text.readline()
    text.seek(0)
    return next((each for each in SEPARATORS if each in first), ",")


def _columns(first: list[str], names: Mapping[str, tuple[str, ...]]) -> _Columns:
    """Find the wanted columns in the first row. Raises Unreadable for more columns than wanted, without names."""
    called = [re.sub(r"[\s_-]", "", cell).lower() for cell in first]
    at = tuple(
        next((place for place, name in enumerate(called) if name in aliases), None)
        for aliases in names.values()
    )
    if at[0] is not None:
        return _Columns(at, named=True, others=len(first) - sum(place is not None for place in at))
    if len(first) > len(names):
        raise Unreadable("columns", 1)
    return _Columns(tuple(range(len(names))), named=False, others=0)


class AsItIs(str):
    """A text of ours for a cell, such as a time, which a table program may take for what it is."""


def safe_cell(text: str) -> str:
    """Return a text for a cell of a file of ours, with an apostrophe where a table program would change it.

    It must not take the text for a formula, nor for a number or a date that it writes in another way.
    """
    if text[:1].isalpha() and not text[-1:].isdigit():
        return text  # nearly every one, and there may be millions
    begins = text.lstrip(" ")[:1] or text[:1]
    if begins in FORMULA or CHANGED.fullmatch(text):
        return f"'{text}"
    return text


def korean(moment: datetime) -> str:
    """Return a time as Korea's clock shows it, such that a table program takes it for a time."""
    return f"{moment.astimezone(SEOUL):%Y-%m-%d %H:%M:%S}"


def write_table(rows: Iterable[tuple[object, ...]]) -> Iterator[str]:
    """Yield a CSV that table programs read as UTF-8, some hundred rows at a time; its lines end with CR and LF."""
    left = iter(rows)
    begins = "\ufeff"
    while batch := list(islice(left, AT_ONCE)):
        piece = io.StringIO()
        piece.write(begins)
        csv.writer(piece).writerows(map(_cells, batch))
        yield piece.getvalue()
        begins = ""


def _cells(row: tuple[object, ...]) -> list[object]:
    # Written out here, because there may be millions of cells.
    return [
        safe_cell(cell) if type(cell) is str else korean(cell) if type(cell) is datetime else cell
        for cell in row
    ]
