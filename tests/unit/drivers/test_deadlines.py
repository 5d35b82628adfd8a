"""A caller's deadline is longer than the callee's: otherwise it reports "no answer" although one comes."""

from jelmore.drivers.runner_link import CALL_S, COMMAND_S, INIT_S
from jelmore_runner.agents.claude.agent import COMMAND_DEADLINE_S
from jelmore_runner.journal import DURABLE_DEADLINE_S


def test_the_manager_waits_longer_than_the_runner_does_for_claude_code() -> None:
    runner_s = COMMAND_DEADLINE_S * 2  # to begin the command and to end it
    assert runner_s + 5 < COMMAND_S
    assert runner_s + 5 < INIT_S


def test_the_manager_waits_longer_than_the_runner_does_for_its_disk() -> None:
    assert DURABLE_DEADLINE_S + 1 < CALL_S
