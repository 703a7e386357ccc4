"""The visitor: the identity that a signed session proves."""

import redis
from flask import g, session
from flask_login import AnonymousUserMixin, LoginManager, UserMixin, current_user, logout_user
from sqlalchemy import select

from webapp.accounts.sessions import EndedSessions, ended_sessions
from webapp.models import OPERATOR, OWNER, TILL, USER, VIEWER, User
from webapp.stores.sql import db

login = LoginManager()
LETTERS = {"u": USER, "w": OWNER, "o": OPERATOR, "t": TILL, "v": VIEWER}
"""The roles as the id of a session names them."""

# Flask-Login would mark a session as not fresh when the visitor's address changes; nothing here looks at that mark.
login.session_protection = None


class Visitor(UserMixin):  # type: ignore[misc]
    """The person whom the signed session names. It is known without SQL.

    The id in the session is `<user id>.<session epoch>.<letter of the role>`. An account whose sessions end gets a
    higher session epoch, so a copied cookie is refused everywhere (`webapp.accounts.sessions`). The role only chooses
    the links on pages for everybody; what somebody may do is asked of SQL (`webapp.web.admin.guard`).
    """

    def __init__(self, user_id: int, session_epoch: int, role: str) -> None:
        self.id = user_id
        self.session_epoch = session_epoch
        self.role = role

    def get_id(self) -> str:
        letter = next(letter for letter, role in LETTERS.items() if role == self.role)
        return f"{self.id}.{self.session_epoch}.{letter}"


def read_visitor(session_id: str) -> Visitor | None:
    """Return the visitor whom the id of a session names, whether or not it has ended; None for no such id."""
    user_id, _dot, rest = session_id.partition(".")
    session_epoch, _dot, letter = rest.partition(".")
    if not (user_id.isdecimal() and session_epoch.isdecimal()):
        return None
    return Visitor(int(user_id), int(session_epoch), LETTERS.get(letter, USER))


def load_visitor(session_id: str, ended: EndedSessions | None = None) -> Visitor | None:
    """Return the visitor whom the id of a session names, or None when the session has ended.

    `ended` are the ended sessions that this process knows, by default those of the current app. Raises redis.RedisError
    when it cannot know.
    """
    visitor = read_visitor(session_id)
    if visitor is None or (ended or ended_sessions()).has_ended(visitor.id, visitor.session_epoch):
        return None
    return visitor


@login.user_loader  # type: ignore[untyped-decorator]
def _load_visitor_of_page(session_id: str) -> Visitor | None:
    """Load the visitor for Flask-Login, from SQL when Redis is away. A session that ended names nobody."""
    try:
        visitor = load_visitor(session_id)
    except redis.RedisError:
        visitor = _load_by_sql(session_id)
    if visitor is None:
        # The id alone: the form of this page needs the CSRF secret that is beside it.
        session.pop("_user_id", None)
    return visitor


def _load_by_sql(session_id: str) -> Visitor | None:
    be_nobody()  # for the page that says "busy", if SQL is away too
    visitor = read_visitor(session_id)
    if visitor is None:
        return None
    with db.engine.connect() as connection:
        counts = select(User.id).where(
            User.id == visitor.id, User.session_epoch == visitor.session_epoch, User.blocked_at.is_(None)
        )
        return visitor if connection.scalar(counts) else None


def be_nobody() -> None:
    """Have the rest of this request be an anonymous visitor's, without a look at any store."""
    g._login_user = AnonymousUserMixin()


def visitor_of(user: User) -> Visitor:
    return Visitor(user.id, user.session_epoch, user.role)


def signed_in_user() -> User | None:
    """Return the visitor's account as SQL knows it now. If the session does not count any more, sign out; return None.

    The account is detached, and the request holds no SQL connection afterwards. Raises SQLAlchemyError.
    """
    if not current_user.is_authenticated:
        return None
    user = db.session.get(User, current_user.id)
    db.session.close()
    if user is None or user.blocked_at is not None or user.session_epoch != current_user.session_epoch:
        logout_user()
        return None
    return user
