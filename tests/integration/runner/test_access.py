"""Who may connect, what is refused, and what one bad or slow client can do to others: nothing."""

import json
import socket
import statistics
import time
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import replace
from uuid import UUID

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from jelmore.drivers.runner_link import RunnerLink
from jelmore.ports import ControlAddress
from jelmore.session.errors import DependencyError, RefusedError
from jelmore_protocol import SUBPROTOCOL
from jelmore_protocol.control import SECRET_HEADER, Init
from jelmore_protocol.tokens import Audience, Scope
from jelmore_protocol.websocket_server import ServerLimits
from tests.integration.runner.harness import Keys, Runner, eventually

pytestmark = pytest.mark.integration


async def test_dormant_health_and_refusals(runner: Runner) -> None:
    runner.start()
    await runner.listening()
    health = await runner.health()
    assert (health["phase"], health["session_id"], health["seq"]) == ("dormant", None, 0)
    for path, body, status, code in [
        ("/input", {"id": "x", "input": "y"}, 503, "unavailable"),
        ("/model", {"value": "m"}, 503, "unavailable"),
        ("/permissions/x", {"decision": "allow"}, 503, "unavailable"),
        ("/init", {"protocol": 1}, 422, "bad_frame"),
        ("/init", b"\xff{", 422, "bad_frame"),
        ("/init", runner.init_body(protocol=99), 409, "conflict"),
        ("/init", runner.init_body(session_id="not-a-uuid"), 422, "bad_frame"),
        ("/init", runner.init_body(requires=["teleport"]), 409, "conflict"),
        ("/nothing", {}, 404, "unknown_path"),
    ]:
        answer = await runner.call(path, body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), path
    async with runner.open() as client:
        assert await client.until_closed() == 1013
        assert client.frames == []


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_the_control_socket_asks_for_the_secret_it_was_given(
    runner: Runner, kind: str, unused_tcp_port: int
) -> None:
    (runner.folder / "secret").write_text("s3\n")
    runner.environment["JELMORE_RUNNER_SECRET_FILE"] = str(runner.folder / "secret")
    place = f"127.0.0.1:{unused_tcp_port}" if kind == "tcp" else f"{runner.folder}/c.sock"
    runner.environment["JELMORE_RUNNER_CONTROL"] = f"{kind}:{place}"
    runner.start()
    at = ControlAddress(f"{kind}:{place}", UUID(runner.session_id), 1, "s3")

    async def answers() -> bool:
        with suppress(DependencyError):
            return (await RunnerLink().health(at)).seq == 0
        return False

    await eventually(answers, "the control socket answers")
    for secret in ("", "s4", "s3x", "s"):
        stranger = replace(at, secret=secret)
        with pytest.raises(RefusedError, match=SECRET_HEADER):
            await RunnerLink().health(stranger)
        with pytest.raises(DependencyError):
            async with aclosing(RunnerLink().relay(stranger, 0)) as relay:
                await anext(relay)
    body = Init.model_validate(runner.init_body(1))
    assert (await RunnerLink().init(at, body)).session_id == runner.session_id


async def test_a_control_port_without_a_secret_is_not_opened(runner: Runner, unused_tcp_port: int) -> None:
    runner.environment["JELMORE_RUNNER_CONTROL"] = f"tcp:127.0.0.1:{unused_tcp_port}"
    runner.start()
    assert runner.process is not None
    assert runner.process.wait(20) == 2
    assert "JELMORE_RUNNER_SECRET_FILE" in runner.log


@pytest.fixture
def unused_tcp_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_init_is_taken_once(runner: Runner) -> None:
    await runner.begin()
    assert (await runner.call("/init", runner.init_body(1))).status_code == 200
    again = await runner.call("/init", runner.init_body(2))
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert (
        await runner.call("/init", runner.init_body(1, session_id="0198c0de-0000-7000-8000-0000000000ff"))
    ).status_code == 409


