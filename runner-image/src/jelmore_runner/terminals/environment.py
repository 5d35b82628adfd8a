"""The complete environment of a terminal's processes. Nothing is inherited."""

from jelmore_protocol.control import Init
from jelmore_runner.egress import proxy_environment
from jelmore_runner.settings import Settings

USER = "agent"
SESSION_MARK = "JELMORE_SESSION"
FOLDER_MARK = "CLAUDE_CONFIG_DIR"


def terminal_environment(settings: Settings, init: Init, egress_port: int) -> dict[str, str]:
    """Return what the agent's tools see too: the way out, the session's own variables, and the agent's home.

    With both marks, a terminal that its runner left behind is found and ended by the next runner.
    """
    home = settings.home
    return {
        **proxy_environment(egress_port),
        "NPM_CONFIG_PREFIX": str(home / ".local"),
        **init.options.env,
        FOLDER_MARK: str(home / ".claude"),
        "HOME": str(home),
        "USER": USER,
        "LOGNAME": USER,
        "LANG": "C.UTF-8",
        "PATH": f"{settings.path}:{home}/.local/bin",
        SESSION_MARK: init.session_id,
    }
