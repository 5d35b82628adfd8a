"""`uvicorn main:app`: the manager as an ASGI application, for a developer's loop."""

import os
import signal

from jelmore.bootstrap import make_app
from jelmore.drivers.paths import RunPaths
from jelmore.logs import configure
from jelmore.serve import claim_slot
from jelmore.settings import load_settings

_settings = load_settings()
configure(_settings.log_level, _settings.log_format)
_paths = RunPaths(_settings.run_dir)
_paths.prepare()
_slot, _lock = claim_slot(_paths, _settings.manager_slot)  # held until the process ends: no two have one slot
app = make_app(_settings, _slot, on_failure=lambda: os.kill(os.getpid(), signal.SIGTERM))
