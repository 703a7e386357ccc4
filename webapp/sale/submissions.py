"""Forms that make something: the second sending of a form finds the first one's work, and makes nothing.

Each page with such a form carries a token of its own. The token is committed together with what the form makes, so two
clicks end at its unique key: in whichever processes, after a restart, and while the first is still on its way.
"""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

from sqlalchemy import Connection, insert, select

from webapp.models import Submission
from webapp.stores.sql import db

TOKEN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Sent:
    """A form as it was sent: the token of its page and a digest of its contents."""

    token: str
    digest: str

    @classmethod
    def of(cls, token: str | None, contents: Mapping[str, Any]) -> Self:
        """Describe what was sent. Contents without a token of ours are their own: sent twice, they are known too."""
        digest = sha256(json.dumps(contents, sort_keys=True, default=str).encode()).hexdigest()
        return cls(token if token and TOKEN.fullmatch(token) else digest[:32], digest)


class SentBefore(Exception):
    """The form has made something already: its id, and whether the contents were the same."""

    def __init__(self, made_id: int, *, same: bool) -> None:
        super().__init__(made_id)
        self.made_id = made_id
        self.same = same


def new_token() -> str:
    return secrets.token_hex(16)


def record(connection: Connection, sent: Sent, made_id: int) -> None:
    """Write down the id that the form makes, in the transaction that makes it. Raises IntegrityError at a repeat."""
    connection.execute(insert(Submission).values(token=sent.token, digest=sent.digest, made_id=made_id))


def raise_if_sent_before(sent: Sent) -> None:
    with db.engine.connect() as connection:
        found = connection.execute(select(Submission).where(Submission.token == sent.token)).one_or_none()
    if found is not None:
        raise SentBefore(found.made_id, same=found.digest == sent.digest)
