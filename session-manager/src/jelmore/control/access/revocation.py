"""Wakes the open streams of this manager when a credential ends."""

import asyncio
from collections.abc import Mapping
from uuid import UUID

from jelmore.session.record import Session


class Revocation:
    """What was revoked as far as this manager knows. `next` is set at the next revocation, and then replaced."""

    def __init__(self) -> None:
        self.next = asyncio.Event()
        self._revoked: frozenset[str] = frozenset()
        self._rotated: Mapping[UUID, int] = {}

    def note_revoked(self, key_ids: frozenset[str]) -> None:
        """Set `next` when a key was revoked since the last call."""
        if key_ids - self._revoked:
            self._set_next()
        self._revoked = key_ids

    def note_rotated(self, epochs: Mapping[UUID, int]) -> None:
        """Set `next` when the tokens of a session were rotated since the last call."""
        if any(epoch > self._rotated.get(session_id, 0) for session_id, epoch in epochs.items()):
            self._set_next()
        self._rotated = epochs

    def rotated(self, session: Session) -> None:
        """Set `next`: the tokens of this session were rotated at this manager."""
        self._rotated = {**self._rotated, session.id: session.token_epoch}
        self._set_next()

    def _set_next(self) -> None:
        ended, self.next = self.next, asyncio.Event()
        ended.set()
