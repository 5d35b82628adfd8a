"""A path in another spelling gets around no key: the manager, asked directly, as if there were no Caddy."""

import asyncio
from typing import Final

import pytest

from jelmore.ports import Role
from tests.integration.api.test_port_origin import api
from tests.integration.api.test_socket import new_session
from tests.integration.api.world import World

__all__ = ["api"]

SPELLINGS: Final = [
    "/api/v1/sessions/{id}",
    "//api/v1/sessions/{id}",
    "/api//v1/sessions/{id}",
    "/api/v1/sessions//{id}",
    "/api/v1/sessions/{id}/",
    "/./api/v1/sessions/{id}",
    "/livez/../api/v1/sessions/{id}",
    "/livez/%2e%2e/api/v1/sessions/{id}",
    "/livez%2f..%2fapi%2fv1%2fsessions%2f{id}",
    "/ui/../api/v1/sessions/{id}",
    "/api/v1/sessions/{id};x",
    "/api/v1/sessions;x/{id}",
    "/;/api/v1/sessions/{id}",
    "/api/v1/sessions/{id}%00",
    "/api/v1/sessions/{id}%0a",
    "/api/v1/sessions%00/{id}",
    "/api/v1/sessions/{ID}",
    "/API/V1/SESSIONS/{id}",
    "/%61pi/v1/sessions/{id}",
    "/api/v1/sessions%2f{id}",
    "/api/v1%5csessions%5c{id}",
    "/api/v1/%2573essions/{id}",
    "/api/v1/sessions/{id}/output",
    "/api/v1/sessions/{id}%2foutput",
    "/api/v1/sessions/{id}/%2e%2e/{id}/output",
    "/api/v1/sessions/{id}/.%2foutput",
    "http://localhost/api/v1/sessions/{id}",
    "http://livez/../api/v1/sessions/{id}",
    "/metrics",
    "//metrics",
    "/%6detrics",
    "/metrics/",
    "/metrics;",
    "/METRICS",
    "/internal",
    "/%2e%2e/internal",
]
REFUSED: Final = {400, 401, 404}


async def status_of(api: World, target: str, *headers: str) -> int:
    """Return the status of a GET with this target, sent as it is."""
    reader, writer = await asyncio.open_unix_connection(api.socket_path)
    try:
        writer.write("\r\n".join([f"GET {target} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode())
        async with asyncio.timeout(10):
            return int((await reader.readline()).split()[1])
    finally:
        writer.close()


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_spelling_of_a_path_gets_around_the_key(api: World, spelling: str) -> None:
    session_id, _ = await new_session(api)
    target = spelling.replace("{id}", session_id).replace("{ID}", session_id.upper())
    for headers in ((), ("X-API-Key: wrong",)):
        assert await status_of(api, target, *headers) in REFUSED
    if "{id}" in spelling.lower():  # a key that does not see the session, by whatever name of it
        assert await status_of(api, target, f"X-API-Key: {api.keys[Role.CLIENT]}") in {400, 404}
