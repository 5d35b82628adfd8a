"""The options and the complete environment that Claude Code is started with. Nothing is inherited."""

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

PLACEHOLDER_TOKEN: Final = "jelmore-session"  # noqa: S105 - not a credential; the forwarder replaces it
SESSION_MARK: Final = "JELMORE_SESSION"
FOLDER_MARK: Final = "CLAUDE_CONFIG_DIR"


@dataclass(frozen=True, slots=True)
class Launch:
    """The values that all starts of Claude Code in this run share."""

    settings: Settings
    init: Init
    gateway_port: int

    @property
    def marks(self) -> list[str]:
        """Environment entries (NAME=value) that only this session's processes have: its id and its config directory."""
        return [f"{name}={self.environment[name]}" for name in (SESSION_MARK, FOLDER_MARK)]

    @property
    def environment(self) -> dict[str, str]:
        """The agent's environment. Its tools inherit the mark, which is how leftover processes are found."""
        home = self.settings.home
        return {
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{self.gateway_port}",
            "ANTHROPIC_AUTH_TOKEN": PLACEHOLDER_TOKEN,
            FOLDER_MARK: str(home / ".claude"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            # Claude Code's maximum: six minutes of growing pauses while the gateway or the manager is unreachable.
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
    """The values that differ between starts of Claude Code."""

    conversation_id: str
    resume: bool
    permission_mode: str | None = None  # None: the mode in the options
    max_budget_usd: float | None = None


def build_options(
    launch: Launch,
    start: "Start",
    *,
    can_use_tool: "CanUseTool",
    hooks: "dict[HookEvent, list[HookMatcher]]",
    stderr: "Callable[[str], None]",
) -> "ClaudeAgentOptions":
    """Return the SDK's options. Settings files of repositories are ignored because they could run hooks."""
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
        permission_mode=start.permission_mode or wanted.permission_mode,  # type: ignore[arg-type]  # a mode that the CLI has reported
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
        # In a container, a session may switch to bypassPermissions at any time; outside, only when it is created.
        extra_args={"allow-dangerously-skip-permissions": None} if claude else {},
    )
