"""Files as people export them: every encoding, every separator, and what is no table at all."""

import csv
import io
from datetime import UTC, datetime

import pytest

from webapp.values.sheets import AT_ONCE, MOST_BYTES, Sheet, Unreadable, write_table

ONE = {"email": ("email", "이메일")}
TWO = {"email": ("email",), "grade": ("grade", "등급")}
TEXT = "이메일\nkim@example.com\n김\n"


def rows(content: bytes, names=ONE):
    return [(row.line, *row.cells) for row in Sheet(io.BytesIO(content)).rows(names)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949"])
def test_a_file_is_read_in_the_encoding_of_whoever_saved_it(encoding):
    assert rows(TEXT.encode(encoding)) == [(2, "kim@example.com"), (3, "김")]


@pytest.mark.parametrize("order", ["le", "be"])
def test_utf_16_is_read_in_both_orders(order):
    mark = {"le": b"\xff\xfe", "be": b"\xfe\xff"}[order]
    assert rows(mark + TEXT.encode(f"utf-16-{order}")) == [(2, "kim@example.com"), (3, "김")]


def test_cp949_that_looks_like_utf_8_up_to_its_last_line_is_read_whole():
    begins = b"\xc2\xa1".decode("cp949")
    assert begins.encode("cp949").decode() == "\xa1"
    assert rows(f"{begins}\n힣\n".encode("cp949")) == [(1, begins), (2, "힣")]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_columns_are_found_by_their_names_and_others_passed_over(separator):
    lines = ["이름,등급,email", "김,VIP,kim@example.com", '"이, 순신",GOLD,lee@example.com']
    content = "\r\n".join(lines).replace(",", separator).replace(f"이{separator} 순신", "이, 순신")
    assert rows(content.encode(), TWO) == [(2, "kim@example.com", "VIP"), (3, "lee@example.com", "GOLD")]


def test_lines_are_counted_as_an_editor_counts_them():
    content = b'a@example.com\n\n"b\nc"\n"d""e"\n  \nf'
    assert rows(content) == [(1, "a@example.com"), (3, "b\nc"), (5, 'd"e'), (7, "f")]


@pytest.mark.parametrize(
    ("content", "why", "line"),
    [
        (b"", "empty", None),
        (b"PK\x03\x04 and more", "excel", None),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "excel", None),
        (b"%PDF-1.7", "not_text", None),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not_text", None),
        (b"a\x00b\n", "not_text", None),
        ("김".encode()[:-1] + b"\xff\n", "not_text", None),
        (b"\xff\xfea\x00\n\x00b", "cut", None),
        (b'a\n"b\nc\nd', "cut", 2),
        (b'a\n"b"c\n', "quotes", 2),
        (b"kim,kim@example.com\n", "columns", 1),
    ],
)
def test_what_is_no_table_is_refused_whole_with_the_place(content, why, line):
    with pytest.raises(Unreadable) as refused:
        rows(content)
    assert (refused.value.why, refused.value.line) == (why, line)


def test_a_file_of_two_gigabytes_is_refused_before_it_is_read():
    class Huge(io.BytesIO):
        def seek(self, _at, _whence=0):
            return 2 * 1024**3

        def read(self, _size=-1):
            raise AssertionError("it was read")

    with pytest.raises(Unreadable, match="too_large"):
        Sheet(Huge())
    assert MOST_BYTES < 1024**3


@pytest.mark.parametrize(("content", "ends"), [(b"a\nb\n", True), (b"a\nb\r", True), (b"a\nb", False)])
def test_a_last_line_without_its_end_is_noticed(content, ends):
    sheet = Sheet(io.BytesIO(content))
    assert len(list(sheet.rows(ONE))) == 2
    assert sheet.ends_with_a_line is ends


FORMULAS = [
    "=1+1",
    "+82",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "＋1",
    "－1",
    "＠A1",
    " =1",
    "  ＝1",
]
CHANGED = [
    "0017",
    "123456789012",
    "12E5",
    "1-2",
    "3/4",
    "10:30",
    "1.50",
    "2026-01-02",
    "MAR-21",
    "5may",
    "jan 2026",
]
LEFT = [
    "",
    "kim@example.com",
    "7KMQ-2345-XYZW",
    "12345",
    "김하늘",
    "MARY",
    "a=b",
    "010-12-가",
    "May",
    "'",
    " a",
    "0",
]


@pytest.mark.parametrize("cell", FORMULAS + CHANGED)
def test_no_cell_of_ours_is_a_formula_or_changed_by_a_table_program(cell):
    (row,) = csv.reader(io.StringIO("".join(write_table([(1, cell)])).removeprefix("\ufeff"), newline=""))
    assert row == ["1", f"'{cell}"]


@pytest.mark.parametrize("cell", LEFT)
def test_every_other_cell_stands_as_it_is(cell):
    (row,) = csv.reader(io.StringIO("".join(write_table([(1, cell)])).removeprefix("\ufeff"), newline=""))
    assert row == ["1", cell]


def test_a_table_is_written_in_pieces_for_excel_in_korea():
    at = datetime(2026, 12, 31, 15, 0, 0, 999_999, tzinfo=UTC)
    pieces = list(write_table((number, '가, "나"', at, None) for number in range(20_000)))
    assert len(pieces) == 20_000 / AT_ONCE
    lines = "".join(pieces).split("\r\n")
    assert lines[0] == '\ufeff0,"가, ""나""",2027-01-01 00:00:00,'
    assert (len(lines), lines[-1]) == (20_001, "")
