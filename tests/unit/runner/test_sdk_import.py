"""The SDK is imported without `mcp`, which costs most of the time and memory of its import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_IMPORT = "import sys; from jelmore_runner.agents.claude.sdk_import import import_sdk; import_sdk(); "


def _output(program: str, *search: Path) -> str:
    """Return what a new interpreter prints that imported the SDK and then runs `program`."""
    paths = os.pathsep.join([*map(str, search), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths}
    command = [sys.executable, "-P", "-c", _IMPORT + program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_mcp_is_not_imported_and_the_sdk_works() -> None:
    program = (
        "from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient; "
        "ClaudeSDKClient(ClaudeAgentOptions(model='m')); "
        "print([name for name in sys.modules if name.partition('.')[0].startswith('mcp')])"
    )
    assert _output(program) == "[]"


def test_a_later_import_of_mcp_gets_the_real_package() -> None:
    assert _output("import mcp.types; print('name' in mcp.types.Tool.model_fields)") == "True"


def test_a_second_import_changes_nothing() -> None:
    assert (
        _output(
            "first = sys.modules['claude_agent_sdk']; import_sdk(); import claude_agent_sdk; "
            "print(claude_agent_sdk is first)"
        )
        == "True"
    )


@pytest.mark.parametrize("needs", ["mcp.types.Tool.model_fields['name']", "mcp.ClientSession.initialize"])
def test_an_sdk_that_needs_more_of_mcp_gets_the_real_package(tmp_path: Path, needs: str) -> None:
    package = tmp_path / "claude_agent_sdk"
    package.mkdir()
    (package / "__init__.py").write_text(f"import mcp.types, sys\n{needs}\nreal = 'mcp.client' in sys.modules\n")
    assert _output("import claude_agent_sdk; print(claude_agent_sdk.real)", tmp_path) == "True"


def test_other_threads_may_import_meanwhile() -> None:
    """It ended the runner, now and then, when the control socket imported something in its own thread."""
    program = """
import threading
from jelmore_runner.agents.claude import sdk_import
sys.setswitchinterval(1e-6)
done = threading.Event()
def grow():
    number = 0
    while not done.is_set():
        number += 1
        sys.modules[f"grown{number % 5000}"] = sys
        sys.modules.pop(f"grown{(number + 2500) % 5000}", None)
growing = threading.Thread(target=grow)
growing.start()
try:
    for _ in range(500):
        sdk_import._forget("nothing")
finally:
    done.set()
    growing.join()
print("fine")
"""
    assert _output(f"exec({program!r})") == "fine"
