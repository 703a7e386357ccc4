"""The types of the columns. Times are UTC with microseconds, money is integer won."""

from datetime import UTC, datetime

from sqlalchemy import BigInteger, DateTime, Integer, String
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from webapp.values.emails import normalised_email

Id = BigInteger().with_variant(Integer, "sqlite")
"""64 bits on every database; SQLite numbers rows by itself only in a column of type INTEGER."""

NEVER_REUSED = {"sqlite_autoincrement": True}
"""Without this option SQLite gives the id of a deleted row to a new one, which inherits old sessions or an old line."""


class UTCDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored as UTC with microseconds on every database."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime]:
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Identifier(TypeDecorator[str]):
    """A text that names something, compared by every character. MySQL's own collations take é and E for e."""

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        if dialect.name in ("mysql", "mariadb"):
            exact = mysql.VARCHAR(self.length, charset="utf8mb4", collation="utf8mb4_bin")
            return dialect.type_descriptor(exact)
        return self.impl_instance


class EmailAddress(Identifier):
    """An e-mail address, in its one spelling when it is stored and when it is looked for."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else normalised_email(value)


def utcnow() -> datetime:
    return datetime.now(UTC)
