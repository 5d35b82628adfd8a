"""`python -m tests.support.manager_on_tcp`: a manager with the driver of `tcp_sandboxes`."""

import os
import sys

from jelmore import preload
from jelmore.logs import configure
from jelmore.serve import serve
from jelmore.settings import load_settings
from tests.support.tcp_sandboxes import GATEWAY_VARIABLE, TcpSandboxes


def main() -> int:
    """Serve until SIGTERM; return the exit status."""
    settings = load_settings()
    configure(settings.log_level, settings.log_format)
    root, search_path = settings.data_dir / "machines", os.environ.get("PATH", os.defpath)
    gateway = os.environ[GATEWAY_VARIABLE]
    return preload.run(lambda: serve(settings, TcpSandboxes(root, gateway=gateway, search_path=search_path)))


if __name__ == "__main__":
    sys.exit(main())
