"""One colour of a shop, and what a page needs of it so that everybody can read it, on light and on dark.

Contrast is that of WCAG 2.2: 4.5 to 1 is the least for text.
"""

import re
from typing import NamedTuple

Colour = tuple[int, int, int]
HEX = re.compile(r"#?([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", re.IGNORECASE)
LEAST_CONTRAST = 4.5
WHITE: Colour = (255, 255, 255)
LIGHT_PAGE: Colour = (246, 247, 245)
DARK_CARD: Colour = (26, 33, 30)
"""--page of static/style.css in the light scheme, and --card in the dark one: what text in the colour stands on."""
SOFT_LIGHT, SOFT_DARK = 0.1, 0.2
"""How much of the colour is in the soft background behind text in the same colour."""
STEPS = 100


class Shades(NamedTuple):
    """A colour for text and buttons, the text on such a button, and the soft background of a text in the colour."""

    accent: str
    accent_ink: str
    soft: str


def read_colour(text: str) -> Colour:
    """Return red, green and blue of a colour such as #0b6b4f. Raises ValueError for every other text."""
    found = HEX.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:30]!r} is not a colour such as #0b6b4f")
    red, green, blue = (int(part, 16) for part in found.groups())
    return red, green, blue


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast of two colours, from 1 to 21."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def on_light(colour: Colour) -> Shades:
    """Return the shades for the light scheme. Raises ValueError, with a colour that does, when it is too light."""
    if not _is_legible_on_light(colour):
        darker = next(shade for shade in _towards(colour, (0, 0, 0)) if _is_legible_on_light(shade))
        raise ValueError(
            f"{written(colour)} is too light to be read: its least contrast in a page is "
            f"{min(contrast(colour, each) for each in _behind(colour)):.1f} to 1, and {LEAST_CONTRAST} is needed; "
            f"{written(darker)} has it"
        )
    return Shades(written(colour), written(WHITE), written(_mixed(WHITE, colour, SOFT_LIGHT)))


def on_dark(colour: Colour) -> Shades:
    """Return the shades for the dark scheme: the colour as light as it has to be, and the ink nearly black."""
    ink = _mixed((0, 0, 0), colour, SOFT_DARK)
    soft = _mixed(DARK_CARD, colour, SOFT_DARK)
    backgrounds = (DARK_CARD, soft, ink)
    lighter = next(shade for shade in _towards(colour, WHITE) if _is_legible(shade, backgrounds))
    return Shades(written(lighter), written(ink), written(soft))


def written(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _is_legible_on_light(colour: Colour) -> bool:
    return _is_legible(colour, _behind(colour))


def _behind(colour: Colour) -> tuple[Colour, ...]:
    return WHITE, LIGHT_PAGE, _mixed(WHITE, colour, SOFT_LIGHT)


def _is_legible(colour: Colour, backgrounds: tuple[Colour, ...]) -> bool:
    return all(contrast(colour, background) >= LEAST_CONTRAST for background in backgrounds)


def _towards(colour: Colour, end: Colour) -> list[Colour]:
    return [_mixed(colour, end, step / STEPS) for step in range(STEPS + 1)]


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _luminance(colour: Colour) -> float:
    red, green, blue = (_linear(part / 255) for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)
