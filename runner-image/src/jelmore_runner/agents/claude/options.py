"""The options and the complete environment that Claude Code is started with. Nothing is inherited."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jelmore_protocol import MAX_FRAME_BYTES
from jelmore_protocol.control import AgentOptions
from jelmore_protocol.gateway import SANDBOX_ORIGIN
from jelmore_runner.agents.claude.mcp_config import write_mcp_config
from jelmore_runner.agents.claude.precedence import claude_command
from jelmore_runner.egress import proxy_environment
from jelmore_runner.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_agent_sdk import AgentDefinition, CanUseTool, ClaudeAgentOptions, HookMatcher, SessionStore
    from claude_agent_sdk.types import HookEvent

PLACEHOLDER_TOKEN: Final = "jelmore-session"  # noqa: S105 - not a credential; the forwarder replaces it
SESSION_MARK: Final = "JELMORE_SESSION"
FOLDER_MARK: Final = "CLAUDE_CONFIG_DIR"


@dataclass(frozen=True, slots=True)
class Launch:
    """The values that all starts of Claude Code in this run share."""

    settings: Settings
    session_id: str
    options: AgentOptions
    gateway_port: int
    egress_port: int = 0

    @property
    def directory(self) -> Path:
        """The working directory of the agent."""
        cwd = self.options.cwd
        return self.settings.workspace if cwd is None else self.place(cwd)

    def place(self, path: str) -> Path:
        """Return where a path of an option lies: in the workspace, or, if it is absolute, in the session's volume."""
        root, rest = self.settings.place(path)
        return root / rest

    @property
    def added_folders(self) -> list[str | Path]:
        """The folders of the options, and that of the deployment's skills."""
        wanted: list[str | Path] = [self.place(path) for path in self.options.add_dirs]
        return wanted if self.settings.skills is None else [*wanted, self.settings.skills]

    @property
    def marks(self) -> list[str]:
        """Environment entries (NAME=value) that only this session's processes have: its id and its config directory."""
        return [f"{name}={self.environment[name]}" for name in (SESSION_MARK, FOLDER_MARK)]

    def mcp_config(self) -> Path | None:
        """Write the configuration of MCP servers to a file that only the agent can read; None when there are none.

        Not an argument of the program: its headers may be secrets, and every process of the container sees those.
        """
        servers = {name: self._resolved(server) for name, server in self.options.mcp_servers.items()}
        return write_mcp_config(self.settings.home, servers)

    def _resolved(self, server: Any) -> Any:
        """Return a server's configuration with the forwarder's address in place of the gateway's name."""
        url = server.get("url") if isinstance(server, dict) else None
        if not isinstance(url, str) or not url.startswith(f"{SANDBOX_ORIGIN}/"):
            return server
        return {**server, "url": f"http://127.0.0.1:{self.gateway_port}{url.removeprefix(SANDBOX_ORIGIN)}"}

    @property
    def environment(self) -> dict[str, str]:
        """The agent's environment. Its tools inherit the mark, which is how leftover processes are found."""
        home = self.settings.home
        return {
            **proxy_environment(self.egress_port),
            "NPM_CONFIG_PREFIX": str(home / ".local"),
            **self.options.env,
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
            # Last, so that nothing that is installed there stands in for a program of the image.
            "PATH": f"{self.settings.path}:{home}/.local/bin",
            "TERM": "dumb",
            SESSION_MARK: self.session_id,
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
    store: "SessionStore",
) -> "ClaudeAgentOptions":
    """Return the SDK's options.

    Settings files of the repository count only as far as `setting_sources` says. Their hooks, and their rules that
    allow a tool without asking, need an option of their own. What they set in `env` never replaces Jelmore's values.
    """
    from claude_agent_sdk import ClaudeAgentOptions

    wanted = launch.options
    schema = wanted.output_schema
    return ClaudeAgentOptions(
        cli_path=claude_command(launch.settings),
        cwd=launch.directory,
        env=launch.environment,
        model=wanted.model,
        fallback_model=wanted.fallback_model,
        effort=wanted.effort,
        thinking=wanted.thinking.model_dump(exclude_none=True) if wanted.thinking else None,  # type: ignore[arg-type]  # a TypedDict
        permission_mode=start.permission_mode or wanted.permission_mode,  # type: ignore[arg-type]  # a mode that the CLI has reported
        tools=wanted.tools,
        allowed_tools=list(wanted.allowed_tools),
        disallowed_tools=list(wanted.disallowed_tools),
        system_prompt=_system_prompt(wanted, start),
        output_format=None if schema is None else {"type": "json_schema", "schema": schema},
        max_turns=wanted.max_turns,
        max_budget_usd=start.max_budget_usd,
        mcp_servers=launch.mcp_config() or {},
        strict_mcp_config=True,
        session_id=None if start.resume else start.conversation_id,
        resume=start.conversation_id if start.resume else None,
        setting_sources=list(wanted.setting_sources),
        settings=json.dumps(_settings(launch)),
        agents=_agents(wanted) or None,
        skills=wanted.skills,
        plugins=[{"type": "local", "path": str(launch.place(path))} for path in wanted.plugins],
        add_dirs=launch.added_folders,
        include_partial_messages=True,
        max_buffer_size=MAX_FRAME_BYTES,
        can_use_tool=can_use_tool,
        hooks=hooks,
        stderr=stderr,
        session_store=store,
        session_store_flush="eager",
        extra_args=_extra_arguments(launch),
    )


def _system_prompt(wanted: AgentOptions, start: Start) -> Any:
    """Return the system prompt. Claude Code must not send a recorded one in a conversation that is resumed.

    It would since 2.1.257 (`SystemPromptPreset.snapshot` of the SDK), whatever the prompt is by now.
    """
    recorded = {"snapshot": False} if start.resume else {}
    if wanted.system_prompt and wanted.system_prompt_mode == "replace":
        return {"type": "custom", "prompt": wanted.system_prompt, **recorded}
    append = {"append": wanted.system_prompt} if wanted.system_prompt else {}
    return {"type": "preset", "preset": "claude_code", **append, **recorded}


def _settings(launch: Launch) -> dict[str, Any]:
    """Return the settings with the highest priority below managed ones: they win over those of the repository."""
    rules = launch.options.settings.permissions.model_dump()
    return {"env": launch.environment, "permissions": {name: each for name, each in rules.items() if each}}


def _agents(wanted: AgentOptions) -> "dict[str, AgentDefinition]":
    from claude_agent_sdk import AgentDefinition

    return {
        name: AgentDefinition(
            description=each.description,
            prompt=each.prompt,
            tools=each.tools,
            disallowedTools=each.disallowed_tools,
            model=each.model,
            skills=each.skills,
            maxTurns=each.max_turns,
            effort=each.effort,
            background=each.background,
        )
        for name, each in wanted.agents.items()
    }


def _extra_arguments(launch: Launch) -> dict[str, str | None]:
    extra: dict[str, str | None] = {}
    if launch.settings.claude:
        # In a container, a session may switch to bypassPermissions at any time; outside, only when it is created.
        extra["allow-dangerously-skip-permissions"] = None
    if not launch.options.repository_hooks:
        # Hooks of the SDK are managed ones; those of the repository and of plugins are not.
        extra["managed-settings"] = json.dumps({"allowManagedHooksOnly": True})
    return extra
