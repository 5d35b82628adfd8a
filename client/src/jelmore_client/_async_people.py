"""The people of a session, asynchronously. `_sync_people.py` is generated from this file."""

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final, Literal

from jelmore_client.core.requests import Request, given, session_path
from jelmore_client.people_models import Attendance, Comment, Invite, NewInvite, Participant

if TYPE_CHECKING:
    from jelmore_client._async import AsyncJelmore

_PAGE: Final = 1000


class AsyncPeople:
    """Participants, comments and invites of a session. `user` is one of several people who use the same key."""

    def __init__(self, client: "AsyncJelmore", session_id: str) -> None:
        self._client = client
        self._session_id = session_id

    async def participants(self) -> list[Participant]:
        """Return the people of the session, with what they have read and when they were last seen."""
        return await self._client.fetch_all(Request("GET", self._path("participants")), Participant)

    async def me(self) -> Participant:
        """Return the participant that this key or invite is. Raises NotFoundError for one that has not joined."""
        return await self._client.fetch(Request("GET", self._path("participants", "me")), Participant)

    async def join(self, name: str | None = None, *, user: str | None = None) -> Participant:
        """Take part under a name, or change the name. May be called twice. Comments and read marks join too."""
        body = given(name=name, user=user)
        return await self._client.fetch(Request("POST", self._path("participants"), json=body), Participant)

    async def remove(self, participant_id: str) -> None:
        """Remove a person. Their credential, tokens and streams end within a second. Raises NotFoundError."""
        await self._client.request(Request("DELETE", self._path("participants", participant_id), repeatable=False))

    async def leave(self) -> None:
        """Give up the access that an invite gave. The credential of this client is refused afterwards."""
        await self._client.request(Request("POST", self._path("leave"), repeatable=False))

    async def attendance(self) -> Attendance:
        """Return who has the session open now, or had it a few seconds ago."""
        return await self._client.fetch(Request("GET", self._path("attendance")), Attendance)

    async def mark_read(
        self, *, output_seq: int | None = None, event_seq: int | None = None, user: str | None = None
    ) -> Participant:
        """Mark the session as read up to these numbers; without any, to the end. May be called twice."""
        body = given(output_seq=output_seq, event_seq=event_seq, user=user)
        return await self._client.fetch(Request("POST", self._path("read"), json=body), Participant)

    async def comments(self, *, after: int = 0) -> AsyncGenerator[Comment]:
        """Yield the comments after a `seq`, in order."""
        while True:
            params = {"after": after, "limit": _PAGE}
            page = await self._client.fetch_all(Request("GET", self._path("comments"), params=params), Comment)
            for comment in page:
                yield comment
            if len(page) < _PAGE:
                return
            after = page[-1].seq

    async def comment(self, text: str, *, user: str | None = None) -> Comment:
        """Say something to the other people, also of an ended session; the agent does not see it. Not repeated."""
        request = Request("POST", self._path("comments"), json=given(text=text, user=user), repeatable=False)
        return await self._client.fetch(request, Comment)

    async def invites(self) -> list[Invite]:
        """Return the invites that can still be used."""
        return await self._client.fetch_all(Request("GET", self._path("invites")), Invite)

    async def invite(
        self,
        role: Literal["editor", "approver", "viewer"] = "viewer",
        *,
        uses: int = 1,
        expires_in_s: int | None = None,
        access_for_s: int | None = None,
    ) -> NewInvite:
        """Make an invite for people without a key; each of `uses` may accept it. Not repeated.

        `expires_in_s` is how long it can be accepted (a day), `access_for_s` how long the access lasts from now (until
        it is removed).
        """
        body = given(role=role, uses=uses, expires_in_s=expires_in_s, access_for_s=access_for_s)
        return await self._client.fetch(Request("POST", self._path("invites"), json=body, repeatable=False), NewInvite)

    async def revoke_invite(self, invite_id: str, *, people: bool = False) -> None:
        """Revoke an invite; with `people`, remove those who accepted it too. Raises NotFoundError."""
        params = {"people": "true" if people else "false"}
        await self._client.request(Request("DELETE", self._path("invites", invite_id), params=params, repeatable=False))

    def _path(self, *parts: str) -> str:
        return session_path(self._session_id, *parts)
