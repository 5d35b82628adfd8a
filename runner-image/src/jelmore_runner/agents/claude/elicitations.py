"""Turns the questions of MCP servers (elicitations) into pending requests of the conversation.

The SDK refuses them: its connection answers only control requests that it knows. So this module answers them in its
place, on the same connection. A test checks the pinned version.
"""

import json
from typing import TYPE_CHECKING, Any, Final

from jelmore_protocol.control import PermissionAnswer
from jelmore_runner.conversation import Conversation
from jelmore_runner.pending_requests import ELICITATION, Question
from jelmore_runner.serialize import plain

if TYPE_CHECKING:
    from claude_agent_sdk import ClaudeSDKClient

_SHOWN: Final = ("mcp_server_name", "message", "mode", "url", "requested_schema")


def install(client: "ClaudeSDKClient", session: Conversation) -> None:
    """Answer elicitations of a connected client. Called once, before the first prompt."""
    query: Any = client._query  # noqa: SLF001 - there is no public way
    handle = query._handle_control_request  # noqa: SLF001

    async def answer(request: dict[str, Any]) -> None:
        asked = request.get("request") or {}
        if asked.get("subtype") != "elicitation":
            await handle(request)
            return
        given = await session.requests.ask(question_of(asked))  # a withdrawn one is cancelled, and needs no response
        response = {"subtype": "success", "request_id": request["request_id"], "response": response_of(given)}
        await query.transport.write(json.dumps({"type": "control_response", "response": response}) + "\n")

    query._handle_control_request = answer  # noqa: SLF001


def question_of(asked: dict[str, Any]) -> Question:
    """Return the pending request for an elicitation. Its input has the schema of the form, or the URL to open."""
    shown = {name: plain(asked[name]) for name in _SHOWN if asked.get(name) is not None}
    title = str(asked.get("message") or f"{asked.get('mcp_server_name')} has a question")
    return Question(ELICITATION, shown, title, [])


def response_of(answer: PermissionAnswer) -> dict[str, Any]:
    """Return the response that the MCP server gets. The content of the form is the answer's `updated_input`."""
    if answer.decision == "deny":
        return {"action": "decline"}
    return {"action": "accept", "content": answer.updated_input or {}}
