"""The turn before a session: what Claude Code must say before its process may get one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from claude_agent_sdk import ClaudeSDKClient, ResultMessage, SystemMessage

from jelmore_protocol.control import AgentOptions
from jelmore_runner.agents.claude.ahead import start_of
from jelmore_runner.agents.claude.connection import Connection
from jelmore_runner.agents.claude.options import Launch
from jelmore_runner.agents.claude.rehearsal import TURNS, Rehearsal, RehearsalError
from jelmore_runner.settings import Address, Settings

NOWHERE = Address.parse("unix:/nowhere")
ID = "0199aaaa-0000-7000-8000-000000000001"
PATIENCE_S = 5


def state(name: str) -> SystemMessage:
    return SystemMessage("session_state_changed", {"subtype": "session_state_changed", "state": name})


def result(*, is_error: bool = True, cost_usd: float = 0.0) -> ResultMessage:
    return ResultMessage(
        "success",
        duration_ms=1,
        duration_api_ms=0,
        is_error=is_error,
        num_turns=1,
        session_id=ID,
        total_cost_usd=cost_usd,
    )


EARLIER = SystemMessage("ui_invalidate", {"subtype": "ui_invalidate"})
TURN = [state("running"), SystemMessage("init", {"subtype": "init"}), result(), state("idle")]


class Client:
    """A client whose process says these messages, and takes the turn back as it should, or not."""

    def __init__(self, home: Path, said: list[Any], *, rewound: bool = True) -> None:
        self.said, self.rewound = [EARLIER, *said], rewound
        self.rehearsal: Rehearsal | None = None
        self.connection: Connection | None = None
        self.closed = False
        self.asked: list[dict[str, Any]] = []
        self._query = SimpleNamespace(_send_control_request=self.control, _last_error_result={"result": "refused"})
        self.transcript = home / ".claude" / "projects" / "-w" / f"{ID}.jsonl"
        self.transcript.parent.mkdir(parents=True)
        self.transcript.write_text('{"type": "user"}\n')

    async def query(self, prompt: AsyncIterator[dict[str, Any]]) -> None:
        self.asked += [each async for each in prompt]

    async def receive_messages(self) -> AsyncIterator[Any]:
        while self.said:
            yield self.said.pop(0)

    async def control(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        rehearsal = self.rehearsal if self.connection is None else self.connection.callbacks.rehearsal
        assert rehearsal is not None
        rehearsal.wrote([{"type": "last-prompt", "rewound": True, "cutUuid": "another"}])
        rehearsal.wrote([{"type": "last-prompt", "rewound": True, "cutUuid": request["target_message_uuid"]}])
        return {"rewound": self.rewound}

    async def disconnect(self) -> None:
        self.closed = True


async def rehearsed(client: Client, home: Path) -> list[Any]:
    client.rehearsal = Rehearsal(cast("ClaudeSDKClient", client), home, ID, None)
    async with asyncio.timeout(PATIENCE_S):
        return await client.rehearsal.run()


async def test_a_turn_that_failed_is_taken_back_and_its_transcript_removed(tmp_path: Path) -> None:
    client = Client(tmp_path, TURN * TURNS)
    assert await rehearsed(client, tmp_path) == [EARLIER]
    *prompts, rewind = client.asked
    assert len({prompt["uuid"] for prompt in prompts}) == TURNS
    assert (prompts[0]["uuid"], rewind["subtype"]) == (rewind["target_message_uuid"], "rewind_conversation")
    assert not client.transcript.exists()
    assert client._query._last_error_result is None, "the SDK would report it as why the session's process ended"


@pytest.mark.parametrize(
    ("said", "rewound", "words"),
    [
        ([state("running"), result(is_error=False), state("idle")], True, "a model has answered"),
        ([state("running"), result(cost_usd=0.1), state("idle")], True, "a model has answered"),
        ([state("running"), result()], True, "has ended"),
        ([state("running"), state("idle")], True, "has ended"),
        (TURN, True, "has ended"),
        (TURN * TURNS, False, "not taken back"),
    ],
)
async def test_a_process_that_may_have_kept_something_gets_no_session(
    tmp_path: Path, said: list[Any], rewound: bool, words: str
) -> None:
    with pytest.raises(RehearsalError, match=words):
        await rehearsed(Client(tmp_path, said, rewound=rewound), tmp_path)


async def test_a_transcript_in_another_place_is_not_forgotten(tmp_path: Path) -> None:
    client = Client(tmp_path, TURN * TURNS)
    client.transcript.rename(tmp_path / "elsewhere.jsonl")
    with pytest.raises(RehearsalError, match="not where"):
        await rehearsed(client, tmp_path)


async def test_nothing_of_a_rehearsal_that_failed_is_left_for_the_session_that_starts_its_own_process(
    tmp_path: Path,
) -> None:
    """Claude Code refuses an id that has a transcript, and the runner then resumes that conversation."""
    settings = Settings(NOWHERE, NOWHERE, NOWHERE, tmp_path, claude="/claude")
    launch = Launch(settings, ID, AgentOptions(), 1, 2)
    connection = Connection(launch, start_of(launch))
    client = Client(settings.home, [state("running")])
    connection._client = cast("ClaudeSDKClient", client)
    with pytest.raises(RehearsalError, match="has ended"):
        await connection.rehearse()
    assert client.transcript.exists()
    async with asyncio.timeout(PATIENCE_S):
        await connection.callbacks.append({"project_key": "-w", "session_id": ID}, [{"type": "user"}])
        await connection.discard()
        await connection.discard()
    assert not client.transcript.exists()
    assert client.closed


async def test_a_session_keeps_the_transcript_of_a_process_whose_rehearsal_went_well(tmp_path: Path) -> None:
    settings = Settings(NOWHERE, NOWHERE, NOWHERE, tmp_path, claude="/claude")
    launch = Launch(settings, ID, AgentOptions(), 1, 2)
    connection = Connection(launch, start_of(launch))
    client = Client(settings.home, TURN * TURNS)
    connection._client = cast("ClaudeSDKClient", client)
    client.connection = connection
    await connection.rehearse()
    client.transcript.write_text("of the session")
    await connection.discard()
    assert client.transcript.read_text() == "of the session"
