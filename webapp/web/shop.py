"""The shop in whose name the pages speak: its name, its logo and its colour, from the settings."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Blueprint, Flask, Response, abort, current_app

from webapp.values.colours import on_dark, on_light, read_colour
from webapp.values.pictures import LOGO_BYTES, Logo, NoPicture, draw_logo
from webapp.web.pages.content import FOR_EVER

bp = Blueprint("shop", __name__)


@dataclass(frozen=True)
class Shop:
    """What pages show of the shop. `style` is a style sheet with its colour, and `logo` None without one."""

    name: str
    style: str | None
    logo: Logo | None

    @property
    def style_hash(self) -> str:
        return _hash((self.style or "").encode())

    @property
    def logo_hash(self) -> str:
        return _hash(self.logo.png if self.logo else b"")


def init_app(app: Flask) -> None:
    app.register_blueprint(bp)
    app.context_processor(lambda: {"shop": _shop()})


@cache
def read_shop(name: str, colour: str | None, logo: str | None) -> Shop:
    """Return the shop of these settings; a repeat is looked up. Raises ValueError, in words for who runs the site."""
    return Shop(name, _style(colour) if colour else None, _logo(Path(logo)) if logo else None)


@bp.get("/shop/<digest>.css")
def style(digest: str) -> Response:
    shop = _shop()
    return _for_ever(shop.style, "text/css; charset=utf-8", digest == shop.style_hash)


@bp.get("/shop/<digest>.png")
def logo(digest: str) -> Response:
    shop = _shop()
    return _for_ever(shop.logo and shop.logo.png, "image/png", digest == shop.logo_hash)


def _shop() -> Shop:
    settings = current_app.config
    return read_shop(settings["SHOP_NAME"], settings["SHOP_COLOUR"], settings["SHOP_LOGO"])


def _style(text: str) -> str:
    try:
        colour = read_colour(text)
        light, dark = on_light(colour), on_dark(colour)
    except ValueError as error:
        raise ValueError(f"SHOP_COLOUR: {error}") from error
    rules = [
        f":root{{--accent:{shades.accent};--accent-ink:{shades.accent_ink};--soft:{shades.soft}}}"
        for shades in (light, dark)
    ]
    return f"{rules[0]}@media (prefers-color-scheme:dark){{{rules[1]}}}"


def _logo(path: Path) -> Logo:
    try:
        with path.open("rb") as file:
            return draw_logo(file.read(LOGO_BYTES + 1))
    except OSError as error:
        raise ValueError(f"SHOP_LOGO: {path} cannot be read ({error.strerror})") from error
    except NoPicture as error:
        raise ValueError(
            f"SHOP_LOGO: {path} has to be a PNG, JPEG or WebP of up to 1 MB, 32 pixels high or more ({error.why})"
        ) from error


def _for_ever(body: str | bytes | None, kind: str, right: bool) -> Response:
    if not body or not right:
        abort(404)
    return Response(body, content_type=kind, headers={"Cache-Control": FOR_EVER})


def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:16]
