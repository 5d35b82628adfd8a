"""`uvicorn main:app`: the manager as an ASGI application, for a developer's loop."""

from jelmore.bootstrap import make_app
from jelmore.logs import configure
from jelmore.settings import load_settings

_settings = load_settings()
configure(_settings.log_level, _settings.log_format)
app = make_app(_settings)
