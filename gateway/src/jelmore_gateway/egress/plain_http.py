"""Passes one plain HTTP request and its response, both parsed, between a client and a host."""

import asyncio
from contextlib import suppress

import h11

from jelmore_gateway.egress.http_side import GoneError, HttpSide
from jelmore_gateway.egress.policy import Reason, Refusal
from jelmore_gateway.egress.requests import Forward, response_headers


async def exchange(client: HttpSide, upstream: HttpSide, method: bytes, forward: Forward) -> None:
    """Send the request and pass the response on. Raises GoneError when either side breaks off."""
    request = h11.Request(method=method, target=forward.path, headers=forward.headers)
    await upstream.send(request)
    upload = asyncio.create_task(_upload(client, upstream), name="egress upload")
    try:
        await _download(upstream, client)
    except GoneError as error:
        await client.refuse(Refusal(Reason.CONNECT_FAILED, f"{forward.target} broke off: {error}", 502))
        raise
    finally:
        upload.cancel()
        await asyncio.wait({upload})


async def _upload(client: HttpSide, upstream: HttpSide) -> None:
    silence_s = client.deadlines.silence_s
    with suppress(GoneError, OSError):
        while True:
            if client.http.they_are_waiting_for_100_continue:
                await client.send(h11.InformationalResponse(status_code=100, headers=[]))
            event = await client.next(silence_s)
            if isinstance(event, h11.Data | h11.EndOfMessage):
                await upstream.send(event)
            if not isinstance(event, h11.Data):
                break
        if isinstance(event, h11.EndOfMessage):
            # Only the client's disconnect matters from here; what else it sends is never read as a request.
            while await client.reader.read(1024):
                pass
    upstream.writer.transport.abort()


async def _download(upstream: HttpSide, client: HttpSide) -> None:
    while True:
        event = await upstream.next(client.deadlines.silence_s)
        match event:
            case h11.InformationalResponse(status_code=101):
                raise GoneError("it changed the protocol without being asked")
            case h11.InformationalResponse():
                continue
            case h11.Response():
                headers = response_headers(event.headers)
                await client.send(h11.Response(status_code=event.status_code, headers=headers, reason=event.reason))
            case h11.Data():
                await client.send(h11.Data(data=event.data))
            case h11.EndOfMessage():
                await client.send(h11.EndOfMessage())
                return
            case _:
                raise GoneError("it closed the connection")
