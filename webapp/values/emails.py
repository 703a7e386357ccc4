"""E-mail addresses: one spelling for each, however it is typed, pasted or stored in an old row.

`webapp.models.columns.EmailAddress` is the type of the column, so every stored and every sought address comes here.
"""

import re
from unicodedata import normalize

import idna

INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Characters that show nothing: control characters, and those that Unicode calls default ignorable."""
EMAIL_LENGTH = 254
NOWHERE = "accounts.invalid"
"""A domain that never exists, for the addresses of anonymised accounts."""


def normalised_email(text: str | None) -> str:
    """Return the one spelling of an address: NFKC, lower case, nothing invisible, the domain as people read it.

    Full-width letters, a letter with its accent apart and a domain as xn-- make the same address. Addresses that mail
    servers may tell apart stay apart: dots, the part after a plus, ß and ss, an i with its dot and without. A repeat
    changes nothing.
    """
    # NFKC can make invisible characters out of visible ones, so they are removed before and after it.
    text = INVISIBLE.sub("", normalize("NFKC", INVISIBLE.sub("", text or ""))).strip()
    local, at, domain = normalize("NFKC", text.lower()).rpartition("@")
    return f"{local}{at}{_normalised_domain(domain)}"


def _normalised_domain(domain: str) -> str:
    domain = domain.replace("。", ".").removesuffix(".")
    if domain.isascii() and "xn--" not in domain:
        return domain
    try:
        # To ASCII and back: so a domain typed as xn-- and the same one in Hangul end in one spelling.
        return idna.decode(idna.encode(domain, uts46=True))
    except UnicodeError:
        return domain
