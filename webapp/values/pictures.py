"""Pictures that people upload, drawn anew: whatever a file carries besides its picture stays behind."""

from __future__ import annotations

import io
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_BYTES = 5 * 1024 * 1024
MOST_PIXELS = 25_000_000
"""What 100 MB of memory can hold, decoded. A file of a few bytes can claim a thousand times as many."""
LEAST_SIDE = 200
LARGE_SIDE, LARGE_BYTES = 1200, 250_000
SMALL_SIDE, SMALL_BYTES = 780, 60_000
"""The longest side and the most bytes of each size: for a desktop and links that are shared, and for a phone."""
KINDS = ("JPEG", "PNG", "WEBP")
LOGO_BYTES, LOGO_SIDES, LEAST_LOGO = 1024 * 1024, (480, 96), 32
QUALITIES = (82, 70, 55, 40)


class NoPicture(ValueError):
    """The file is none that can be shown; `why` is one of empty, heavy, svg, heic, kind, broken, pixels, tiny."""

    def __init__(self, why: str, size: tuple[int, int] = (0, 0)) -> None:
        super().__init__(why)
        self.why = why
        self.size = size


class Drawn(NamedTuple):
    """A picture in two sizes, as JPEG without metadata. The name is a hash of both and the size of the large one."""

    name: str
    small: bytes
    large: bytes


class Logo(NamedTuple):
    """A logo as PNG, up to 480 × 96, without metadata."""

    png: bytes
    width: int
    height: int


def draw(data: bytes) -> Drawn:
    """Decode a JPEG, PNG or WebP and encode it anew in two sizes; equal files become equal pictures.

    A file takes up to 0.5 s and 200 MB. Of an animation the first frame is taken. Raises NoPicture.
    """
    _refuse_at_sight(data, MOST_BYTES)
    whole = _on_white(_decoded(_opened(data, LEAST_SIDE)))
    large, size = _encoded(whole, LARGE_SIDE, LARGE_BYTES)
    small, _size = _encoded(whole, SMALL_SIDE, SMALL_BYTES)
    name = sha256(small + large).hexdigest()[:16]
    return Drawn(f"{name}-{size[0]}x{size[1]}", small, large)


def draw_logo(data: bytes) -> Logo:
    """Decode a JPEG, PNG or WebP of up to 1 MB and encode it anew; what is transparent stays so. Raises NoPicture."""
    _refuse_at_sight(data, LOGO_BYTES)
    picture = _decoded(_opened(data, LEAST_LOGO)).convert("RGBA")
    picture.info.clear()
    picture.thumbnail(LOGO_SIDES)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return Logo(file.getvalue(), *picture.size)


def size_in(name: str) -> tuple[int, int]:
    """Return the width and height of the large size, which the name of a picture says."""
    width, _x, height = name.rpartition("-")[2].partition("x")
    return int(width), int(height)


def _refuse_at_sight(data: bytes, most: int) -> None:
    if not data:
        raise NoPicture("empty")
    if len(data) > most:
        raise NoPicture("heavy")
    if b"<svg" in data[:4096].lower():
        raise NoPicture("svg")
    if data[4:8] == b"ftyp":
        raise NoPicture("heic")


def _opened(data: bytes, least: int) -> Image:
    """Return the picture, not yet decoded. Raises NoPicture for what is none, too many pixels, or too few."""
    # Pillow takes 3 MB of a process, and few processes ever need it.
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # the limit is ours, below: Pillow only warns at its own
    try:
        picture = Image.open(io.BytesIO(data), formats=KINDS)
    except UnidentifiedImageError:
        raise NoPicture("kind") from None
    except Exception:
        raise NoPicture("broken") from None
    if picture.width * picture.height > MOST_PIXELS:
        raise NoPicture("pixels", picture.size)
    if min(picture.size) < least:
        raise NoPicture("tiny", picture.size)
    return picture


def _decoded(picture: Image) -> Image:
    """Decode the picture as it is meant to be seen: upright, and in sRGB."""
    from PIL import ImageOps

    try:
        picture.draft("RGB", (2 * LARGE_SIDE, 2 * LARGE_SIDE))  # a JPEG is decoded no larger than is needed
        picture.load()
        return _in_srgb(ImageOps.exif_transpose(picture))
    except Exception:
        # Whatever a decoder stumbles over in a file is a fault of the file.
        raise NoPicture("broken") from None


def _on_white(picture: Image) -> Image:
    from PIL import Image

    if picture.has_transparency_data:
        seen = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    plain = picture.convert("RGB")
    plain.info.clear()  # or a comment would be written again
    return plain


def _in_srgb(picture: Image) -> Image:
    from PIL import ImageCms

    profile = picture.info.get("icc_profile")
    if not profile or picture.mode not in ("RGB", "CMYK"):
        return picture
    try:
        own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(picture, own, srgb, outputMode="RGB") or picture
    except (ImageCms.PyCMSError, OSError):
        return picture


def _encoded(whole: Image, side: int, most: int) -> tuple[bytes, tuple[int, int]]:
    """Return the picture within a square of that side and its size, as good as it can be within so many bytes."""
    while True:
        picture = whole.copy()
        picture.thumbnail((side, side))
        for quality in QUALITIES:
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=quality, optimize=True, progressive=True)
            if file.tell() <= most:
                return file.getvalue(), picture.size
        side = side * 4 // 5
