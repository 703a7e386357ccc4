"""The tables of what operators upload: files, the people and codes in them, and what is wrong with their lines."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.columns import Id, Identifier, UTCDateTime, utcnow
from webapp.models.issues import CODE_LENGTH
from webapp.stores.sql import Base
from webapp.values.emails import EMAIL_LENGTH

FILE_NAME_LENGTH = 100
KEY_LENGTH, GRADE_LENGTH = 64, 32
READING, CHECKED, REFUSED, COUNTED, WITHDRAWN = "reading", "checked", "refused", "counted", "withdrawn"
FAULT_LENGTH = 100


class Upload(Base):
    """A file that an operator has brought. What it names is kept with its id, and counts when its state is "counted".

    `coupon_id` is None for a file about accounts. No foreign key: its check would wait for the coupon's row.
    """

    __tablename__ = "uploads"
    __table_args__ = (Index("ix_uploads_coupon_id_state", "coupon_id", "state"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    coupon_id: Mapped[int | None] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(Identifier(10))
    state: Mapped[str] = mapped_column(Identifier(10), default=READING)
    file_name: Mapped[str] = mapped_column(String(FILE_NAME_LENGTH), default="")
    # A code of why the whole file was refused, and the line where, if that is known.
    why: Mapped[str | None] = mapped_column(Identifier(20))
    line: Mapped[int | None] = mapped_column(BigInteger)
    percent: Mapped[int] = mapped_column(default=0)
    good: Mapped[int] = mapped_column(BigInteger, default=0)
    duplicates: Mapped[int] = mapped_column(BigInteger, default=0)
    bad: Mapped[int] = mapped_column(BigInteger, default=0)
    warned: Mapped[int] = mapped_column(BigInteger, default=0)
    # How many of them have an account, when the file was checked.
    known: Mapped[int] = mapped_column(BigInteger, default=0)
    uploaded_by: Mapped[int | None] = mapped_column(BigInteger)
    counted_by: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    heard_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    counted_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class UploadFault(Base):
    """A line of an upload that is left out, or that is worth a look: a kind of `webapp.sale.uploads`, and its text."""

    __tablename__ = "upload_faults"
    __table_args__ = (Index("ix_upload_faults_upload_id_line", "upload_id", "line"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    upload_id: Mapped[int] = mapped_column(BigInteger)
    line: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(Identifier(20))
    text: Mapped[str] = mapped_column(String(FAULT_LENGTH))


class ListedPerson(Base):
    """Somebody whom an upload names: an e-mail address if there is an @ in it, else a member key of the shop."""

    __tablename__ = "listed_people"

    upload_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    identifier: Mapped[str] = mapped_column(Identifier(EMAIL_LENGTH), primary_key=True)


class Member(Base):
    """What the shop says of the owner of an e-mail address, with or without an account here: a key and a grade."""

    __tablename__ = "members"

    email: Mapped[str] = mapped_column(Identifier(EMAIL_LENGTH), primary_key=True)
    member_key: Mapped[str | None] = mapped_column(Identifier(KEY_LENGTH), unique=True)
    grade: Mapped[str | None] = mapped_column(Identifier(GRADE_LENGTH), index=True)


class StagedMember(Base):
    """A line of an upload about accounts, which does not count yet."""

    __tablename__ = "staged_members"

    upload_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    email: Mapped[str] = mapped_column(Identifier(EMAIL_LENGTH), primary_key=True)
    line: Mapped[int] = mapped_column(BigInteger)
    member_key: Mapped[str | None] = mapped_column(Identifier(KEY_LENGTH))
    grade: Mapped[str | None] = mapped_column(Identifier(GRADE_LENGTH))


class PoolCode(Base):
    """A code of a shop's own, by the line of its file. No other file can bring it, also once it is given."""

    __tablename__ = "pool_codes"

    upload_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    line: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(Identifier(CODE_LENGTH), unique=True)
