"""The WSGI app of a tampered web process: `gunicorn tests.faults.web:app`."""

from tests.faults.tampered import tamper
from webapp import create_app

tamper()
app = create_app()
