"""Texts as people type them: titles, names, reasons and figures in one line, descriptions in several.

Visible characters are kept. Control characters, characters that show nothing, and characters that turn the direction of
the text after them are removed.
"""

import re
from collections.abc import Iterator
from unicodedata import category, normalize

MOST_MARKS = 4
"""The most marks on one character, as Unicode's UTS #39 (5.4) advises; more would cover the neighbouring lines."""

SPACES = re.compile("[\u2800\u3164\uffa0]")
"""Characters that look like a space and are no space to Unicode: an empty Braille cell, the fillers of Hangul."""

INVISIBLE = (
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # control characters, but for those that are spaces
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # of direction
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200d\u2060-\u2065\u206a-\u206f\ufeff\ufff0-\ufffc"
    "\U00013430-\U00013440\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a"
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"  # tags, and code points that Unicode reserves for such
    "\ue000-\uf8ff\U000f0000-\U0010ffff"  # for private use
    "\ufdd0-\ufdef\ufffe\uffff\U0001fffe\U0001ffff\U0002fffe\U0002ffff\U0003fffe-\U000dffff"  # never characters
)
JOINERS = "\u200c\u200d"
JOINING = "\u0620-\u108f\u1780-\u17b3\u17b6-\u1cff\ua800-\uabff"
"""Letters whose form depends on a joiner: Arabic, Indic and their neighbours."""
PICTURES = "\u00a9\u00ae\u20e3\u2190-\u27ff\u2900-\u2bff\u3030-\u303d\u3297\u3299\ufe0f\U0001f000-\U0001faff"

SEEN = "|".join(
    [
        "\U0001f3f4[\U000e0030-\U000e007a]{2,6}\U000e007f",  # the flags of England, Scotland, Wales
        f"(?<=[{PICTURES}])\u200d(?=[{PICTURES}])",  # a family is one picture
        f"(?<=[{JOINING}])[{JOINERS}]",
    ]
)
UNSEEN = re.compile(f"({SEEN})|[{INVISIBLE}]")

NARROW = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}


def one_line(text: str | None) -> str:
    """Return the visible characters of the text, in NFC, with single spaces; "" when nothing can be seen.

    A repeat changes nothing. Raises UnicodeError for lone surrogates, which no database takes.
    """
    text = text or ""
    text.encode()  # raises for a lone surrogate
    text = UNSEEN.sub(r"\1", SPACES.sub(" ", text))
    # Marks are limited before NFC too: to sort ten thousand marks on one character takes it a second.
    text = normalize("NFC", "".join(_carried(text)))
    return " ".join("".join(_carried(text)).split())


def many_lines(text: str | None) -> str:
    """Return the visible characters of a text of several lines, each as `one_line` cleans it, indented as it was.

    Not more than one empty line in a row stays, and none at either end. A repeat changes nothing.
    """
    lines = [_indented(line) for line in re.split(r"\r\n|\r|\n", text or "")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def figures(text: str | None) -> str:
    """Return the text of a field for figures, with full-width characters of a Korean keyboard as ASCII."""
    return one_line(text).translate(NARROW)


def _indented(line: str) -> str:
    rest = one_line(line)
    return " " * (len(line) - len(line.lstrip(" "))) + rest if rest else ""


def _carried(text: str) -> Iterator[str]:
    """Yield the characters without marks and joiners that no character carries, and beyond MOST_MARKS on one."""
    room = 0
    for char in text:
        if category(char) not in ("Mn", "Me") and char not in JOINERS:
            room = 0 if char.isspace() else MOST_MARKS
        elif room:
            room -= 1
        else:
            continue
        yield char
