"""Pictures that people upload: drawn anew in two sizes, and whatever is none refused."""

import io
import random
import struct
import zlib

import pytest
from PIL import Image, ImageCms, ImageDraw
from PIL.PngImagePlugin import PngInfo

from webapp.values.pictures import (
    LARGE_BYTES,
    MOST_BYTES,
    SMALL_BYTES,
    NoPicture,
    draw,
    size_in,
)

SECRET = b"GPS 37.5665 126.9780"


def drawn(size=(1600, 800), mode="RGB", colour="orange") -> Image.Image:
    picture = Image.new(mode, size, colour)
    if mode != "P":
        ImageDraw.Draw(picture).ellipse((10, 10, size[0] // 2, size[1] // 2), fill=colour)
    return picture


def file_of(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def noise(size: tuple[int, int]) -> Image.Image:
    return Image.frombytes("RGB", size, random.Random(1).randbytes(size[0] * size[1] * 3))


def png_that_claims(width: int, height: int) -> bytes:
    """Return a PNG of some 100 bytes that says it has so many pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def exif() -> Image.Exif:
    made = Image.Exif()
    made[0x010E], made[0x0112] = SECRET.decode(), 6  # a description, and "turn me"
    return made


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_it_becomes_two_jpegs_within_their_sizes(kind):
    made = draw(file_of(drawn(), kind))
    small, large = opened(made.small), opened(made.large)
    assert (small.format, large.format) == ("JPEG", "JPEG")
    assert (small.size, large.size) == ((780, 390), (1200, 600))
    assert size_in(made.name) == large.size
    assert draw(file_of(drawn(), kind)) == made


@pytest.mark.parametrize("size", [(3000, 1500), (1500, 3000), (4000, 4000), (200, 200), (6000, 210)])
def test_the_noisiest_picture_keeps_within_the_bytes(size):
    made = draw(file_of(noise(size), "JPEG", quality=10))
    assert len(made.small) <= SMALL_BYTES
    assert len(made.large) <= LARGE_BYTES


def test_no_metadata_is_left_and_the_picture_stands_upright():
    about = PngInfo()
    about.add_text("Comment", SECRET.decode())
    for data in (
        file_of(drawn(), "JPEG", exif=exif(), comment=SECRET),
        file_of(drawn(), "WEBP", exif=exif(), xmp=SECRET),
        file_of(drawn(), "PNG", exif=exif(), pnginfo=about),
    ):
        assert SECRET in data
        made = draw(data)
        assert SECRET not in made.small + made.large
        assert not opened(made.large).getexif()
        assert opened(made.large).size == (600, 1200)


def test_what_is_transparent_is_white():
    for picture in (drawn(mode="RGBA", colour=(0, 0, 0, 0)), drawn(mode="LA", colour=(0, 0)), palette()):
        assert opened(draw(file_of(picture)).large).getpixel((600, 300)) == (255, 255, 255)


def palette() -> Image.Image:
    picture = drawn(mode="P", colour=0)
    picture.putpalette([0, 0, 0] * 256)
    picture.info["transparency"] = 0
    return picture


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "I;16"])
def test_every_mode_can_be_shown(mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    picture = Image.new(mode, (400, 400), (0, 0, 0, 0) if mode == "CMYK" else 30_000 if mode == "I;16" else 1)
    assert opened(draw(file_of(picture, kind)).large).mode == "RGB"


def test_colours_of_another_space_are_kept():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    assert draw(file_of(drawn(), "PNG", icc_profile=profile.tobytes())).name
    assert draw(file_of(drawn(), "PNG", icc_profile=b"nonsense")).name


REFUSED = {
    "empty": lambda: b"",
    "heavy": lambda: file_of(drawn(), "PNG") + b"\0" * MOST_BYTES,
    "svg": lambda: b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "heic": lambda: b"\0\0\0\x18ftypheic" + b"\0" * 100,
    "kind": lambda: file_of(drawn(), "GIF"),
    "kind (a text)": lambda: b"title,amount\n1,2\n" * 100,
    "kind (a zip)": lambda: b"PK\x03\x04" + b"\0" * 1000,
    "kind (a TIFF)": lambda: file_of(drawn(), "TIFF"),
    "broken": lambda: file_of(noise((600, 600)), "JPEG")[:20_000],
    "broken (PNG)": lambda: file_of(noise((600, 600)), "PNG")[:20_000],
    "pixels": lambda: png_that_claims(50_000, 50_000),
    "pixels (just)": lambda: png_that_claims(5001, 5000),
    "broken (a small lie)": lambda: png_that_claims(4000, 4000),
    "tiny": lambda: file_of(drawn((199, 900))),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_no_picture_is_refused(why):
    with pytest.raises(NoPicture) as refusal:
        draw(REFUSED[why]())
    assert refusal.value.why == why.split(" ")[0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_file_cut_anywhere_is_a_picture_or_refused(kind):
    whole = file_of(noise((220, 220)), kind)
    ends = range(0, len(whole), max(1, len(whole) // 60))
    assert {what_of(whole[:end]) for end in ends} <= {"a picture", "empty", "kind", "broken"}


def what_of(data: bytes) -> str:
    try:
        draw(data)
    except NoPicture as refusal:
        return refusal.why
    return "a picture"