async def test_control_input_errors(runner: Runner) -> None:
    await runner.begin()
    for body, status, code in [
        ({"id": "x", "input": ""}, 422, "input_empty"),
        ({"id": "x", "input": "  \n"}, 422, "input_empty"),
        ({"id": "", "input": "x"}, 422, "bad_frame"),
        ({"id": "x", "input": "ü" * (512 * 1024 + 1)}, 413, "input_too_large"),
        ({"input": "x"}, 422, "bad_frame"),
    ]:
        answer = await runner.call("/input", body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await runner.call("/permissions/none", {"decision": "allow"})).status_code == 404
    assert (await runner.call("/interrupt", {})).status_code == 200
    assert (await runner.call("/model", {"value": "claude-haiku-4-5"})).status_code == 200
    assert (await runner.call("/permission-mode", {"value": "plan"})).status_code == 200
    assert (await runner.call("/permission-mode", {"value": "nonsense"})).status_code in {409, 503}
    first, second = [(await runner.call("/input", {"id": "same", "input": "hi"})).json() for _ in range(2)]
    assert first == second


async def test_control_bodies_are_small_and_have_few_values(runner: Runner) -> None:
    await runner.begin()
    for path, body in (("/stop", {"reason": "x" * 20_000}), ("/input", {"id": "x", "input": "x" * (9 * 2**20)})):
        answer = await runner.call(path, body)
        assert (answer.status_code, answer.json()["code"]) == (413, "input_too_large"), path
    many = {"id": "x", "input": "x", "more": [[]] * 100_001}
    answer = await runner.call("/input", many)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_frame")
    assert "values" in answer.json()["message"]
    assert (await runner.call("/input", {"id": "long", "input": "\x01" * (1024 * 1024)})).status_code == 200


async def test_too_many_inputs_are_refused(runner: Runner) -> None:
    await runner.begin()
    await runner.call("/input", {"id": "busy", "input": "demo> sleep 20"})
    answers = [await runner.call("/input", {"id": f"n{number}", "input": "x"}) for number in range(101)]
    assert [answer.status_code for answer in answers] == [200] * 100 + [429]
    assert answers[-1].json()["code"] == "queue_full"


async def test_tokens_that_open_nothing(runner: Runner) -> None:
    await runner.begin()
    stranger = Runner(runner.folder, runner.gateway)
    stranger.session_id = runner.session_id
    other_session = "0198c0de-0000-7000-8000-0000000000ff"
    for token, code in [
        (stranger.token(), 4401),
        ("rubbish", 4401),
        (runner.token(expires_at=int(time.time()) - 5), 4401),
        (runner.token(session_id=other_session), 4403),
        (runner.token(audience=Audience.GATEWAY), 4403),
        (runner.token(scopes=frozenset()), 4403),
    ]:
        async with runner.open(token=token) as client:
            assert await client.until_closed() == code
            assert client.frames == []
    assert stranger.keys.public != Keys().public


async def test_a_token_may_come_as_subprotocol_or_first_frame(runner: Runner) -> None:
    await runner.begin()
    async with runner.open(token="", subprotocols=[SUBPROTOCOL, f"jelmore.token.{runner.token()}"]) as client:
        assert client.connection.subprotocol == SUBPROTOCOL
        assert (await client.next())["type"] == "hello"
    async with runner.open(token="") as client:
        await client.send(type="auth", token=runner.token())
        assert (await client.next())["type"] == "hello"
    async with runner.open(token="") as client:
        await client.send(type="input", input="not yet")
        assert await client.until_closed() == 4401
        assert client.frames == []
    async with runner.open(token="") as client:
        assert await client.until_closed() == 4408


async def test_reading_is_not_writing(runner: Runner) -> None:
    await runner.begin()
    async with runner.open(token=runner.token(scopes=frozenset({Scope.READ}))) as client:
        for number, frame in enumerate(
            [
                {"type": "input", "input": "x"},
                {"type": "interrupt"},
                {"type": "permission", "request_id": "x", "decision": "allow"},
            ]
        ):
            await client.send(id=str(number), **frame)
            assert (await client.reply(str(number)))["code"] == "forbidden"
        await client.send(type="ping", id="p")
        assert (await client.reply("p"))["type"] == "pong"
    assert not [event for event in runner.events() if event["kind"] == "input"]


async def test_a_connection_ends_with_its_token_unless_renewed(runner: Runner) -> None:
    await runner.begin()
    soon = runner.token(expires_at=int(time.time()) + 2)
    async with runner.open(token=soon) as short, runner.open(token=soon) as renewed:
        await renewed.send(type="auth", id="new", token=runner.token())
        assert (await renewed.reply("new"))["type"] == "ack"
        assert await short.until_closed() == 4401
        await renewed.send(type="ping", id="alive")
        assert (await renewed.reply("alive"))["type"] == "pong"


