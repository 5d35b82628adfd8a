"""Profiles: named defaults and ceilings for the sessions of a deployment, and how a request combines with one.

A profile names the fields of a create. What it fixes cannot be overridden; what exceeds its ceiling is refused by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any, Final

from jelmore.session.errors import InvalidRequestError
from jelmore.session.network import same_network, width, within
from jelmore.session.sandbox_choice import AS_ALL, SandboxChoice

DEFAULT_NAME: Final = "default"
_VARIABLES: Final = ("CI", "TZ", "LANG", "LC_*", "NO_COLOR", "FORCE_COLOR", "NODE_ENV", "APP_*")


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most that sessions of a profile may ask for. None, or an unset number, sets no bound."""

    models: tuple[str, ...] | None = None  # patterns such as `claude-haiku-*`
    permission_modes: tuple[str, ...] | None = None
    tools: tuple[str, ...] | None = None
    setting_sources: tuple[str, ...] | None = None
    repository_hooks: bool = False
    repository_rules: bool = False
    setup: bool = True
    mcp_servers: tuple[str, ...] | None = None  # patterns of names
    env: tuple[str, ...] = _VARIABLES  # patterns of names
    network: str | None = None  # the widest mode
    max_turns: float | None = None
    max_budget_usd: float | None = None
    timeout_minutes: float | None = None
    lifetime_s: float | None = None
    memory_bytes: float | None = None
    cpus: float | None = None
    pids: float | None = None
    workspace_bytes: float | None = None
    output_bytes: float | None = None
    output_bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile. `defaults` and `fixed` have fields of a create, as JSON values."""

    name: str
    description: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    ceiling: Ceiling = Ceiling()
    pool: int | None = None  # how many sandboxes are kept ready for it; None: the deployment's size for the default one
    sandbox: SandboxChoice = AS_ALL

    def combine(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a create: the defaults, what was asked, what is fixed, and bounds for what is unset.

        Raises InvalidRequestError naming a fixed field that was asked for with another value.
        """
        for name in asked:
            if name in self.fixed and self._differs(name, asked[name]):
                raise InvalidRequestError(f"{name}: is fixed by the profile {self.name!r}")
        return {**self._bounds(), **self.defaults, **asked, **self.fixed}

    def _bounds(self) -> dict[str, Any]:
        """Return the ceiling's value of each field that would be unbounded when it is unset."""
        top = self.ceiling
        bounds: dict[str, Any] = {name: getattr(top, name) for name in _UNSET_IS_UNBOUNDED}
        bounds["max_turns"] = None if top.max_turns is None else int(top.max_turns)
        bounds["tools"] = None if top.tools is None else list(top.tools)
        if top.setting_sources is not None and "project" not in top.setting_sources:
            bounds["setting_sources"] = []
        return {name: value for name, value in bounds.items() if value is not None}

    def check_change(self, values: Mapping[str, Any]) -> None:
        """Raise InvalidRequestError naming a changed field that is fixed or above the ceiling."""
        for name, value in values.items():
            if name in self.fixed and self._differs(name, value):
                raise InvalidRequestError(f"{name}: is fixed by the profile {self.name!r}")
        self.check(values)

    def _differs(self, name: str, value: object) -> bool:
        if name == "network":
            return not same_network(value, self.fixed[name])
        return bool(value != self.fixed[name])

    def check(self, values: Mapping[str, Any]) -> None:
        """Raise InvalidRequestError naming a field that is above the ceiling. `values` are those that are set."""
        top = self.ceiling
        for name in ("model", "fallback_model"):
            self._one_of(name, values.get(name), top.models, needed=name == "model" and name in values)
        self._one_of("permission_mode", values.get("permission_mode"), top.permission_modes)
        self._all_of("tools", values.get("tools"), top.tools)
        self._all_of("allowed_tools", [_tool(rule) for rule in values.get("allowed_tools") or ()], top.tools)
        self._all_of("setting_sources", values.get("setting_sources"), top.setting_sources)
        self._all_of("mcp_servers", values.get("mcp_servers"), top.mcp_servers)
        self._all_of("env", values.get("env"), top.env)
        network = values.get("network") or {}
        mode = network if isinstance(network, str) else width(network)
        if not within(mode, top.network):
            raise self._refusal("network", f"must be at most {top.network}, is {mode}")
        for name, agent in (values.get("agents") or {}).items():
            self._one_of(f"agents.{name}.model", agent.get("model"), top.models)
            self._all_of(f"agents.{name}.tools", agent.get("tools"), top.tools)
        for name in ("repository_hooks", "repository_rules", "setup"):
            if values.get(name) and not getattr(top, name):
                raise self._refusal(name, "is not allowed")
        for name in (*_UNSET_IS_UNBOUNDED, "max_turns"):
            self._at_most(name, values.get(name), getattr(top, name))
        for name, value in (values.get("limits") or {}).items():
            self._at_most(name, value, getattr(top, name, None), shown=f"limits.{name}")

    def _one_of(self, name: str, value: object, allowed: Sequence[str] | None, *, needed: bool = False) -> None:
        if allowed is None or (value is None and not needed):
            return
        if not isinstance(value, str) or not _matches(value, allowed):
            raise self._refusal(name, f"must be one of {', '.join(allowed)}")

    def _all_of(self, name: str, values: Any, allowed: Sequence[str] | None) -> None:
        for value in values or () if allowed is not None else ():
            if not _matches(value, allowed or ()):
                raise self._refusal(name, f"{value!r} is none of {', '.join(allowed or ()) or 'those allowed (none)'}")

    def _at_most(self, name: str, value: float | None, most: float | None, *, shown: str | None = None) -> None:
        endless = value == 0 and name in {"timeout_minutes", "lifetime_s", "workspace_bytes"}
        if most is not None and value is not None and (value > most or endless):
            raise self._refusal(shown or name, f"must be at most {most:g}, is {'endless' if endless else value}")

    def _refusal(self, name: str, why: str) -> InvalidRequestError:
        return InvalidRequestError(f"{name}: {why}, by the ceiling of the profile {self.name!r}")

    def snapshot(self) -> dict[str, Any]:
        """Return what later changes of a session are checked against, as JSON values."""
        untouched = Ceiling()
        ceiling = {each.name: getattr(self.ceiling, each.name) for each in fields(Ceiling)}
        bounds = {name: value for name, value in ceiling.items() if value != getattr(untouched, name)}
        kept = {"fixed": dict(self.fixed), "ceiling": bounds}
        return {**kept, "sandbox": chosen} if (chosen := self.sandbox.snapshot()) else kept


_UNSET_IS_UNBOUNDED: Final = ("max_budget_usd", "timeout_minutes", "lifetime_s")

BUILT_IN: Final = Profile(DEFAULT_NAME, "What a deployment without a profiles file allows.")


def profile_of(name: str | None, snapshot: Mapping[str, Any]) -> Profile:
    """Return the profile that a session was created with, from its snapshot. Unknown parts are ignored."""
    known = {each.name for each in fields(Ceiling)}
    bounds: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in (snapshot.get("ceiling") or {}).items()
        if key in known
    }
    return Profile(name or DEFAULT_NAME, fixed=snapshot.get("fixed") or {}, ceiling=Ceiling(**bounds))


def _matches(value: object, patterns: Sequence[str]) -> bool:
    return isinstance(value, str) and any(fnmatchcase(value, pattern) for pattern in patterns)


def _tool(rule: str) -> str:
    """Return the tool of a rule such as `Bash(npm test:*)`."""
    return rule.partition("(")[0]
