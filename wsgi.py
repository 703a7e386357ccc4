from webapp import create_app
from webapp.checks import read_settings

read_settings()
app = create_app()
