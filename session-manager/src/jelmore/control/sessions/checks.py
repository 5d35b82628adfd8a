"""What a change of a session depends on. Pure."""

from jelmore.control.requests import Changes
from jelmore.session.errors import ConflictError
from jelmore.session.record import Session
from jelmore.session.states import SessionStatus


class ReplayedError(Exception):
    """The session of an idempotency key exists, so the prepared one is not needed."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session


def check_may_restart(session: Session, changes: Changes) -> None:
    """Raise ConflictError while a new process of the agent would lose a turn, or is being started anyway."""
    names = ", ".join(changes.needing_restart)
    if session.status is SessionStatus.INITIALIZING:
        raise ConflictError(f"{names}: the session is starting; change it when it has started")
    if session.status is SessionStatus.ACTIVE or session.pending:
        raise ConflictError(f"{names}: needs a restart of the agent, and a turn runs; wait for it or interrupt it")


def never_started(session: Session) -> bool:
    """Return whether the session failed during its first start."""
    failure = session.failure
    return (
        session.generation == session.first_generation
        and failure is not None
        and failure.phase in {"creating", "starting"}
    )
