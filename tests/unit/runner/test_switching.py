"""The two users of a sandbox whose kernel has no ambient capabilities."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jelmore_runner.switching import DONE, as_agent

AS_AGENT = {"user": "agent", "group": "agent", "extra_groups": []}


@pytest.mark.parametrize(
    "args", [["/opt/jelmore/bin/agent", "cat"], "/opt/jelmore/bin/claude", (Path("/opt/jelmore/bin/claude"),)]
)
def test_a_wrapper_starts_as_the_agent_and_knows_it(args: Any) -> None:
    assert as_agent(args, {"A": "1"}, {"B": "2"}) == {**AS_AGENT, "env": {"A": "1", DONE: "1"}}
    assert as_agent(args, None, {"B": "2"}) == {**AS_AGENT, "env": {"B": "2", DONE: "1"}}


@pytest.mark.parametrize("args", [["git", "/opt/jelmore/bin/agent"], ["/tmp/opt/jelmore/bin/agent"], [], "agent"])
def test_any_other_program_starts_as_it_would_anyway(args: Any) -> None:
    assert as_agent(args, {"A": "1"}, {}) == {}


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
subprocess.run(["id"], user=65533, group=65533, extra_groups=[], check=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
