"""The pages to register, to sign in and to sign out."""

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
from flask_login import login_user, logout_user
from flask_wtf import FlaskForm
from flask_wtf.csrf import generate_csrf
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as WerkzeugResponse
from wtforms import EmailField, HiddenField, PasswordField, StringField
from wtforms.validators import DataRequired, Email, Length, ValidationError

from webapp.accounts import throttle
from webapp.accounts.passwords import (
    LEAST_LENGTH,
    MOST_LENGTH,
    check_password,
    hash_password,
    is_guessed,
    normalised_password,
    personal_words,
)
from webapp.accounts.sessions import end_sessions
from webapp.accounts.visitor import signed_in_user, visitor_of
from webapp.models import NAME_LENGTH, USER, User
from webapp.sale.members import tell_account
from webapp.sale.submissions import Sent, SentBefore, new_token, raise_if_sent_before, record
from webapp.stores.sql import db
from webapp.values.emails import EMAIL_LENGTH, normalised_email
from webapp.values.texts import one_line
from webapp.web.addresses import safe_next
from webapp.web.errors import problem, status_of, wants_json
from webapp.web.rights import home_of

bp = Blueprint("accounts", __name__)

REGISTER, SIGN_IN = "accounts/register.html", "accounts/login.html"


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
        validators=[
            DataRequired(_("Enter your name.")),
            Length(max=NAME_LENGTH, message=_("This is too long.")),
        ],
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
        """Describe this registration. Another address in the same page is another registration."""
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
    # After the checks of the form, so that a typing mistake is not counted, and before the hash, which is costly.
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
        user_id = user.id
        record(db.session.connection(), form.sent(), user_id)
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        # The address is taken, perhaps by the first click of this very form.
        if made := _made_by(form):
            return _entered(made)
        form.email.errors = [gettext("This e-mail address has an account already. Sign in instead.")]
        return _refused(REGISTER, form, "email_taken")
    tell_account(user_id)
    return _entered(user)


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
    # A try is counted before its password is checked, or many at once would all pass.
    if wait_s := throttle.begin_try(user, form.email.data):
        words = gettext("Too many wrong passwords. Try again in %(seconds)s s.", seconds=wait_s)
        return _held_up(SIGN_IN, form, words, wait_s)
    # An unknown account costs a hash too, so that the time of the answer tells nothing.
    if not check_password(user.password_hash if user else None, form.password.data) or user is None:
        form.password.errors = [gettext("The e-mail address or the password is wrong.")]
        return _refused(SIGN_IN, form, "wrong_credentials")
    throttle.forget_tries(user, form.email.data)
    # Only a visitor with the password learns that the account is blocked.
    if user.blocked_at is not None:
        form.email.errors = [gettext("This account is blocked. Please ask our support.")]
        return _refused(SIGN_IN, form, "forbidden")
    return _entered(user)


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


def _sent() -> MultiDict[str, str]:
    """Return the fields, sent as a form or as a JSON object; values that are no texts count as not sent."""
    if not request.is_json:
        return request.form
    try:
        body = request.get_json()
    except RecursionError:  # brackets in brackets, thousands deep
        abort(400)
    if not isinstance(body, dict):
        abort(400)
    # JSON can carry lone surrogates, which no database takes; a form cannot.
    texts = {name: text for name, text in body.items() if isinstance(text, str)}
    return MultiDict({name: text.encode(errors="replace").decode() for name, text in texts.items()})


def _made_by(form: Register) -> User | None:
    """Return the account that an earlier click of this very form made, if the form brings its password."""
    try:
        raise_if_sent_before(form.sent())
    except SentBefore as before:
        user = db.session.get(User, before.made_id)
        db.session.close()
        # The token of the page alone signs nobody in.
        if user and not user.blocked_at and check_password(user.password_hash, form.password.data):
            return user
    return None


def _account(email: str) -> User | None:
    """Return the account, detached, so that no SQL connection waits while the password is checked."""
    user = db.session.scalar(select(User).where(User.email == email))
    db.session.close()
    return user


def enter(user: User) -> None:
    """Begin a new session, with a CSRF secret that nobody knew before."""
    session.clear()
    g.pop("csrf_token", None)
    generate_csrf()
    session.permanent = True
    login_user(visitor_of(user))


def _entered(user: User) -> WerkzeugResponse:
    """Let somebody in, and lead them to where they came from, else to where their role begins."""
    enter(user)
    if wants_json():
        return jsonify(id=user.id, email=user.email, name=user.name)
    return redirect(safe_next(request.args.get("next"), home_of(user.role)), 303)


def _held_up(template: str, form: FlaskForm, words: str, wait_s: int) -> Response:
    form.password.errors = [words]
    return _refused(template, form, "limited", retry_s=wait_s)


def _refused(template: str, form: FlaskForm, code: str, *, retry_s: int | None = None) -> Response:
    """Answer with the errors of each field; the page keeps the typed texts, except for the password."""
    if wants_json():
        errors = {field: [str(text) for text in texts] for field, texts in form.errors.items()}
        return problem(code, retry_ms=None if retry_s is None else retry_s * 1000, errors=errors)
    response = Response(render_template(template, form=form), status_of(code))
    if retry_s is not None:
        response.headers["Retry-After"] = str(retry_s)
    return response
