"""An MCP server on stdio with one tool, `order`, that asks the user for a size before it answers.

An argument is the schema of another form, as JSON.
"""

import json
import sys
from typing import Any

SCHEMA = {"type": "object", "properties": {"size": {"type": "string"}}, "required": ["size"]}
ASKED = json.loads(sys.argv[1]) if len(sys.argv) > 1 else SCHEMA
TOOL = {"name": "order", "description": "Orders a shirt.", "inputSchema": {"type": "object", "properties": {}}}


def send(**message: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def result_of(method: str) -> dict[str, Any]:
    if method == "initialize":
        about = {"name": "ask", "version": "1"}
        return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": about}
    return {"tools": [TOOL]} if method == "tools/list" else {}


def main() -> None:
    waiting: Any = None  # the id of the tool call that waits for the user
    for line in sys.stdin:
        message = json.loads(line)
        method, identity = message.get("method"), message.get("id")
        if method == "tools/call":
            waiting = identity
            asked = {"message": "Which size?", "requestedSchema": ASKED}
            send(id="elicit-1", method="elicitation/create", params=asked)
        elif method is None and identity == "elicit-1":
            text = json.dumps(message.get("result", message.get("error")))
            send(id=waiting, result={"content": [{"type": "text", "text": text}]})
        elif identity is not None and method is not None:
            send(id=identity, result=result_of(method))


main()
