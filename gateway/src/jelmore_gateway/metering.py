"""Writes what each call of the model API used into the session's account."""

import asyncio

import aiohttp
import structlog

from jelmore_gateway.forward import Observer
from jelmore_gateway.meter import BodyMeter, EventStreamMeter, Tokens, meter_for
from jelmore_gateway.state import State, StateError, now
from jelmore_protocol.gateway import CallRecord, SandboxEntry

_log = structlog.get_logger(__name__)


class Metering(Observer):
    """Meters one response. Its record is stored before the sandbox sees the end of the response."""

    def __init__(self, entry: SandboxEntry, state: State) -> None:
        self._entry = entry
        self._state = state
        self._status = 0
        self._meter: EventStreamMeter | BodyMeter = BodyMeter()

    @property
    def tokens(self) -> Tokens:
        """What the response has reported so far."""
        return self._meter.tokens

    def begin(self, response: aiohttp.ClientResponse) -> None:
        """Choose how the response is read."""
        self._status = response.status
        self._meter = meter_for(response.headers.get("Content-Type", ""))

    def piece(self, data: bytes) -> bytes:
        """Read the next piece, all of which passes."""
        self._meter.feed(data)
        return data

    async def end(self, *, complete: bool) -> None:
        """Store the record, if the response reported tokens. A failure is logged and does not end the response."""
        self._meter.finish()
        tokens = self._meter.tokens
        if not tokens.found:
            return
        record = CallRecord(
            seq=0,
            session_id=self._entry.session_id,
            generation=self._entry.generation,
            at=now(),
            status=self._status,
            model=tokens.model,
            input_tokens=tokens.input_tokens,
            output_tokens=tokens.output_tokens,
            cache_read_tokens=tokens.cache_read_tokens,
            cache_write_tokens=tokens.cache_write_tokens,
            complete=complete and self._meter.ended,
        )
        try:
            await asyncio.shield(self._state.add_call(record))
        except StateError as error:
            _log.error("call_not_stored", session_id=record.session_id, error=str(error))
