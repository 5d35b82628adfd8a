"""The message that gives a dormant runner its session. Pure."""

from dataclasses import dataclass, field
from typing import Any, Final

from jelmore.control.live_limits import output_limits
from jelmore.session.record import Session, Spec
from jelmore_protocol.control import DEFAULT_OUTPUT_LIMITS, AgentOptions, Init, InputRequest, OutputLimits, Prepare
from jelmore_protocol.setup import FEATURE, SetupOrder
from jelmore_protocol.transcripts import StoredTranscript

SETUP: Final = "setup"
"""Its name among the options of a session. It is the runner's, not Claude Code's."""

SETUP_WITHIN_S: Final = 600.0
"""How long a setup may take by default, in seconds."""

DEFAULT_SOURCES: Final = ("project",)
"""In the sandbox a repository's instructions count: CLAUDE.md, skills, agents and commands."""


@dataclass(frozen=True, slots=True)
class RunnerKeys:
    """What a runner verifies clients with, and what it shows to the gateway."""

    public_pem: str = field(repr=False)
    gateway_token: str = field(repr=False)


def init_of(
    session: Session,
    protocol: int,
    keys: RunnerKeys,
    default_output: OutputLimits | None,
    pause_at_usd: float | None = None,
    transcript: StoredTranscript | None = None,
    *,
    strict: bool = False,
    workspace_files: int = 0,
    setup_within_s: float = SETUP_WITHIN_S,
) -> Init:
    """Return the init of the session's present generation. Options that are not set are not sent.

    `pause_at_usd` is the spending at which a budget is used up, `transcript` what the database holds,
    `workspace_files` how many files the volume may hold (0: any number), `setup_within_s` how long a setup may take.
    A `strict` runner is of an image that refuses fields which it does not know: it gets none that only states a
    default.
    """
    spec = session.spec
    # Only for a session without output: if a volume is lost later, the first prompt must not run again.
    fresh = bool(spec.query) and session.output_seq == 0
    first = InputRequest(id=str(session.id), input=spec.query or "", by=session.owner) if fresh else None
    # Sent only when chosen: a runner of an earlier image refuses fields that it does not know.
    setup = setup_of(spec, setup_within_s)
    requires = [*([] if pause_at_usd is None else ["budget"]), *([] if setup is None else [FEATURE])]
    kept = _output_limits_of(session, default_output)
    return Init(
        **({} if kept is None else {"output_limits": kept}),
        **({} if pause_at_usd is None else {"pause_at_usd": pause_at_usd}),
        **({"requires": requires} if requires else {}),
        **({} if setup is None else {"setup": setup}),
        **({} if transcript is None else {"transcript": transcript}),
        **({"workspace_limit_files": workspace_files} if workspace_files and not strict else {}),
        **({"token_epoch": session.token_epoch} if session.token_epoch else {}),
        protocol=protocol,
        session_id=str(session.id),
        generation=session.generation,
        options=_options(spec, {} if strict else {"setting_sources": list(DEFAULT_SOURCES)}),
        token_public_key=keys.public_pem,
        gateway_token=keys.gateway_token,
        first_input=first,
        resume=session.generation > session.first_generation or transcript is not None,
        after=session.output_seq,
        workspace_limit_bytes=spec.limits.workspace_bytes,
    )


def prepare_of(session: Session, protocol: int) -> Prepare | None:
    """Return how the agent of such a session is started ahead; None when it should not be.

    An agent reads files and connects to servers when it starts. Where there are none yet, or none may be reached
    without the session, it would not be the agent that the session needs.
    """
    options = _options(session.spec, {"setting_sources": list(DEFAULT_SOURCES)})
    if options.mcp_servers or options.plugins or options.add_dirs or options.cwd is not None:
        return None
    if SETUP in session.spec.options:  # it may write what the agent reads when it starts
        return None
    if options.env:  # it may hold a secret, and a sandbox without a session holds none
        return None
    return Prepare(protocol=protocol, session_id=str(session.id), options=options)


def setup_of(spec: Spec, within_s: float) -> SetupOrder | None:
    """Return the setup that the session was created with. It is sent at each start: the volume knows whether it ran."""
    asked = spec.options.get(SETUP)
    return SetupOrder.model_validate({**asked, "within_s": within_s}) if isinstance(asked, dict) else None


def _output_limits_of(session: Session, default: OutputLimits | None) -> OutputLimits | None:
    """Return the session's limits of output; None for the runner's own."""
    chosen = output_limits(session.spec.limits)
    if chosen is None:
        return default
    return None if chosen == DEFAULT_OUTPUT_LIMITS else chosen


def _options(spec: Spec, defaults: dict[str, Any]) -> AgentOptions:
    further: dict[str, Any] = {**defaults, **spec.options}
    if spec.timing.answer_within_s:
        further["answer_within_s"] = spec.timing.answer_within_s
    if modes := (spec.bounds.get("ceiling") or {}).get("permission_modes"):
        further["permission_modes"] = list(modes)
    return AgentOptions.model_validate(
        {
            "model": spec.model,
            "permission_mode": spec.permission_mode,
            "allowed_tools": list(spec.allowed_tools),
            "system_prompt": spec.system_prompt,
            "max_turns": spec.max_turns,
            "max_budget_usd": spec.max_budget_usd,
            "mcp_servers": spec.mcp_servers,
            **further,
        }
    )
