"""Which passwords are refused, how they are spelled, and how many hashes run at a time."""

import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest
from werkzeug.security import generate_password_hash

from tests.conftest import on_sqlite
from webapp.accounts import passwords
from webapp.accounts.passwords import TooManyHashes, check_password, hash_password, normalised_password

pytestmark = on_sqlite


class Held:
    """A hash that takes until it is let go."""

    def __init__(self) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()

    def __call__(self, *_: object) -> str:
        self.begun.set()
        assert self.let_go.wait(30)
        return "hash"


def hash_beside_another(app, monkeypatch) -> str:
    """Hash while another hash is held in the middle."""

    def in_thread() -> str:
        with app.app_context():
            return hash_password("the first")

    held = Held()
    monkeypatch.setattr(passwords, "WAIT_S", 0.0)
    monkeypatch.setattr(passwords, "generate_password_hash", held)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(in_thread)
        assert held.begun.wait(30)
        monkeypatch.setattr(passwords, "generate_password_hash", lambda *_: "the second hash")
        try:
            return hash_password("the second")
        finally:
            held.let_go.set()
            assert first.result(30) == "hash"


def test_with_one_slot_two_hashes_never_overlap(app, monkeypatch):
    app.config["HASHES_AT_ONCE"] = 1
    with pytest.raises(TooManyHashes):
        hash_beside_another(app, monkeypatch)
    assert hash_password("the slot is free again")


def test_the_control_with_two_slots_they_do(app, monkeypatch):
    app.config["HASHES_AT_ONCE"] = 2
    assert hash_beside_another(app, monkeypatch) == "the second hash"


def test_a_hash_that_fails_gives_its_slot_back(app, monkeypatch):
    app.config["HASHES_AT_ONCE"] = 1
    with monkeypatch.context() as patch:
        patch.setattr(passwords, "generate_password_hash", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            hash_password("x")
    monkeypatch.setattr(passwords, "WAIT_S", 0.0)
    assert hash_password("x")


def test_an_unknown_account_costs_one_hash_as_a_known_one_does(app, monkeypatch):
    costs = []

    def counted(*_: object) -> str:
        costs.append("hash")
        return "x"

    monkeypatch.setattr(passwords, "generate_password_hash", counted)
    monkeypatch.setattr(passwords, "check_password_hash", counted)
    assert passwords.check_password(None, "x") is False
    assert passwords.check_password(passwords.UNUSABLE, "x") is False
    passwords.check_password("scrypt:32768:8:3$x$y", "x")
    assert len(costs) == 3


# Spelling

SPELLINGS = [
    "비밀스러운 가을밤",
    "José's café 42",
    "ﬁrst ﬂoor, door ①",
    "ｆｕｌｌ　ｗｉｄｔｈ words",
    "K elvin Å ngström",
]


@pytest.mark.parametrize("password", SPELLINGS)
@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_a_password_is_the_same_however_the_keyboard_composed_it(app, cheap_hashes, password, form):
    typed = unicodedata.normalize(form, password)
    assert check_password(hash_password(password), typed)
    assert check_password(hash_password(typed), password)
    assert not check_password(hash_password(password), typed + "x")
    assert not check_password(hash_password(password), typed.upper() if typed.upper() != typed else typed[1:])


@pytest.mark.parametrize("password", SPELLINGS)
def test_a_hash_from_before_is_of_what_was_typed(app, cheap_hashes, password):
    typed = unicodedata.normalize("NFD", password)
    assert normalised_password(typed) != typed
    assert check_password(generate_password_hash(typed, passwords.METHOD), typed)


def test_an_unknown_account_costs_as_many_hashes_as_a_known_one(app, monkeypatch):
    costs = []
    monkeypatch.setattr(passwords, "generate_password_hash", lambda *_: costs.append("unknown"))
    monkeypatch.setattr(passwords, "check_password_hash", lambda *_: costs.append("known"))
    for password in ("plain words", "e\u0301 in two signs"):
        check_password(None, password)
        check_password("scrypt:1024:8:1$x$y", password)
    assert costs == ["unknown", "known", *["unknown"] * 2, *["known"] * 2]
