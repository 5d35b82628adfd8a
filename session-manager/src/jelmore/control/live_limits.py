"""Sends a running session the limits that its runner enforces."""

from collections.abc import Container

from jelmore.ports import ControlAddress, Runners
from jelmore.session.errors import UnknownRequestError
from jelmore.session.limits import Limits
from jelmore_protocol.control import Health, OutputLimits, WorkspaceLimit


async def send_limits(runners: Runners, at: ControlAddress, limits: Limits, names: Container[str]) -> None:
    """Send the limits with these names. May run any number of times.

    A runner of an earlier image cannot change its limits of output; it gets them at its next start.
    """
    if "workspace_bytes" in names:
        await runners.limit_workspace(at, WorkspaceLimit(bytes=limits.workspace_bytes))
    output = output_limits(limits)
    if output is not None and ("output_bytes" in names or "output_bytes_per_s" in names):
        try:
            await runners.limit_output(at, output)
        except UnknownRequestError:
            return


def stale_limits(limits: Limits, health: Health) -> frozenset[str]:
    """Return the names of the limits of which a runner has other values. None in its health means it has no limits."""
    stale = set()
    if health.workspace_limit_bytes not in {None, limits.workspace_bytes}:
        stale.add("workspace_bytes")
    wanted = output_limits(limits)
    if health.output_limits is not None and wanted is not None and health.output_limits != wanted:
        stale |= {"output_bytes", "output_bytes_per_s"}
    return frozenset(stale)


def output_limits(limits: Limits) -> OutputLimits | None:
    """Return the limits of output; None for a session of older code, which has the deployment's default."""
    if not limits.output_bytes or not limits.output_bytes_per_s:
        return None
    return OutputLimits(total_bytes=limits.output_bytes, bytes_per_s=limits.output_bytes_per_s)
