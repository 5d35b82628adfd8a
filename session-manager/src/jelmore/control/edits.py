"""Changes a stored record: loads it, changes it, saves it, and begins again when another save came in between."""

from collections.abc import Callable, Sequence
from uuid import UUID

from jelmore.control.watchers import Watchers
from jelmore.ports import SessionStore
from jelmore.session.errors import StaleError
from jelmore.session.events import EventDraft
from jelmore.session.record import Session

type Edit = Callable[[Session], tuple[Session, Sequence[EventDraft]]]
"""Returns the changed session and the events that report it; the given session itself for no change."""


async def edit(
    store: SessionStore, watchers: Watchers, session_id: UUID, change: Edit, then: Callable[[UUID], None] | None = None
) -> Session:
    """Return the session as `change` leaves it. No change saves nothing; after a save, `then` is called with the id.

    `change` may be called any number of times. Raises UnknownSessionError, DependencyError, and what `change` raises.
    """
    while True:
        session = await store.load(session_id)
        changed, drafts = change(session)
        if changed is session:
            return session
        try:
            saved = await store.save(changed, drafts)
        except StaleError:
            continue
        await watchers.saved(saved)
        if then is not None:
            then(session_id)
        return saved
