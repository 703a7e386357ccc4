"""What a pause says, in the words of a language."""

from datetime import UTC, datetime, timedelta

from flask_babel import force_locale, get_locale
from flask_babel import gettext as _

from webapp.sale.outcomes import LineStatus
from webapp.sale.pause_message import TEMPLATES, PauseMessage
from webapp.values.moments import SEOUL


def pause_json(line: LineStatus) -> dict[str, str] | None:
    """Return what polls hear of a pause, the same for everybody: its words in each language; None without a pause."""
    if line.pause is None:
        return None
    return {language: pause_words(line, language) for language in ("ko", "en")}


def pause_words(line: LineStatus, language: str | None = None) -> str:
    """Return the message of a pause and what it promises, a line each, "" for neither; in the visitor's language."""
    language = language or str(get_locale())
    if line.pause is None:
        return ""
    with force_locale(language):
        now = datetime.fromtimestamp(line.now_ms / 1000, UTC)
        told = (_message(line.pause, language), _promise(line.pause.promised_at, now))
        return "\n".join(text for text in told if text)


def _message(message: PauseMessage, language: str) -> str:
    own = (message.en or message.ko) if language == "en" else (message.ko or message.en)
    return own or str(TEMPLATES.get(message.template, ""))


def _promise(promised_at: datetime | None, now: datetime) -> str:
    """Return in words when it is to go on, and in how many hours and minutes; or that it takes longer than was said."""
    if promised_at is None:
        return ""
    clock = f"{promised_at.astimezone(SEOUL):%H:%M}"
    if promised_at <= now:
        return str(_("It takes longer than we said (%(clock)s). Sorry to keep you waiting.", clock=clock))
    hours, minutes = divmod(-((now - promised_at) // timedelta(minutes=1)), 60)
    if hours:
        left = {"hours": hours, "minutes": minutes}
        return str(
            _("It is planned to go on at %(clock)s (in %(hours)s h %(minutes)s min)", clock=clock, **left)
        )
    return str(_("It is planned to go on at %(clock)s (in %(minutes)s min)", clock=clock, minutes=minutes))
