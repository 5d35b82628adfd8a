"""The manager's calls to a runner's control socket: every refusal, every way to break, and whose answer is believed."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web

from jelmore.drivers.runner_link import RunnerLink
from jelmore.ports import ControlAddress
from jelmore.session.errors import (
    AlreadyAnsweredError,
    CapacityError,
    ConflictError,
    DependencyError,
    InvalidRequestError,
    JelmoreError,
    RefusedError,
    SessionEndedError,
    TooLargeError,
    UnknownRequestError,
    WorkspaceFullError,
)
from jelmore_protocol.control import (
    SECRET_HEADER,
    Change,
    Draining,
    Health,
    InputRequest,
    PermissionAnswer,
    Revoke,
    Stop,
)
from jelmore_protocol.frames import ErrorCode
from tests.integration.runner_link.scripted_runner import (
    HEALTH,
    SESSION_ID,
    answering,
    frame,
    hello,
    relaying,
    take_all,
)

pytestmark = pytest.mark.integration


INPUT = InputRequest(id="i", input="hello")


ANSWER = PermissionAnswer(decision="allow")


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        (ErrorCode.BAD_FRAME, 422, InvalidRequestError),
        (ErrorCode.FORBIDDEN, 403, RefusedError),
        (ErrorCode.CONFLICT, 409, ConflictError),
        (ErrorCode.UNKNOWN_REQUEST, 404, UnknownRequestError),
        (ErrorCode.INPUT_EMPTY, 422, InvalidRequestError),
        (ErrorCode.INPUT_TOO_LARGE, 413, TooLargeError),
        (ErrorCode.QUEUE_FULL, 429, CapacityError),
        (ErrorCode.ENDED, 409, SessionEndedError),
        (ErrorCode.WORKSPACE_FULL, 409, WorkspaceFullError),
        (ErrorCode.UNAVAILABLE, 503, DependencyError),
        ("unknown_path", 404, RefusedError),
        ("of a later version", 500, DependencyError),
    ],
)
async def test_a_refusal_becomes_the_error_that_says_the_same(
    at: ControlAddress, code: str, status: int, error: type[JelmoreError]
) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"code": code, "message": "because"}, status=status)

    async with answering(at, refuse):
        with pytest.raises(error, match="because") as raised:
            await RunnerLink().input(at, INPUT)
    assert type(raised.value) is error


def test_every_code_of_the_wire_is_tried() -> None:
    [mark] = [m for m in test_a_refusal_becomes_the_error_that_says_the_same.pytestmark if m.name == "parametrize"]  # type: ignore[attr-defined]
    assert set(ErrorCode) <= {row[0] for row in mark.args[1]}


async def test_a_second_answer_and_an_ended_session_have_different_errors(at: ControlAddress) -> None:
    code = ErrorCode.CONFLICT

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"code": code, "message": "because"}, status=409)

    async with answering(at, refuse):
        with pytest.raises(AlreadyAnsweredError):
            await RunnerLink().answer(at, "r", ANSWER)
        code = ErrorCode.ENDED
        with pytest.raises(SessionEndedError):
            await RunnerLink().answer(at, "r", ANSWER)


async def test_every_call_goes_where_the_wire_says(at: ControlAddress) -> None:
    asked: list[tuple[str, str, Any]] = []

    async def note(request: web.Request) -> web.Response:
        body = await request.text()
        asked.append((request.method, request.raw_path, json.loads(body) if body else None))
        accepted = request.path == "/input" or request.path.startswith("/permissions/")
        return web.json_response({"seq": 3} if accepted else HEALTH)

    link = RunnerLink()
    async with answering(at, note):
        assert await link.health(at) == Health.model_validate(HEALTH)
        assert (await link.input(at, INPUT)).seq == 3
        await link.interrupt(at)
        assert (await link.answer(at, "a/../b", ANSWER)).seq == 3
        await link.set_model(at, Change(value="m"))
        await link.set_permission_mode(at, Change(value="plan"))
        await link.set_draining(at, Draining(on=True))
        await link.revoke(at, Revoke(subjects=["key_1"]))
        await link.stop(at, Stop(reason="deleted"))
    assert [(method, path) for method, path, _ in asked] == [
        ("GET", "/health"),
        ("POST", "/input"),
        ("POST", "/interrupt"),
        ("POST", "/permissions/a%2F..%2Fb"),
        ("POST", "/model"),
        ("POST", "/permission-mode"),
        ("POST", "/quiet"),
        ("POST", "/revoke"),
        ("POST", "/stop"),
    ]
    assert asked[1][2] == {"id": "i", "input": "hello"}, (
        "a field that nobody set is not sent: an older runner may refuse it"
    )


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"seq": "x"}', b"\xff\xfe", b"null"])
async def test_garbage_is_a_dependency_error_with_a_clear_message(at: ControlAddress, status: int, body: bytes) -> None:
    async def babble(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status)

    async with answering(at, babble):
        with pytest.raises(DependencyError, match="runner: "):
            await RunnerLink().health(at)


@pytest.mark.parametrize(
    "more", ['"pending":[' + "{}," * 1_000_000 + "{}]", '"x":[' + "[]," * 1_000_000 + "[]]"], ids=["pending", "unknown"]
)
async def test_an_answer_with_very_many_values_costs_no_time_and_no_memory(at: ControlAddress, more: str) -> None:
    async def flood(_: web.Request) -> web.Response:
        return web.Response(text=json.dumps(HEALTH)[:-1] + f",{more}}}")

    async with answering(at, flood):
        began = asyncio.get_running_loop().time()
        with pytest.raises(DependencyError, match="values"):
            await RunnerLink().health(at)
        assert asyncio.get_running_loop().time() - began < 5  # it was 37 s and 2 GiB for the pending requests


async def test_what_is_not_http_is_a_dependency_error(at: ControlAddress) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00garbage\r\n\r\n")
        writer.close()

    server = await asyncio.start_unix_server(babble, at.text.removeprefix("unix:"))
    async with server:
        with pytest.raises(DependencyError):
            await RunnerLink().health(at)
        _, error = await take_all(at, 0)
        assert isinstance(error, DependencyError)


async def test_no_listener_and_no_answer_are_dependency_errors(at: ControlAddress) -> None:
    with pytest.raises(DependencyError):
        await RunnerLink().health(at)
    _, error = await take_all(at, 0)
    assert isinstance(error, DependencyError)
    never = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    async with answering(at, hang):
        with pytest.raises(DependencyError, match="no answer within"):
            await RunnerLink(call_s=0.2).health(at)
        never.set()


async def test_a_runner_may_be_reached_by_port(unused_tcp_port: int) -> None:
    at = ControlAddress(f"tcp:127.0.0.1:{unused_tcp_port}", SESSION_ID, 1)

    async def healthy(_: web.Request) -> web.Response:
        return web.json_response(HEALTH)

    async with answering(at, healthy):
        assert (await RunnerLink().health(at)).seq == 7


@pytest.fixture
def unused_tcp_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def test_a_link_is_not_followed(at: ControlAddress) -> None:
    own = Path(at.text.removeprefix("unix:"))
    neighbour = replace(at, text=f"unix:{own.parent}/neighbour.sock")
    own.symlink_to(own.parent / "neighbour.sock")

    async def healthy(_: web.Request) -> web.Response:
        return web.json_response(HEALTH)

    async with answering(neighbour, healthy):
        assert (await RunnerLink().health(neighbour)).seq == 7
        with pytest.raises(DependencyError):
            await RunnerLink().health(at)
        _, error = await take_all(at, 0)
        assert isinstance(error, DependencyError)


@pytest.mark.parametrize(
    "other", [{"session_id": "another"}, {"generation": 2}, {"session_id": None}, {"session_id": "", "generation": 0}]
)
async def test_another_sessions_or_generations_answer_is_no_answer(at: ControlAddress, other: dict[str, Any]) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({**HEALTH, **other})

    async with answering(at, answer):
        with pytest.raises(DependencyError, match="answers for"):
            await RunnerLink().health(at)


async def test_another_sessions_relay_is_not_read(at: ControlAddress) -> None:
    async def send(websocket: web.WebSocketResponse) -> None:
        await websocket.send_str(hello(1).replace(str(SESSION_ID), str(UUID(int=1))))
        await websocket.send_str(frame(1))

    async with answering(at, relaying(send)):
        taken, error = await take_all(at, 0)
    assert (taken, isinstance(error, DependencyError)) == ([], True)


async def test_a_sandboxs_own_secret_is_shown_on_calls_and_relay(at: ControlAddress) -> None:
    shown: list[str | None] = []

    async def note(request: web.Request) -> web.StreamResponse:
        shown.append(request.headers.get(SECRET_HEADER))
        return web.json_response(HEALTH)

    async with answering(at, note):
        await RunnerLink().health(replace(at, secret="s3"))
        await take_all(replace(at, secret="s3"), 0)
        await RunnerLink().health(at)
    assert shown == ["s3", "s3", None]
