"""Accounts: register, sign in, sign out, and who a signed session says that somebody is."""

import redis
from flask import (
    Blueprint,
    Response,
    abort,
    flash,
    g,
    jsonify,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask_babel import gettext
from flask_babel import lazy_gettext as _
from flask_login import AnonymousUserMixin, UserMixin, current_user, login_user, logout_user
from flask_wtf import FlaskForm
from flask_wtf.csrf import generate_csrf
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as WerkzeugResponse
from wtforms import EmailField, HiddenField, PasswordField, StringField
from wtforms.validators import DataRequired, Email, Length, ValidationError

from webapp import throttle
from webapp.emails import EMAIL_LENGTH, normalised_email
from webapp.errors import problem, status_of, wants_json
from webapp.extensions import db, login
from webapp.models import USER, User
from webapp.passwords import (
    LEAST_LENGTH,
    MOST_LENGTH,
    check_password,
    hash_password,
    is_guessed,
    normalised_password,
)
from webapp.sessions import EndedSessions, end_sessions, ended_sessions
from webapp.submissions import Sent, SentBefore, new_token, raise_if_sent_before, record
from webapp.texts import one_line

bp = Blueprint("accounts", __name__)

REGISTER, SIGN_IN = "accounts/register.html", "accounts/login.html"

# It would only mark a session as not fresh when the address changes, which nothing here asks for.
login.session_protection = None


class Visitor(UserMixin):  # type: ignore[misc]
    """Who the signed session says is here. No SQL is read to know it.

    The id in the session is `<user id>.<session epoch>.<o or u>`. Whatever ends the sessions of an account raises its
    session epoch, and a copied cookie is refused everywhere (`sessions.py`).
    """

    def __init__(self, user_id: int, session_epoch: int, is_operator: bool) -> None:
        self.id = user_id
        self.session_epoch = session_epoch
        self.is_operator = is_operator

    def get_id(self) -> str:
        return f"{self.id}.{self.session_epoch}.{'o' if self.is_operator else 'u'}"


def read_visitor(session_id: str) -> Visitor | None:
    """Return who the id of a session names, whether or not it has ended."""
    user_id, _dot, rest = session_id.partition(".")
    session_epoch, _dot, role = rest.partition(".")
    if not (user_id.isdecimal() and session_epoch.isdecimal()):
        return None
    return Visitor(int(user_id), int(session_epoch), role == "o")


def load_visitor(session_id: str, ended: EndedSessions | None = None) -> Visitor | None:
    """Return who the id of a session names, or None when it has ended; `ended` is what this process knows of it.

    Raises redis.RedisError when nobody can tell.
    """
    visitor = read_visitor(session_id)
    if visitor is None or (ended or ended_sessions()).has_ended(visitor.id, visitor.session_epoch):
        return None
    return visitor


@login.user_loader  # type: ignore[untyped-decorator]
def _load_visitor_of_page(session_id: str) -> Visitor | None:
    """Load the visitor for Flask-Login, by what SQL says when Redis is away; a session that ended names nobody."""
    try:
        visitor = load_visitor(session_id)
    except redis.RedisError:
        visitor = _load_by_sql(session_id)
    if visitor is None:
        session.pop(
            "_user_id", None
        )  # or it would be signed anew; the form of this page needs the CSRF secret
    return visitor


def _load_by_sql(session_id: str) -> Visitor | None:
    g._login_user = AnonymousUserMixin()  # for the page that says so, should SQL be away too
    visitor = read_visitor(session_id)
    if visitor is None:
        return None
    with db.engine.connect() as connection:
        counts = select(User.id).where(
            User.id == visitor.id, User.session_epoch == visitor.session_epoch, User.blocked_at.is_(None)
        )
        return visitor if connection.scalar(counts) else None


def visitor_of(user: User) -> Visitor:
    return Visitor(user.id, user.session_epoch, user.is_operator)


def signed_in_user() -> User | None:
    """Return the account behind the session as SQL knows it now, or None, and sign out, when it no longer counts.

    It is detached, and the SQL connection free for whatever the request does next.
    """
    if not current_user.is_authenticated:
        return None
    user = db.session.get(User, current_user.id)
    db.session.close()
    if user is None or user.blocked_at is not None or user.session_epoch != current_user.session_epoch:
        logout_user()
        return None
    return user


def personal_words(email: str, name: str) -> list[str]:
    """Return what somebody's password must not be: who they are, in whole and in parts."""
    local, _at, domain = (email or "").partition("@")
    return [email, local, domain, domain.partition(".")[0], name, *(name or "").split()]


class SignIn(FlaskForm):  # type: ignore[misc]
    email = EmailField(
        _("E-mail"),
        filters=[normalised_email],
        validators=[
            DataRequired(_("Enter your e-mail address.")),
            Length(max=EMAIL_LENGTH, message=_("This is too long.")),
        ],
    )
    password = PasswordField(
        _("Password"),
        validators=[
            DataRequired(_("Enter your password.")),
            Length(max=MOST_LENGTH, message=_("This is too long.")),
        ],
    )


class Register(FlaskForm):  # type: ignore[misc]
    email = EmailField(
        _("E-mail"),
        filters=[normalised_email],
        validators=[
            DataRequired(_("Enter your e-mail address.")),
            Length(max=EMAIL_LENGTH, message=_("This is too long.")),
            Email(_("This is not an e-mail address.")),
        ],
    )
    name = StringField(
        _("Name"),
        filters=[one_line],
        validators=[DataRequired(_("Enter your name.")), Length(max=100, message=_("This is too long."))],
    )
    password = PasswordField(
        _("Password"),
        filters=[normalised_password],
        validators=[
            DataRequired(_("Choose a password.")),
            Length(min=LEAST_LENGTH, message=_("Use at least 8 characters.")),
            Length(max=MOST_LENGTH, message=_("This is too long.")),
        ],
    )
    once = HiddenField(default=new_token)

    def sent(self) -> Sent:
        """Name this registration: another address, typed into the same page, is another one."""
        return Sent.of(None, {"page": self.once.data, "email": self.email.data})

    def validate_password(self, field: PasswordField) -> None:
        if is_guessed(field.data, *personal_words(self.email.data, self.name.data)):
            raise ValidationError(
                gettext("This is one of the first passwords that are guessed. Choose another.")
            )


@bp.route("/register", methods=["GET", "POST"])
def register() -> str | WerkzeugResponse:
    form = Register(_sent())
    if request.method != "POST":
        return render_template(REGISTER, form=form)
    if not form.validate():
        return _refused(REGISTER, form, "invalid")
    if wait_s := throttle.begin_registration():
        words = gettext(
            "Too many new accounts from your network. Try again in %(minutes)s min.", minutes=-(-wait_s // 60)
        )
        return _held_up(REGISTER, form, words, wait_s)
    password_hash = hash_password(form.password.data)
    user = User(email=form.email.data, name=form.name.data, password_hash=password_hash, role=USER)
    try:
        db.session.add(user)
        db.session.flush()
        record(db.session.connection(), form.sent(), user.id)
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        if made := _made_by(form):
            return _enter(made)
        form.email.errors = [gettext("This e-mail address has an account already. Sign in instead.")]
        return _refused(REGISTER, form, "email_taken")
    return _enter(user)


@bp.route("/login", methods=["GET", "POST"], endpoint="login")
def sign_in() -> str | WerkzeugResponse:
    form = SignIn(_sent())
    if request.method != "POST":
        return render_template(SIGN_IN, form=form)
    if not form.validate():
        return _refused(SIGN_IN, form, "invalid")
    if wait_s := throttle.begin_sign_in():
        words = gettext("Too many sign-ins from your network. Try again in %(seconds)s s.", seconds=wait_s)
        return _held_up(SIGN_IN, form, words, wait_s)
    user = _account(form.email.data)
    if wait_s := throttle.begin_try(user, form.email.data):
        words = gettext("Too many wrong passwords. Try again in %(seconds)s s.", seconds=wait_s)
        return _held_up(SIGN_IN, form, words, wait_s)
    if not check_password(user.password_hash if user else None, form.password.data) or user is None:
        form.password.errors = [gettext("The e-mail address or the password is wrong.")]
        return _refused(SIGN_IN, form, "wrong_credentials")
    throttle.forget_tries(user, form.email.data)
    if user.blocked_at is not None:
        form.email.errors = [gettext("This account is blocked. Please ask our support.")]
        return _refused(SIGN_IN, form, "forbidden")
    return _enter(user)


@bp.post("/logout")
def logout() -> WerkzeugResponse:
    """Sign out everywhere: every session of the account ends, on this device and on others."""
    user = signed_in_user()
    if user is not None:
        end_sessions(user.id)
    logout_user()
    session.clear()
    flash(gettext("You are signed out on all devices."))
    return redirect(url_for("coupons.index"), 303)


def safe_next(target: str | None) -> str:
    """Return the address to go on to: a path of ours, else the list of coupons."""
    target = target or ""
    # Browsers read a backslash as a slash and skip control characters, and two slashes begin another host.
    if target.startswith("/") and target.isprintable() and not target.replace("\\", "/").startswith("//"):
        return target
    return url_for("coupons.index")


def _sent() -> MultiDict[str, str]:
    """Return the fields, sent as a form or as a JSON object; what is no text counts as not sent."""
    if not request.is_json:
        return request.form
    try:
        body = request.get_json()
    except RecursionError:
        abort(400)
    if not isinstance(body, dict):
        abort(400)
    # JSON can name half characters, which no database takes; a form cannot.
    texts = {name: text for name, text in body.items() if isinstance(text, str)}
    return MultiDict({name: text.encode(errors="replace").decode() for name, text in texts.items()})


def _made_by(form: Register) -> User | None:
    """Return the account that this very form made, a click before, and whose password it brings."""
    try:
        raise_if_sent_before(form.sent())
    except SentBefore as before:
        user = db.session.get(User, before.made_id)
        db.session.close()
        if user and not user.blocked_at and check_password(user.password_hash, form.password.data):
            return user
    return None


def _account(email: str) -> User | None:
    """Return the account, detached: no SQL connection waits while the password is checked."""
    user = db.session.scalar(select(User).where(User.email == email))
    db.session.close()
    return user


def _enter(user: User) -> WerkzeugResponse:
    """Begin a session of its own, with a CSRF secret that nobody knew before."""
    session.clear()
    g.pop("csrf_token", None)
    generate_csrf()
    session.permanent = True
    login_user(visitor_of(user))
    if wants_json():
        return jsonify(id=user.id, email=user.email, name=user.name)
    return redirect(safe_next(request.args.get("next")), 303)


def _held_up(template: str, form: FlaskForm, words: str, wait_s: int) -> Response:
    form.password.errors = [words]
    return _refused(template, form, "limited", retry_s=wait_s)


def _refused(template: str, form: FlaskForm, code: str, *, retry_s: int | None = None) -> Response:
    """Answer with what is wrong in which field; the page keeps what was typed, except for the password."""
    if wants_json():
        errors = {field: [str(text) for text in texts] for field, texts in form.errors.items()}
        return problem(code, retry_ms=None if retry_s is None else retry_s * 1000, errors=errors)
    response = Response(render_template(template, form=form), status_of(code))
    if retry_s is not None:
        response.headers["Retry-After"] = str(retry_s)
    return response
