"""How Claude Code is started: its options and its whole environment, spelled out, nothing inherited."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jelmore_protocol import MAX_FRAME_BYTES
from jelmore_protocol.control import Init
from jelmore_runner.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_agent_sdk import CanUseTool, ClaudeAgentOptions, HookMatcher
    from claude_agent_sdk.types import HookEvent

PLACEHOLDER_TOKEN: Final = "jelmore-session"  # noqa: S105 - opens nothing; the forwarder puts the real one in its place
SESSION_MARK: Final = "JELMORE_SESSION"
FOLDER_MARK: Final = "CLAUDE_CONFIG_DIR"


@dataclass(frozen=True, slots=True)
class Launch:
    """What every start of Claude Code in this run has in common."""

    settings: Settings
    init: Init
    gateway_port: int

    @property
    def marks(self) -> list[str]:
        """What tells this session's processes from all others: its id and its own folder."""
        return [f"{name}={self.environment[name]}" for name in (SESSION_MARK, FOLDER_MARK)]

    @property
    def environment(self) -> dict[str, str]:
        """The agent's environment. The mark is inherited by its tools, so that leftovers can be found."""
        home = self.settings.home
        return {
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{self.gateway_port}",
            "ANTHROPIC_AUTH_TOKEN": PLACEHOLDER_TOKEN,
            FOLDER_MARK: str(home / ".claude"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            # Claude Code's most: six minutes of growing pauses while the gateway, or a manager behind it, is away.
            "CLAUDE_CODE_MAX_RETRIES": "15",
            "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS": "1",
            "DISABLE_AUTOUPDATER": "1",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PATH": self.settings.path,
            "TERM": "dumb",
            SESSION_MARK: self.init.session_id,
        }


@dataclass(frozen=True, slots=True)
class Start:
    """What one start of Claude Code has for itself."""

    conversation_id: str
    resume: bool
    permission_mode: str | None = None  # the current one, else that of the options
    max_budget_usd: float | None = None


def build_options(
    launch: Launch,
    start: "Start",
    *,
    can_use_tool: "CanUseTool",
    hooks: "dict[HookEvent, list[HookMatcher]]",
    stderr: "Callable[[str], None]",
) -> "ClaudeAgentOptions":
    """Return the SDK's options. Repository settings are ignored: they could run hooks of their own."""
    from claude_agent_sdk import ClaudeAgentOptions

    wanted = launch.init.options
    system_prompt: dict[str, Any] = {"type": "preset", "preset": "claude_code"}
    if wanted.system_prompt:
        system_prompt["append"] = wanted.system_prompt
    claude = launch.settings.claude
    return ClaudeAgentOptions(
        cli_path=Path(claude) if claude else None,
        cwd=launch.settings.workspace,
        env=launch.environment,
        model=wanted.model,
        permission_mode=start.permission_mode or wanted.permission_mode,  # type: ignore[arg-type]  # one it has reported
        allowed_tools=list(wanted.allowed_tools),
        system_prompt=system_prompt,  # type: ignore[arg-type]  # a TypedDict, built in two steps
        max_turns=wanted.max_turns,
        max_budget_usd=start.max_budget_usd,
        mcp_servers=dict(wanted.mcp_servers),
        strict_mcp_config=True,
        session_id=None if start.resume else start.conversation_id,
        resume=start.conversation_id if start.resume else None,
        setting_sources=[],
        include_partial_messages=True,
        verbatim_prompts=True,
        max_buffer_size=MAX_FRAME_BYTES,
        can_use_tool=can_use_tool,
        hooks=hooks,
        stderr=stderr,
        # In a container a session may change to bypassPermissions later; outside only when it is created.
        extra_args={"allow-dangerously-skip-permissions": None} if claude else {},
    )
