"""What the command loads: its start is half of what a short command takes."""

import subprocess
import sys

_LOADED = (
    "import sys; from jelmore_client.cli import main\ntry:\n main()\nexcept SystemExit:\n pass\nprint(*sys.modules)"
)


def loaded(*words: str) -> set[str]:
    """Return the modules that a command has loaded by its end; there is no server."""
    address = "http://127.0.0.1:1"  # nothing listens on this port
    environment = {"JELMORE_URL": address, "JELMORE_API_KEY": "x"}
    code = f"{_LOADED.replace('main()', f'sys.argv = {["jelmore", *words]!r}; main()')}"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.split())


def test_a_synchronous_command_loads_no_event_loop_and_no_second_command_line() -> None:
    found = loaded("ls")
    assert "httpx" in found, "it has tried to connect"
    assert not found & {"asyncio", "click", "jelmore_client._async", "rich.markdown"}
