"""The manager's end of a runner's control socket: every refusal, every way to break, and the relay's arithmetic."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiohttp import WSMsgType, web

from jelmore.drivers.runner_link import BATCH_BYTES, BATCH_OUTPUTS, RunnerLink
from jelmore.ports import ControlAddress, Delta, RelayBreak
from jelmore.session.errors import (
    AlreadyAnsweredError,
    CapacityError,
    ConflictError,
    DependencyError,
    FaultError,
    JelmoreError,
    RefusedError,
    SessionEndedError,
    TooLargeError,
    UnknownRequestError,
    WorkspaceFullError,
)
from jelmore.session.output import Output
from jelmore_protocol.control import SECRET_HEADER, Change, Health, InputRequest, PermissionAnswer, Quiet, Revoke, Stop
from jelmore_protocol.events import utc_text
from jelmore_protocol.frames import ErrorCode

pytestmark = pytest.mark.integration

SESSION_ID = UUID("01234567-89ab-cdef-0123-456789abcdef")
HEALTH = {"protocol": 1, "phase": "ready", "session_id": str(SESSION_ID), "generation": 1, "seq": 7}
INPUT = InputRequest(id="i", input="hello")
ANSWER = PermissionAnswer(decision="allow")

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
type Script = Callable[[web.WebSocketResponse], Awaitable[None]]


@pytest.fixture
def at() -> Iterator[ControlAddress]:
    folder = Path(tempfile.mkdtemp(prefix="jm-"))
    yield ControlAddress(f"unix:{folder}/control.sock", SESSION_ID, 1)
    shutil.rmtree(folder)


@asynccontextmanager
async def answering(at: ControlAddress, handler: Handler) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    kind, _, place = at.text.partition(":")
    host, _, port = place.rpartition(":")
    site = web.UnixSite(runner, place) if kind == "unix" else web.TCPSite(runner, host, int(port))
    await site.start()
    try:
        yield
    finally:
        await runner.cleanup()


def relaying(script: Script) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await script(websocket)
        return websocket

    return handler


def frame(seq: int, **data: Any) -> str:
    return json.dumps({"type": "event", "seq": seq, "kind": "message", "at": utc_text(datetime.now(UTC)), "data": data})


def hello(seq: int) -> str:
    return json.dumps(
        {"type": "hello", "protocol": 1, "session_id": str(SESSION_ID), "resume": "ok", "seq": seq, "state": "active"}
    )


async def take_all(at: ControlAddress, after: int) -> tuple[list[Output | Delta], JelmoreError | RelayBreak]:
    """Return everything a relay gives and what ended it."""
    taken: list[Output | Delta] = []
    try:
        async with asyncio.timeout(20), aclosing(RunnerLink().relay(at, after)) as relay:
            async for batch in relay:
                taken += [batch] if isinstance(batch, Delta) else batch
    except (JelmoreError, RelayBreak) as error:
        return taken, error
    raise AssertionError("a relay never just ends")


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        (ErrorCode.BAD_FRAME, 422, RefusedError),
        (ErrorCode.FORBIDDEN, 403, RefusedError),
        (ErrorCode.CONFLICT, 409, ConflictError),
        (ErrorCode.UNKNOWN_REQUEST, 404, UnknownRequestError),
        (ErrorCode.INPUT_EMPTY, 422, RefusedError),
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


async def test_a_second_answer_is_told_apart_from_an_ended_session(at: ControlAddress) -> None:
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
        await link.quiet(at, Quiet(on=True))
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
async def test_garbage_is_bad_luck_with_a_clear_word(at: ControlAddress, status: int, body: bytes) -> None:
    async def babble(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status)

    async with answering(at, babble):
        with pytest.raises(DependencyError, match="runner: "):
            await RunnerLink().health(at)


async def test_what_is_not_http_is_bad_luck(at: ControlAddress) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00garbage\r\n\r\n")
        writer.close()

    server = await asyncio.start_unix_server(babble, at.text.removeprefix("unix:"))
    async with server:
        with pytest.raises(DependencyError):
            await RunnerLink().health(at)
        _, error = await take_all(at, 0)
        assert isinstance(error, DependencyError)


async def test_nobody_there_and_nobody_answering_are_bad_luck(at: ControlAddress) -> None:
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


async def test_a_relay_gives_everything_once_in_order_then_says_that_it_broke(at: ControlAddress) -> None:
    delta = '{"type":"delta","data":{"n":1}}'
    texts = [hello(5), frame(3), frame(4), frame(5), delta, '{"type": "state", "state": "idle"}', frame(6, x="ü")]

    async def send(websocket: web.WebSocketResponse) -> None:
        for text in texts:
            await websocket.send_str(text)

    async with answering(at, relaying(send)):
        taken, error = await take_all(at, 3)
    assert isinstance(error, RelayBreak)
    assert [item.seq if isinstance(item, Output) else item for item in taken] == [4, 5, Delta(delta), 6]
    last = taken[-1]
    assert isinstance(last, Output)
    assert (last.text, last.data, last.kind) == (texts[-1], {"x": "ü"}, "message")
    assert last.at.tzinfo is not None


async def test_a_hole_is_a_fault_after_what_came_before_it(at: ControlAddress) -> None:
    async def send(websocket: web.WebSocketResponse) -> None:
        for text in (hello(9), frame(1), frame(2), frame(4)):
            await websocket.send_str(text)
        await websocket.receive()

    async with answering(at, relaying(send)):
        taken, error = await take_all(at, 0)
    assert [item.seq for item in taken if isinstance(item, Output)] == [1, 2]
    assert isinstance(error, FaultError)
    assert "output 3 is missing" in str(error)


async def test_a_journal_that_went_back_is_a_fault(at: ControlAddress) -> None:
    async def send(websocket: web.WebSocketResponse) -> None:
        await websocket.send_str(hello(2))
        await websocket.receive()

    async with answering(at, relaying(send)):
        _, error = await take_all(at, 5)
    assert isinstance(error, FaultError)


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", '{"type":"hello"}'])
async def test_a_frame_that_is_none_is_bad_luck(at: ControlAddress, text: str) -> None:
    async def send(websocket: web.WebSocketResponse) -> None:
        await websocket.send_str(text)
        await websocket.receive()

    async with answering(at, relaying(send)):
        taken, error = await take_all(at, 0)
    assert taken == []
    assert isinstance(error, DependencyError)


async def test_a_slow_reader_slows_the_runner_and_batches_are_bounded(at: ControlAddress) -> None:
    count, size = 3000, 16 * 1024
    sent = 0

    async def send(websocket: web.WebSocketResponse) -> None:
        nonlocal sent
        await websocket.send_str(hello(count))
        for seq in range(1, count + 1):
            await websocket.send_str(frame(seq, text="x" * size))
            sent = seq
        assert (await websocket.receive()).type is WSMsgType.CLOSE

    async with answering(at, relaying(send)), aclosing(RunnerLink().relay(at, 0)) as relay:
        first = await anext(relay)
        seen = -1
        async with asyncio.timeout(20):
            while seen != sent:  # until the runner can send no more
                seen = sent
                await asyncio.sleep(0.3)
        assert sent < count / 2
        batches = [first]
        while sum(len(batch) for batch in batches if isinstance(batch, list)) < count:
            batches.append(await anext(relay))
    outputs = [output for batch in batches if isinstance(batch, list) for output in batch]
    assert [output.seq for output in outputs] == list(range(1, count + 1))
    for batch in batches:
        assert isinstance(batch, list)
        assert len(batch) <= BATCH_OUTPUTS
        assert sum(len(output.text) for output in batch) <= BATCH_BYTES
    assert len(batches) < count / 10


async def test_the_longest_input_passes(at: ControlAddress) -> None:
    size = 7 * 1024 * 1024

    async def send(websocket: web.WebSocketResponse) -> None:
        await websocket.send_str(frame(1, text="x" * size))
        await websocket.send_str(frame(2))

    async with answering(at, relaying(send)):
        taken, error = await take_all(at, 0)
    assert isinstance(error, RelayBreak)
    assert [isinstance(item, Output) and len(item.text) > size for item in taken] == [True, False]


async def test_a_line_that_is_too_long_is_replaced_by_a_mark_and_the_next_relay_goes_on_after_it(
    at: ControlAddress,
) -> None:
    async def send(websocket: web.WebSocketResponse) -> None:
        with suppress(ConnectionError):  # the manager hangs up
            for text in (hello(3), frame(1), frame(2, text="x" * 20 * 1024 * 1024), frame(3)):
                await websocket.send_str(text)

    async with answering(at, relaying(send)):
        taken, error = await take_all(at, 0)
    assert isinstance(error, RelayBreak)
    first, mark = taken
    assert isinstance(first, Output)
    assert isinstance(mark, Output)
    assert (first.seq, mark.seq, mark.kind, mark.data["code"]) == (1, 2, "error", "output_unreadable")


async def test_a_line_that_cannot_be_read_is_replaced_by_a_mark(at: ControlAddress) -> None:
    async def send(websocket: web.WebSocketResponse) -> None:
        for text in (hello(2), '{"type":"event","seq":1}', frame(2)):
            await websocket.send_str(text)

    async with answering(at, relaying(send)):
        taken, _ = await take_all(at, 0)
    assert [(item.seq, item.kind) for item in taken if isinstance(item, Output)] == [(1, "error"), (2, "message")]


async def test_leaving_a_relay_leaves_nothing_running(at: ControlAddress) -> None:
    closed = asyncio.Event()

    async def send(websocket: web.WebSocketResponse) -> None:
        await websocket.send_str(frame(1))
        assert (await websocket.receive()).type is WSMsgType.CLOSE
        closed.set()

    before = asyncio.all_tasks()
    async with answering(at, relaying(send)):
        async with aclosing(RunnerLink().relay(at, 0)) as relay:
            await anext(relay)
        await asyncio.wait_for(closed.wait(), 10)
    assert not [task for task in asyncio.all_tasks() - before if task.get_name().startswith("relay")]


async def test_an_event_nested_deeper_than_the_fast_parser_goes_is_relayed(at: ControlAddress) -> None:
    deep: Any = "end"
    for _ in range(300):
        deep = [deep]
    lines = [frame(1, message=deep), frame(2, message="next")]

    async def script(websocket: web.WebSocketResponse) -> None:
        for text in [hello(2), *lines]:
            await websocket.send_str(text)

    async with answering(at, relaying(script)):
        taken, _ = await take_all(at, 0)
    assert [item.text for item in taken if isinstance(item, Output)] == lines


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
