"""An example of each body that a request takes as JSON, by operation id. A test sends them all."""

from collections.abc import Mapping
from typing import Any, Final

EXAMPLES: Final[Mapping[str, Any]] = {
    "accept_invite": {"invite": "jli_vf5mY0xQ2kq7T3mBq1cYw8uJzN4eRHsA", "name": "Bob"},
    "answer_permission": {"decision": "allow", "remember": "session"},
    "change_live_settings": {"max_sessions": 10, "log_level": "info"},
    "change_mcp_server": {"enabled": False},
    "change_queued_input": {"input": "Correct the parser, and add a test."},
    "change_session": {"title": "the parser", "tags": ["backend"], "pinned": True},
    "change_webhook": {"enabled": False},
    "change_key": {"act_as": True},
    "commit_workspace": {"message": "Correct the parser", "author": {"name": "Ann", "email": "ann@example.com"}},
    "create_invite": {"role": "editor", "expires_in_s": 3600, "uses": 1},
    "create_key": {"name": "nightly pipeline", "role": "client", "expires_in_s": 2_592_000},
    "create_port_link": {"expires_in_s": 3600},
    "create_session": {"query": "What is in this folder?", "user_id": "ann", "metadata": {"ticket": 42}},
    "create_ticket": {"session_id": None},
    "create_webhook": {
        "url": "https://example.com/jelmore",
        "events": ["session.failed", "session.state_changed"],
        "waiting_for": ["permission", "question"],
    },
    "fork_session": {"title": "another way"},
    "join_session": {"name": "Ann"},
    "mark_read": {"output_seq": 1},
    "open_invite": {"invite": "jli_vf5mY0xQ2kq7T3mBq1cYw8uJzN4eRHsA", "name": "Bob"},
    "post_comment": {"text": "The second test still fails."},
    "push_workspace": {"branch": "jelmore/correct-the-parser", "credential": "bot"},
    "begin_authorization": {"route": "mcp/docs"},
    "finish_authorization": {"address": "https://jelmore.example.com/api/v1/authorizations/callback?code=c&state=s"},
    "put_credential": {"value": "the-token-of-the-server"},
    "put_route": {"url": "https://mcp.example.com/mcp", "credential": "github"},
    "renew_token": {"scopes": ["read"]},
    "rewind_session": {"to_seq": 120},
    "rotate_key": {"former_for_s": 86_400},
    "send_input": {"input": "Correct the parser, and add a test.", "id": "nightly-2026-01-31"},
    "set_budget": {"scope": "user", "subject": "ann", "period": "day", "limit_usd": 20},
    "subscribe_browser": {
        "endpoint": "https://push.example.com/send/abc",
        "keys": {
            "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            "auth": "BTBZMqHH6r4Tts7J_aSIgg",
        },
    },
}
