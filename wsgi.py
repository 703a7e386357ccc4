from webapp import create_app
from webapp.startup import read_settings

read_settings()
app = create_app()
