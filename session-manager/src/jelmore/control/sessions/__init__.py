"""The calls on sessions that the API offers.

queries.py        reads
commands.py       changes, and prompts to the agent
checks.py         what a change depends on
runner_calls.py   how a runner is called: resume first, retry while it starts, end at a deadline
"""

from collections.abc import Callable

from jelmore.control.access import Access
from jelmore.control.cache import RecordCache
from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.egress_approvals import EgressApprovals
from jelmore.control.outcomes import Outcomes
from jelmore.control.pool import WarmPool
from jelmore.control.ports import Ports
from jelmore.control.queue import WorkQueue
from jelmore.control.session_spec import Defaults
from jelmore.control.sessions.commands import Prepare, SessionCommands
from jelmore.control.sessions.queries import SessionQueries
from jelmore.control.sessions.runner_calls import RunnerCalls
from jelmore.control.streams import Streams
from jelmore.control.watchers import Watchers
from jelmore.session.record import Session

__all__ = ["Prepare", "RunnerCalls", "SessionCommands", "SessionQueries", "make_session_calls"]


def make_session_calls(
    ports: Ports,
    queue: WorkQueue,
    watchers: Watchers,
    access: Access,
    streams: Streams,
    cache: RecordCache,
    defaults: Defaults,
    *,
    runner_calls: RunnerCalls,
    approvals: EgressApprovals,
    disk: DiskCapacity,
    revoke: Callable[[Session], None],
    pool: WarmPool | None = None,
) -> tuple[SessionQueries, SessionCommands]:
    """Return the reads and the changes of sessions, wired to each other's parts.

    `revoke` ends a session's use of the gateway. It returns at once.
    """
    outcomes = Outcomes(ports.store, streams, watchers, cache)
    queries = SessionQueries(ports, cache, outcomes, defaults, disk=disk, pool=pool)
    commands = SessionCommands(
        ports, queue, watchers, access, runner_calls, outcomes, defaults, approvals=approvals, disk=disk, revoke=revoke
    )
    return queries, commands
