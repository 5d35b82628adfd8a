"""An editor sees a message while it is written: with the official client of the Agent Client Protocol."""

import asyncio
import os
from pathlib import Path

import acp

from tests.e2e.test_bridges import PATIENCE_S, Editor, command
from tests.support.stack_client import Api


async def test_an_editor_sees_a_message_while_it_is_written(local_api: Api, tmp_path: Path) -> None:
    editor = Editor(lambda *_: "Allow")
    environment = {**os.environ, "JELMORE_URL": local_api.stack.url, "JELMORE_API_KEY": local_api.stack.api_key}
    program, *arguments = command("acp")
    async with (
        asyncio.timeout(3 * PATIENCE_S),
        acp.spawn_agent_process(editor, program, *arguments, env=environment) as (agent, _),  # type: ignore[arg-type]
    ):
        await agent.initialize(protocol_version=acp.PROTOCOL_VERSION)
        session = await agent.new_session(cwd=str(tmp_path), mcp_servers=[])
        ended = await agent.prompt(
            session_id=session.session_id, prompt=[acp.text_block("demo> words 20 50\ndemo> say the end")]
        )
        assert ended.stop_reason == "end_turn"
    chunks = [each.content.text for each in editor.updates if each.session_update == "agent_message_chunk"]
    assert len(chunks) > 5, "the message comes in pieces"
    (stored,) = [
        each["data"]["text"]
        for each in (await local_api.http.get(f"/api/v1/sessions/{session.session_id}/output")).json()
        if each["kind"] == "said" and each["data"]["role"] == "assistant"
    ]
    assert "".join(chunks) == stored, "and nothing of it twice"
