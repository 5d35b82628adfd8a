"""Ports of a session against the whole system, with sessions that are processes of this machine."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, ViewportSize, expect

from jelmore_client import AsyncJelmore, Jelmore, NotFoundError
from tests.e2e.test_command import COMMAND, Shell
from tests.e2e.test_dashboard_pages import CUT, SMALL
from tests.integration.runner.harness import free_port
from tests.support.browsing import DESK, PHONE, page_of, picture, violations
from tests.support.dev_server import dev_server
from tests.support.stack_client import Api


@pytest.fixture
def shell(local_api: Api, tmp_path: Path) -> Shell:
    return Shell(local_api, tmp_path)


async def test_a_local_port_leads_to_a_server_in_the_session(shell: Shell, local_api: Api) -> None:
    session_id = (await local_api.create())["id"]
    async with dev_server(local_api, session_id, free_port()) as port:
        code, out, _ = await shell.run("port", session_id)
        assert code == 0
        assert f"{port}" in out
        assert "dev_server.py" in out
        local = free_port()
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "port", session_id, f"{port}:{local}", env=shell.environment, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        url = f"http://{port}--{session_id[-8:]}.localhost:{local}"
        printed = (await process.stdout.readline()).decode()
        assert printed == f"127.0.0.1:{local} -> port {port}, in a browser {url}\n"
        name = {"Host": url.removeprefix("http://")}  # a browser finds it on 127.0.0.1
        async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{local}", headers=name) as http:
            first = (await http.get("/a?b=1")).json()
            assert (first["method"], first["path"]) == ("GET", "/a?b=1")
            assert (await http.post("/", content=bytes(3_000_000))).json()["bytes"] == 3_000_000
        process.terminate()
        async with asyncio.timeout(20):
            assert await process.wait() == 0


async def test_the_clients_connect_to_a_port(local_api: Api) -> None:
    session_id = (await local_api.create())["id"]
    request = b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    async with dev_server(local_api, session_id, free_port()) as port:
        async with (
            AsyncJelmore(local_api.stack.url, api_key=local_api.stack.api_key) as client,
            (await client.sessions.get(session_id)).port(port) as connection,
        ):
            await connection.write(request)
            await connection.end()
            answer = b""
            while piece := await connection.read():
                answer += piece
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")

        def blocking() -> bytes:
            with (
                Jelmore(local_api.stack.url, api_key=local_api.stack.api_key) as client,
                client.sessions.get(session_id).port(port) as connection,
            ):
                connection.write(request)
                return connection.read()

        assert (await asyncio.to_thread(blocking)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_what_cannot_be_forwarded_is_said(shell: Shell, local_api: Api) -> None:
    session_id = (await local_api.create())["id"]
    for wrong in ("0", "x", "3000:99999"):
        code, _, error = await shell.run("port", session_id, wrong)
        assert (code, wrong.split(":")[-1] in error) == (2, True)
    async with AsyncJelmore(local_api.stack.url, api_key=local_api.stack.api_key) as client:
        session = await client.sessions.get(session_id)
        with pytest.raises(Exception, match="nothing of the session listens on port"):
            async with session.port(free_port()):
                pass


async def test_the_dashboard_opens_a_port_in_a_window_of_its_own(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create(title="A site"))["id"]
    async with dev_server(local_api, session_id, free_port()) as port, page_of(local_api, browser) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}/conversation")
        await page.get_by_role("button", name="Ports", exact=True).click()
        async with page.expect_popup() as opening:
            await page.get_by_role("button", name=f"Open {port}").click()
        opened = await opening.value
        await opened.wait_for_url(re.compile(rf"http://{port}--{session_id}\.localhost:\d+/$"))
        seen = await opened.evaluate("fetch('/from-page').then(answer => answer.json())")
        got = dict(seen["headers"])
        assert (seen["path"], got["host"]) == ("/from-page", f"localhost:{port}")
        assert "jelmore" not in got.get("cookie", "")
        assert await opened.evaluate("window.opener === null && document.cookie === ''")
        echoed = await opened.evaluate(
            """() => new Promise((done, failed) => {
                    const socket = new WebSocket(`ws://${location.host}/ws`);
                    socket.onopen = () => socket.send("hello");
                    socket.onmessage = event => done(event.data);
                    socket.onerror = failed;
                })"""
        )
        assert echoed == "hello"
        first = await opened.evaluate(
            "new Promise(done => new EventSource('/events').onmessage = event => done(event.data))"
        )
        assert first == "0"
        reached = await opened.evaluate(f"fetch('{local_api.stack.url}/api/v1/me').then(() => true, () => false)")
        assert not reached, "the page of a port reads nothing of the dashboard's origin"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
async def test_the_list_of_ports_on_every_screen(
    local_api: Api, browser: Browser, size: ViewportSize, scheme: str
) -> None:
    session_id = (await local_api.create(title="A site"))["id"]
    async with (
        dev_server(local_api, session_id, free_port()) as port,
        page_of(local_api, browser, size, scheme) as page,
    ):
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}/conversation")
        await page.get_by_role("button", name="Ports", exact=True).click()
        await expect(page.get_by_role("button", name=f"Open {port}")).to_be_visible()
        await picture(page, f"ports-{size['width']}-{scheme}")
        assert await page.evaluate(CUT) == []
        assert await page.evaluate(SMALL) == []
        assert await violations(page) == []


OTHERS = """
import os
for table in ("/proc/net/tcp", "/proc/net/tcp6"):
    for line in open(table).readlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and int(fields[7]) != os.getuid():
            print(int(fields[1].rpartition(":")[2], 16))
"""


async def test_in_a_container_only_the_servers_of_the_agent_are_reached(quick_api: Api) -> None:
    session_id = (await quick_api.create())["id"]
    async with dev_server(quick_api, session_id, 3000) as port:
        async with AsyncJelmore(quick_api.stack.url, api_key=quick_api.stack.api_key) as client:
            session = await client.sessions.get(session_id)
            found = await session.ports()
            assert [(each.port, "dev_server.py" in each.command) for each in found] == [(3000, True)]
            await session.files.write("others.py", OTHERS.encode())
            async with session.terminal("others", command="python3 others.py", pty=False) as terminal:
                printed = b""
                while not terminal.state.ended:
                    piece = await terminal.read()
                    printed += piece.data if piece else b""
            others = [int(line) for line in printed.split()]
            assert others, "the runner's way to the model listens"
            for each in others:
                with pytest.raises(NotFoundError, match="nothing of the session listens"):
                    async with session.port(each):
                        pass
            url = httpx.URL((await session.port_link(port)).url)
        async with httpx.AsyncClient(trust_env=False, base_url=quick_api.stack.url) as browser:
            named = {"Host": url.netloc.decode()}
            assert (await browser.get("/", headers=named)).status_code == 401
            moved = await browser.get(url.raw_path.decode(), headers=named)
            assert moved.status_code == 303, moved.text
            named["Cookie"] = moved.headers["set-cookie"].partition(";")[0]
            seen = (await browser.post("/x", headers=named, content=bytes(1_000_000))).json()
            assert (seen["path"], seen["bytes"], dict(seen["headers"])["host"]) == ("/x", 1_000_000, "localhost:3000")
