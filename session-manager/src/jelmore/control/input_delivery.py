"""Gives a runner the inputs that its session has accepted without it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import structlog

from jelmore.ports import ControlAddress, Runners
from jelmore.session.errors import DependencyError, JelmoreError, SessionEndedError
from jelmore.session.events import EventDraft, EventType
from jelmore.session.pending_inputs import PendingInput, due, refused, without
from jelmore.session.plain_text import clean_text
from jelmore.session.record import Session
from jelmore_protocol.control import InputRequest

_log = structlog.get_logger(__name__)

_MAX_REASON: Final = 500
"""How many characters of a refusal are kept. A sandbox is not trusted: its text could be long or not storable."""

type Save = Callable[[Session, Session, list[EventDraft]], Awaitable[Session]]


async def deliver(runners: Runners, session: Session, at: ControlAddress, save: Save) -> bool:
    """Send the runner the pending inputs, in order; return whether that has to be decided again from a new look.

    May run any number of times: the runner knows an input by its id. An input leaves the record when the output that
    records it is stored. That has happened already for one whose id ran before, which is removed here; one that the
    runner refuses stays, with the reason, and an event reports it. Raises DependencyError and StaleError.
    """
    pending = session.pending_inputs
    for each in due(pending):
        try:
            accepted = await runners.input(at, _request(each))
        except DependencyError:
            raise
        except SessionEndedError:  # its agent has just ended
            return True
        except JelmoreError as error:
            reason = clean_text(str(error))[:_MAX_REASON]
            _log.warning("input_refused", session_id=str(session.id), input_id=each.id, error=reason)
            changed = replace(session, pending_inputs=refused(pending, each.id, reason))
            about = {"code": "input_waits", "input_id": each.id, "message": f"an accepted input waits: {reason}"}
            await save(session, changed, [EventDraft(EventType.ERROR_RECEIVED, about)])
            return True
        if accepted.seq <= session.output_seq:
            pending = without(pending, each.id)
    if pending == session.pending_inputs:
        return False
    await save(session, replace(session, pending_inputs=pending), [])
    return True


def _request(pending: PendingInput) -> InputRequest:
    more = {"expand": True} if pending.expand else {}  # sent only if it is set
    return InputRequest(id=pending.id, input=pending.input, by=pending.by, **more)
