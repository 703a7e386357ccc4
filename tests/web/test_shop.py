"""The name, the logo and the colour of the shop on every page, and the refusals to start with what cannot be shown."""

import os
import re
import subprocess
import sys

import pytest

from deploy.processes import ROOT
from tests.conftest import on_sqlite
from tests.values.test_pictures import drawn, file_of, opened
from webapp.web.shop import read_shop


@pytest.fixture
def logo(tmp_path):
    path = tmp_path / "logo.png"
    path.write_bytes(file_of(drawn((900, 300), "RGBA", (200, 0, 0, 0))))
    return str(path)


def served(client, pattern: str):
    address = re.search(pattern, client.get("/login").text)[1]
    answer = client.get(address)
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    return answer


@on_sqlite
def test_pages_speak_in_the_name_of_the_shop(changed, logo):
    client = changed(SHOP_NAME="<우리> 가게", SHOP_COLOUR="#7a1fa2", SHOP_LOGO=logo)
    page = client.get("/login").text
    assert "· &lt;우리&gt; 가게</title>" in page
    assert "FirstCome" not in page
    style = served(client, r'href="(/shop/\w+\.css)"')
    assert style.content_type == "text/css; charset=utf-8"
    assert "--accent:#7a1fa2" in style.text
    picture = served(client, r'src="(/shop/\w+\.png)"')
    assert picture.content_type == "image/png"
    assert opened(picture.data).size == (288, 96)
    assert opened(picture.data).getpixel((280, 90))[3] == 0
    assert 'width="84" height="28"' in page


@on_sqlite
def test_without_settings_it_is_ours(client):
    page = client.get("/login").text
    assert "· FirstCome</title>" in page
    assert "/shop/" not in page


@on_sqlite
def test_another_hash_is_nothing(client, changed):
    for each in (client, changed(SHOP_COLOUR="#7a1fa2")):
        for kind in ("css", "png"):
            assert each.get(f"/shop/0123456789abcdef.{kind}").status_code == 404


@pytest.mark.parametrize(
    ("colour", "file", "words"),
    [
        ("#ffee00", None, "SHOP_COLOUR: #ffee00 is too light to be read"),
        ("green", None, "SHOP_COLOUR: 'green' is not a colour"),
        (None, b"", "(empty)"),
        (None, b"<svg/>", "(svg)"),
        (None, b"GIF89a", "(kind)"),
        (None, file_of(drawn((900, 31))), "(tiny)"),
    ],
)
def test_what_cannot_be_shown_is_refused(tmp_path, colour, file, words):
    path = tmp_path / "logo.png"
    if file is not None:
        path.write_bytes(file)
    with pytest.raises(ValueError, match=re.escape(words)):
        read_shop("Shop", colour, None if file is None else str(path))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SHOP_COLOUR", "#ffee00", "SHOP_COLOUR"),
        ("SHOP_LOGO", "/nowhere.png", "SHOP_LOGO: /nowhere.png cannot be read"),
        ("SHOP_NAME", "x" * 31, "SHOP_NAME has to have 1 to 30 characters"),
    ],
)
def test_the_process_does_not_start_and_says_why_in_one_line(name, value, words):
    command = [sys.executable, "-m", "webapp.startup"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {name: value}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("firstcome: refusing to start: ")
    assert (words in done.stderr, done.stderr.count("\n")) == (True, 1)
