"""What is kept of a session and how it runs, asynchronously. `_sync_observation.py` is generated from this file."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from jelmore_client.core.requests import Request, given
from jelmore_client.event_models import PublishedEvent
from jelmore_client.models import Event
from jelmore_client.observation_models import MeteredUsage, ResourceSeries, SessionHealth

if TYPE_CHECKING:
    from jelmore_client._async import AsyncJelmore

_PAGE: Final = 500


class AsyncSessionObservation:
    """The calls of a session that change nothing: stored output and events, files of record, logs and figures."""

    _client: "AsyncJelmore"

    def _path(self, *parts: str) -> str:
        raise NotImplementedError

    async def output(self, *, after: int = 0, kinds: Sequence[str] | None = None) -> AsyncGenerator[Event]:
        """Yield the stored output after a `seq`, and end at the newest; `events` is the same live."""
        params = {"after": after, "limit": _PAGE, **given(kind=None if kinds is None else [*kinds])}
        request = Request("GET", self._path("output"), params=params)
        async with aclosing(self._client.fetch_pages(request, Event)) as outputs:
            async for output in outputs:
                yield output

    async def published(self, *, after: int = 0, types: Sequence[str] | None = None) -> AsyncGenerator[PublishedEvent]:
        """Yield what the server published about the session after an event's `seq`, and end at the newest."""
        params = {"after": after, "limit": _PAGE, **given(type=None if types is None else [*types])}
        request = Request("GET", self._path("events"), params=params)
        async with aclosing(self._client.fetch_pages(request, PublishedEvent)) as events:
            async for event in events:
                yield event

    async def transcript(
        self,
        target: Path,
        *,
        form: Literal["markdown", "json", "html"] = "markdown",
        tools: bool = True,
        thinking: bool = False,
    ) -> int:
        """Write the conversation up to now to `target`; return its bytes. A failure leaves what was there."""
        params = {"format": form, "tools": "true" if tools else "false", "thinking": "true" if thinking else "false"}
        return await self._client.save(Request("GET", self._path("transcript"), params=params), target)

    async def attachment(self, attachment_id: str) -> bytes:
        """Return the data of an image or document that a prompt refers to. It is held in memory.

        Raises ConflictError while the session is not awake: the data is on its volume.
        """
        return (await self._client.send(Request("GET", self._path("attachments", attachment_id)))).content

    async def logs(self, lines: int = 100) -> list[str]:
        """Return the last lines of the log of the session's runner."""
        found = await self._client.request(Request("GET", self._path("logs"), params={"lines": lines}))
        return [str(line) for line in found["lines"]]

    async def health(self) -> SessionHealth:
        """Return the session's health and its last health checks."""
        return await self._client.fetch(Request("GET", self._path("health")), SessionHealth)

    async def resources(self) -> ResourceSeries:
        """Return the session's use of memory, CPU, processes and workspace."""
        return await self._client.fetch(Request("GET", self._path("metrics")), ResourceSeries)

    async def metered(self, *, limit: int | None = None) -> MeteredUsage:
        """Return the tokens by model as the gateway counted them, and the newest calls on routes.

        What the agent itself reports is `info.usage`.
        """
        return await self._client.fetch(Request("GET", self._path("usage"), params=given(limit=limit)), MeteredUsage)
