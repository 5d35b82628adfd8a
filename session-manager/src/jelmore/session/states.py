"""The states of a session and the table of moves between them. `docs/lifecycle.md` is generated from it.

Nothing else assigns a status: facts are recorded with `jelmore.session.record.Session.after`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from jelmore_protocol.vocabulary import WaitingFor as WaitingFor  # noqa: PLC0414 - its users find it here


class SessionStatus(StrEnum):
    """The public states of a session."""

    INITIALIZING = "initializing"  # its sandbox is starting, for the first time or after a resume
    ACTIVE = "active"  # the agent works
    IDLE = "idle"  # paused or hibernated; the next input resumes it
    WAITING_INPUT = "waiting_input"  # awake; the agent waits for what `waiting_for` names
    TERMINATED = "terminated"  # ended: on request, by a timer, or because the agent exited with code 0
    FAILED = "failed"  # it cannot continue; `failure` says why


class Fact(StrEnum):
    """What was observed. The values are stored and public, so they keep names older than the members'."""

    READY = "readied"  # the runner accepts input and has none yet
    READY_BUSY = "readied_busy"  # the runner accepts input and works on the first prompt
    STARTED_WORKING = "ran"  # the agent works
    STARTED_WAITING = "waited"  # the agent waits for a prompt, a permission or an answer
    PAUSED = "rested"  # idle for `idle_after_s`; its sandbox is paused next
    HIBERNATED = "slept"  # idle for `hibernate_after_s`, or at its timeout; its container is removed next
    RESUMING = "woken"  # input is on its way to a paused or hibernated session
    CONTAINER_LOST = "lost"  # the container of a live session is gone; another one is started next
    CONTAINER_REPLACED = "restored"  # another container now serves the session
    EXITED = "exited"  # the agent exited by itself with code 0
    REMOVED = "removed"  # ended on request, and its sandbox is removed
    FAILED = "broke"  # the session cannot continue
    RESUMED = "resumed"  # a caller resumed an ended session


class Wanted(StrEnum):
    """Whether the session should run or end."""

    RUNNING = "running"
    ENDED = "ended"


class Presence(StrEnum):
    """How much of a running session is kept in memory."""

    AWAKE = "awake"
    PAUSED = "frozen"  # the container is paused
    HIBERNATED = "hibernated"  # no container; the volume keeps the workspace and the conversation


class ContainerPhase(StrEnum):
    """The phase of a session's container according to the record; see `Session.container_phase`."""

    NONE = "none"  # the session has ended or is hibernated
    STARTING = "starting"  # the first container or a replacement is starting, under the start deadline
    SERVING = "serving"  # its runner has been ready; if the container disappears now, it is lost


_S, _F = SessionStatus, Fact

ENDED: Final = frozenset({_S.TERMINATED, _S.FAILED})
LIVE: Final = frozenset(SessionStatus) - ENDED

MOVES: Final[Mapping[tuple[SessionStatus, Fact], SessionStatus]] = {
    (_S.INITIALIZING, _F.READY): _S.WAITING_INPUT,
    (_S.INITIALIZING, _F.READY_BUSY): _S.ACTIVE,
    (_S.WAITING_INPUT, _F.STARTED_WORKING): _S.ACTIVE,
    (_S.IDLE, _F.STARTED_WORKING): _S.ACTIVE,
    (_S.ACTIVE, _F.STARTED_WORKING): _S.ACTIVE,
    (_S.ACTIVE, _F.STARTED_WAITING): _S.WAITING_INPUT,
    (_S.WAITING_INPUT, _F.STARTED_WAITING): _S.WAITING_INPUT,
    (_S.IDLE, _F.STARTED_WAITING): _S.IDLE,
    (_S.WAITING_INPUT, _F.PAUSED): _S.IDLE,
    (_S.IDLE, _F.PAUSED): _S.IDLE,
    (_S.IDLE, _F.HIBERNATED): _S.IDLE,
    (_S.IDLE, _F.RESUMING): _S.IDLE,
    **{(status, _F.CONTAINER_LOST): status for status in LIVE},
    **{(status, _F.CONTAINER_REPLACED): status for status in LIVE - {_S.INITIALIZING}},
    **{(status, _F.EXITED): _S.TERMINATED for status in LIVE},
    **{(status, _F.REMOVED): _S.TERMINATED for status in LIVE},
    **{(status, _F.FAILED): _S.FAILED for status in LIVE},
    **{(status, _F.RESUMED): _S.INITIALIZING for status in ENDED},
}