async def test_bad_frames_are_named_and_then_end_the_connection(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        await client.next()
        for text, word in [("{", "JSON"), ('{"type":"dance"}', "dance"), ('{"type":"input"}', "input"), ("[]", "")]:
            await client.connection.send(text)
            error = await client.until(lambda frame: frame["type"] == "error")
            assert error["code"] == "bad_frame"
            assert word in error["message"]
        await client.connection.send(b"\x00\x01")
        assert "text" in (await client.until(lambda frame: frame["type"] == "error"))["message"]
        for _ in range(15):
            await client.connection.send("nonsense")
        assert await client.until_closed() == 1008


async def test_draining_disconnects_clients_but_not_in_a_turn(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client, runner.relay() as relay:
        await client.send(type="input", id="one", input="demo> run touch asked")
        await client.until_event("permission_requested")
        assert (await runner.call("/quiet", {"on": True})).status_code == 409
        await client.send(type="interrupt")
        await client.until_event("state", waiting_for="prompt")
        assert (await runner.call("/quiet", {"on": True})).json()["quiet"] is True
        assert await client.until_closed() == 1001
        async with runner.open() as late:
            assert await late.until_closed() == 1013
        await runner.call("/quiet", {"on": False})
        async with runner.open() as back:
            assert (await back.next())["type"] == "hello"
        assert (await relay.next())["type"] == "hello"


async def test_a_revoked_key_ends_the_connections_of_its_tokens_and_no_others(runner: Runner) -> None:
    await runner.begin()
    async with runner.open(token=runner.token(subject="key_bob")) as bob, runner.open() as ada:
        for client in (bob, ada):
            assert (await client.next())["type"] == "hello"
        assert (await runner.call("/revoke", {"subjects": ["key_bob"]})).status_code == 200
        assert await bob.until_closed() == 4401
        await ada.send(type="auth", token=runner.token(subject="key_bob"), id="renewal")
        assert (await ada.until(lambda frame: frame["type"] == "error"))["code"] == "forbidden"
        async with runner.open(token=runner.token(subject="key_bob")) as again:
            assert await again.until_closed() == 4401
        await ada.send(type="ping", id="still here")
        assert (await ada.until(lambda frame: frame["type"] == "pong"))["id"] == "still here"


async def test_an_epoch_of_an_account_ends_by_itself_and_events_name_the_account(runner: Runner) -> None:
    await runner.begin()
    async with runner.open(token=runner.token(subject="account_ann")) as old:
        assert (await old.next())["type"] == "hello"
        assert (await runner.call("/revoke", {"subjects": ["account_ann"]})).status_code == 200
        assert await old.until_closed() == 4401
    async with runner.open(token=runner.token(subject="account_ann#1")) as new:
        await new.send(type="input", id="one", input="demo> say hi")
        assert (await new.until_event("input"))["data"]["by"] == "account_ann"


async def test_a_rotation_ends_the_connections_of_earlier_tokens(runner: Runner) -> None:
    await runner.begin()
    async with runner.open(token=runner.token(epoch=1)) as fresh, runner.open() as old:
        for client in (fresh, old):
            assert (await client.next())["type"] == "hello"
        assert (await runner.call("/revoke", {"subjects": [], "token_epoch": 1})).status_code == 200
        assert await old.until_closed() == 4401
        async with runner.open() as again:
            assert await again.until_closed() == 4401
        await fresh.send(type="ping", id="still here")
        assert (await fresh.until(lambda frame: frame["type"] == "pong"))["id"] == "still here"


async def test_a_reader_that_stops_is_cut_off_and_slows_nobody(runner: Runner) -> None:
    runner.environment["JELMORE_RUNNER_SEND_TIMEOUT_S"] = "8"  # the good reader writes much before it reads
    await runner.begin()
    async with runner.open() as good, runner.open() as stuck:
        await stuck.next()
        stop_reading(stuck.connection)
        await good.send(type="input", id="one", input="demo> say " + "x" * 400_000)
        for number in range(8):
            await good.send(type="input", id=f"n{number}", input="demo> say " + "y" * 400_000)
        began = time.monotonic()
        await good.until_result("n7")
        taken_s = time.monotonic() - began
        await eventually(lambda: subscribers(runner, 1), "the stuck reader is gone", 60)
        stuck.connection.transport.resume_reading()
        assert await stuck.until_closed() in {4429, 1006}
        assert good.seqs == list(range(1, len(good.seqs) + 1))
    print(f"the good reader took {taken_s:.2f} s for 9 turns of 400 kB beside a stuck one")


async def test_too_many_connections_are_asked_to_retry(runner: Runner) -> None:
    runner.environment["JELMORE_RUNNER_MAX_CONNECTIONS"] = "2"
    await runner.begin()
    async with runner.open() as one, runner.open() as two:
        await one.next()
        await two.next()
        async with runner.open() as three:
            assert await three.until_closed() == 1013


async def test_those_without_a_token_keep_nobody_with_one_out(runner: Runner) -> None:
    runner.environment["JELMORE_RUNNER_MAX_CONNECTIONS"] = "2"
    await runner.begin()
    async with AsyncExitStack() as stack:
        for _ in range(ServerLimits().max_unauthenticated):
            await stack.enter_async_context(runner.open(token=""))
        async with runner.open(token="") as stranger:
            assert await stranger.until_closed() == 1013
        one, two = [await stack.enter_async_context(runner.open()) for _ in range(2)]
        assert [(await client.next())["type"] for client in (one, two)] == ["hello", "hello"]
        async with runner.open() as three:
            assert await three.until_closed() == 1013


async def test_a_client_that_sends_its_token_too_late_is_asked_to_retry(runner: Runner) -> None:
    await runner.begin()
    async with runner.open(token="") as client:
        await runner.call("/quiet", {"on": True})
        await client.send(type="auth", token=runner.token())
        assert await client.until_closed() == 1013
        assert client.frames == []


async def test_frames_are_as_large_as_the_token_lets_them_be(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as writer:
        longest = json.dumps({"type": "input", "id": "one", "input": "\x01" * (1024 * 1024)})
        await writer.connection.send(longest)
        assert (await writer.reply("one"))["type"] == "ack"
        with suppress(ConnectionClosed):
            await writer.connection.send("x" * (9 * 1024 * 1024))
        assert await writer.until_closed() == 1009
    for renewed, code in [(False, 1009), (True, 1008)]:
        async with runner.open(token=runner.token(scopes=frozenset({Scope.READ}))) as reader:
            if renewed:
                await reader.send(type="auth", id="new", token=runner.token())
                assert (await reader.reply("new"))["type"] == "ack"
            with suppress(ConnectionClosed):
                for _ in range(20):
                    await reader.connection.send("x" * 20_000)
            assert await reader.until_closed() == code


async def test_a_model_that_cannot_be_reached_is_an_error_of_the_turn(runner: Runner) -> None:
    runner.gateway = "unix:/nowhere/gateway.sock"
    await runner.begin()
    async with runner.open() as client:
        await client.send(type="input", id="one", input="hello")
        retry = await client.until_event("message", input_id="one")
        assert retry["data"]["message"]["type"] == "system"
        await client.until(lambda frame: "api_retry" in json.dumps(frame))
        await client.send(type="interrupt")
        assert (await client.until_result("one"))["is_error"] is True


async def test_latency_from_journal_to_subscriber(runner: Runner) -> None:
    """Reports; the bound only distinguishes "works" from "polls"."""
    await runner.begin()
    async with runner.open() as client:
        taken = []
        for number in range(50):
            began = time.perf_counter()
            await client.send(type="input", id=f"n{number}", input="demo> say ok")
            await client.until_event("input", id=f"n{number}")
            taken.append((time.perf_counter() - began) * 1000)
            await client.until_result(f"n{number}")
    print(f"input -> journaled event at the sender: median {statistics.median(taken):.2f} ms, max {max(taken):.2f} ms")
    assert statistics.median(taken) < 1000


async def subscribers(runner: Runner, count: int) -> bool:
    return bool((await runner.health())["subscribers"] == count)


def stop_reading(connection: ClientConnection) -> None:
    connection.transport.pause_reading()
