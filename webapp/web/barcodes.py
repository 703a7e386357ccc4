"""Code 128, which the scanners of shops read. Libraries for it draw with inline styles, which our pages forbid."""

from collections.abc import Iterator

_TABLE = """
212222 222122 222221 121223 121322 131222 122213 122312 132212 221213 221312 231212 112232 122132 122231 113222 123122
123221 223211 221132 221231 213212 223112 312131 311222 321122 321221 312212 322112 322211 212123 212321 232121 111323
131123 131321 112313 132113 132311 211313 231113 231311 112133 112331 132131 113123 113321 133121 313121 211331 231131
213113 213311 213131 311123 311321 331121 312113 312311 332111 314111 221411 431111 111224 111422 121124 121421 141122
141221 112214 112412 122114 122411 142112 142211 241211 221114 413111 241112 134111 111242 121142 121241 114212 124112
124211 411212 421112 421211 212141 214121 412121 111143 111341 131141 114113 114311 411113 411311 113141 114131 311141
411131 211412 211214 211232 2331112
"""
_WIDTHS = _TABLE.split()
"""The widths of the bars and gaps of each symbol, in turn (ISO/IEC 15417)."""
_START_B, _STOP = 104, 106
QUIET = 10
"""The white on both sides that scanners need at least, in modules."""


def code128(text: str) -> tuple[list[tuple[int, int]], int]:
    """Return each bar as (where it begins, how wide it is), and the whole width with the white around it, in modules.

    The text has to be printable ASCII.
    """
    bars, at = [], QUIET
    for place, width in enumerate(map(int, "".join(_WIDTHS[symbol] for symbol in _symbols(text)))):
        if place % 2 == 0:
            bars.append((at, width))
        at += width
    return bars, at + QUIET


def _symbols(text: str) -> Iterator[int]:
    # A start symbol, one symbol a character, a checksum, and the stop symbol.
    values = [ord(character) - 32 for character in text]
    yield _START_B
    yield from values
    yield (_START_B + sum(place * value for place, value in enumerate(values, start=1))) % 103
    yield _STOP
