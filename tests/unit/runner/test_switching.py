"""The two users of a sandbox whose kernel has no ambient capabilities."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jelmore_runner.switching import as_agent

DOCKERFILE = (Path(__file__).parents[3] / "runner-image/Dockerfile").read_text(encoding="utf-8")
AS_AGENT = {"user": "agent", "group": "agent", "extra_groups": []}


@pytest.mark.parametrize(
    "args", [["/opt/jelmore/bin/agent", "cat"], "/opt/jelmore/bin/claude", (Path("/opt/jelmore/bin/claude"),)]
)
def test_a_wrapper_starts_as_the_agent(args: Any) -> None:
    assert as_agent(args) == AS_AGENT


@pytest.mark.parametrize("args", [["git", "/opt/jelmore/bin/agent"], ["/tmp/opt/jelmore/bin/agent"], [], "agent"])
def test_any_other_program_starts_as_it_would_anyway(args: Any) -> None:
    assert as_agent(args) == {}


def _wrapper(name: str) -> str:
    """Return the text of a wrapper, as the image is built with it."""
    [lines] = re.findall(rf"printf '%s\\n' ((?:(?!printf).)*) >/opt/jelmore/bin/{name} ", DOCKERFILE, re.DOTALL)
    return "\n".join(re.findall(r"'([^']*)'", lines))


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root may change to another user")
@pytest.mark.parametrize("user", [0, 1000])
def test_no_variable_keeps_a_wrapper_from_changing_to_the_agent(user: int) -> None:
    """Whoever starts it: `runner`, who has the capabilities, as root has them here, or the agent."""
    environment = {"PATH": os.environ["PATH"], "JELMORE_SWITCHED": "1", "JELMORE_RUNNER_SWITCHES": "1", "UID": "1000"}
    command = ["sh", "-c", _wrapper("agent"), "agent", "grep", "-E", "^(Uid|Gid|Groups|CapEff)", "/proc/self/status"]
    switch: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user else {}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True, **switch)
    status = dict(line.split(":", 1) for line in done.stdout.splitlines())
    assert (status["Uid"].split(), status["Gid"].split(), status["Groups"].split()) == (["1000"] * 4, ["1000"] * 4, [])
    assert int(status["CapEff"], 16) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change to another user")
def test_the_process_keeps_its_capabilities_and_its_children_have_none() -> None:
    code = """
import os, re, subprocess
from jelmore_runner import switching
switching.become("nobody")
status = open("/proc/self/status").read()
assert os.getresuid() == (65534,) * 3 and os.getresgid()[0] == 65534, (os.getresuid(), os.getresgid())
assert int(re.search(r"CapEff:\\s*(\\w+)", status)[1], 16) & 0x1e0 == 0x1e0, status
child = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
assert int(re.search(r"CapEff:\\s*(\\w+)", child)[1], 16) == 0, child
assert int(re.search(r"CapInh:\\s*(\\w+)", child)[1], 16) == 0, child
assert int(re.search(r"CapBnd:\\s*(\\w+)", child)[1], 16) == 0, child
subprocess.run(["id"], user=65533, group=65533, extra_groups=[], check=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
