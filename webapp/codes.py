"""Coupon codes: 12 characters of Crockford's base 32, which people can type and read aloud (60 random bits)."""

import secrets

LENGTH = 12
ALPHABET = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BY_BYTE = bytes(ALPHABET[byte % 32] for byte in range(256))
_MISREAD = str.maketrans("OIL", "011", " -")


def new_codes(count: int) -> list[str]:
    """Return fresh codes from the operating system's random source; that they are unique, UNIQUE(code) sees to."""
    drawn = secrets.token_bytes(LENGTH * count).translate(_BY_BYTE).decode()
    return [drawn[start : start + LENGTH] for start in range(0, len(drawn), LENGTH)]


def grouped(code: str) -> str:
    """Return the code as it is shown: XXXX-XXXX-XXXX."""
    return "-".join(code[start : start + 4] for start in range(0, len(code), 4))


def normalised(typed: str) -> str:
    """Return a typed code as it is stored: upper case, no dashes or blanks, O read as 0, I and L as 1."""
    return typed.upper().translate(_MISREAD)
