"""What a session may reach beside the model, as its spec holds it. Pure; the rules' grammar is the protocol's."""

from collections.abc import Mapping
from typing import Any, Final

from jelmore.session.errors import InvalidRequestError

MODES: Final = ("none", "packages", "custom", "open")
"""From least to most."""

MAX_APPROVED: Final = 200
"""The newest approvals are kept; the protocol takes no more rules."""


def checked_network(asked: Mapping[str, Any], ceiling: str, *, packages: bool, kept_in: bool = True) -> dict[str, Any]:
    """Return the network of a spec, empty for `none`. `packages`: the deployment names package hosts.

    `kept_in`: sandboxes reach other hosts only by the gateway, which can ask about a connection.

    Raises InvalidRequestError naming the field that contradicts another or is above the ceiling.
    """
    mode, allow = asked.get("mode", "none"), list(asked.get("allow", ()))
    people = {name: list(asked[name]) for name in ("ask", "approved") if asked.get(name)}
    if mode not in MODES:
        raise InvalidRequestError(f"network.mode: must be one of {', '.join(MODES)}")
    if people.get("ask") and not kept_in:
        why = "has no effect with JELMORE_RUNTIME=local, whose sessions use the network of the machine; leave it out"
        raise InvalidRequestError(f"network.ask: {why}")
    if mode == "none" and allow:
        raise InvalidRequestError("network.allow: has no effect with the mode none; choose custom")
    if not within(width(asked), ceiling):
        why = f"{width(asked)} is more than this deployment allows (JELMORE_MAX_NETWORK={ceiling})"
        raise InvalidRequestError(f"network: {why}")
    if mode == "none":
        return {"mode": mode, "allow": [], **people} if people else {}
    if mode == "custom" and not allow and not people:
        raise InvalidRequestError("network.allow: the mode custom needs at least one host")
    if mode == "packages" and not packages:
        raise InvalidRequestError("network: this deployment names no package hosts (JELMORE_PACKAGE_HOSTS)")
    return {"mode": mode, "allow": allow, **people}


def with_approved(network: Mapping[str, Any], host: str, port: int) -> dict[str, Any]:
    """Return the network of a spec with a host that a person has allowed for the session. May run twice."""
    rule = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    approved = [each for each in network.get("approved", ()) if each != rule][-(MAX_APPROVED - 1) :]
    return {"mode": "none", "allow": [], **network, "approved": [*approved, rule]}


def same_network(one: Any, other: Any) -> bool:
    """Return whether two networks, as a mode or as an object, mean the same."""
    return _whole(one) == _whole(other)


def _whole(network: Any) -> Mapping[str, Any]:
    given = {"mode": network} if isinstance(network, str) else dict(network or {})
    return {"mode": "none", **{name: value for name, value in given.items() if value}}


def width(asked: Mapping[str, Any]) -> str:
    """Return the mode that a ceiling must allow for this network: at least `custom` when it names hosts.

    Hosts that a person is asked about count too, because the answer may allow any of them.
    """
    mode = str(asked.get("mode", "none"))
    own = any(asked.get(name) for name in ("allow", "ask", "approved"))
    return "custom" if own and MODES.index(mode) < MODES.index("custom") else mode


def within(mode: str, ceiling: str | None) -> bool:
    """Return whether a mode is at most the ceiling. No ceiling allows all."""
    return ceiling is None or MODES.index(mode) <= MODES.index(ceiling)
