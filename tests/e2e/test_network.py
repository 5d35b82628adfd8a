"""What a session reaches: real package managers inside, against servers on this machine that stand in for hosts."""

import functools
import http.server
import io
import json
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.stack_client import SESSIONS, Api, Frame, eventually, tool_answers

ADDRESS = "127.9.9.9"
"""Not 127.0.0.1, which tools do not send through a proxy. The stack lets sessions reach it where they list it."""


class Draining(http.server.SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        pass


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """A host with a Python index, an npm registry, a git repository and a file, as HOST:PORT."""
    folder = tmp_path / "host"
    folder.mkdir()
    handler = functools.partial(Draining, directory=str(folder))
    with http.server.ThreadingHTTPServer((ADDRESS, 0), handler) as server:
        authority = f"{ADDRESS}:{server.server_port}"
        _fill(folder, authority)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield authority
        server.shutdown()
        thread.join()


def _fill(folder: Path, authority: str) -> None:
    (folder / "hello.txt").write_text("hello from outside")
    index = folder / "simple" / "tiny-thing"
    index.mkdir(parents=True)
    wheel = "tiny_thing-1.0-py3-none-any.whl"
    (index / "index.html").write_text(f'<a href="{wheel}">{wheel}</a>')
    with zipfile.ZipFile(index / wheel, "w") as archive:
        archive.writestr("tiny_thing.py", "print('tiny thing')\n")
        about = "tiny_thing-1.0.dist-info"
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    package = {"name": "tiny", "version": "1.0.0"}
    with tarfile.open(folder / "tiny-1.0.0.tgz", "w:gz") as bundle:
        for name, text in (("package.json", json.dumps(package)), ("index.js", "console.log('tiny')")):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            bundle.addfile(entry, io.BytesIO(text.encode()))
    release = {**package, "dist": {"tarball": f"http://{authority}/tiny-1.0.0.tgz"}}
    listing = {"name": "tiny", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": release}}
    (folder / "tiny").write_text(json.dumps(listing))
    commands = (
        "git init -q work && cd work && echo hello >README && git add ."
        " && git -c user.name=a -c user.email=a@b commit -qm one"
        " && cd .. && git clone -q --bare work repo.git && git -C repo.git update-server-info && rm -rf work"
    )
    subprocess.run(commands, shell=True, check=True, cwd=folder)


async def run(api: Api, session: Frame, command: str) -> str:
    """Return what a command of the agent's prints."""
    await api.ask(session["id"], f"demo> run ({command}) 2>&1; true")
    return tool_answers(await api.all(session["id"], "output"))[-1]


async def test_package_managers_work_where_the_policy_allows_the_host(quick_api: Api, host: str) -> None:
    network = {"mode": "custom", "allow": [host]}
    session = await quick_api.create(allowed_tools=["Bash"], network=network)
    assert (await quick_api.get(session["id"]))["network"] == {**network, "ask": [], "approved": []}
    commands = {
        f"curl -sS http://{host}/hello.txt": "hello from outside",
        f"python3 -m venv v && v/bin/pip install -q --disable-pip-version-check --trusted-host {ADDRESS}"
        f" --index-url http://{host}/simple tiny-thing && v/bin/python -m tiny_thing": "tiny thing",
        f"uv venv -q u && VIRTUAL_ENV=u uv pip install -q --allow-insecure-host {host}"
        f" --index-url http://{host}/simple tiny-thing && u/bin/python -m tiny_thing": "tiny thing",
        f"npm install --silent --no-audit --no-fund --registry http://{host}/ tiny && node node_modules/tiny": "tiny",
        f"git clone -q http://{host}/repo.git cloned && cat cloned/README": "hello",
        f"node -e \"fetch('http://{host}/hello.txt').then(r => r.text()).then(console.log)\"": "hello from outside",
    }
    for command, expected in commands.items():
        assert (await run(quick_api, session, command)).endswith(expected), command


async def test_what_a_session_may_reach_changes_while_it_runs(quick_api: Api, host: str) -> None:
    session = await quick_api.create(allowed_tools=["Bash"])
    assert (await quick_api.get(session["id"]))["network"] == {"mode": "none", "allow": [], "ask": [], "approved": []}
    fetch = f"curl -sS http://{host}/hello.txt"
    assert "this session has no network" in await run(quick_api, session, fetch)
    changed = await quick_api.http.patch(
        f"{SESSIONS}/{session['id']}", json={"network": {"mode": "custom", "allow": [host]}}
    )
    assert changed.status_code == 200, changed.text

    async def reached() -> bool:
        return (await run(quick_api, session, fetch)).endswith("hello from outside")

    await eventually(reached, seconds=20, what=lambda: "the host after the change")
    assert "not among the hosts" in await run(quick_api, session, "curl -sS http://other.example/")
    assert "IP address that is not" in await run(quick_api, session, "curl -sS http://127.9.9.8/")

    async def refusals() -> list[tuple[str, int, str]]:
        path = f"{SESSIONS}/{session['id']}/events"
        events = (await quick_api.http.get(path, params={"type": "egress.refused"})).json()
        return [(each["payload"]["host"], each["payload"]["port"], each["payload"]["reason"]) for each in events]

    async def all_reported() -> bool:
        return {("other.example", 80, "host_not_allowed"), ("127.9.9.8", 80, "literal_address")} <= set(
            await refusals()
        )

    await eventually(all_reported, seconds=20, what=lambda: "the events of the refusals")
    refused = await quick_api.http.patch(f"{SESSIONS}/{session['id']}", json={"network": "open"})
    assert refused.status_code == 422
    assert "JELMORE_MAX_NETWORK" in refused.text


async def begin(api: Api, session: Frame, command: str) -> str:
    """Let the agent run a command; return the id of the input, whose turn may wait for a person."""
    sent = await api.post(session["id"], "/input", {"input": f"demo> run ({command}) 2>&1; true"})
    assert sent.status_code == 202, sent.text
    return str(sent.json()["input_id"])


async def printed(api: Api, session: Frame, input_id: str) -> str:
    """Return what the command of an input printed, once its turn has ended."""
    events: list[Frame] = []

    async def ended() -> bool:
        events[:] = await api.all(session["id"], "output")
        return any(each["kind"] == "turn_ended" and each["data"]["input_id"] == input_id for each in events)

    await eventually(ended, seconds=40, what=lambda: f"the end of the turn; last: {events[-3:]}")
    return tool_answers(events)[-1]


async def decided(api: Api, session: Frame, input_id: str, **given: Any) -> str:
    """Answer the connection that the command of an input waits for, and return what the command prints."""
    await api.until(session["id"], waiting_for="egress")
    (request,) = (await api.get(session["id"], "/permissions"))["pending"]
    assert (request["waiting_for"], request["input"]["host"]) == ("egress", ADDRESS)
    answered = await api.post(session["id"], f"/permissions/{request['request_id']}", given)
    assert answered.status_code == 200, answered.text
    return await printed(api, session, input_id)


async def waits_for_a_person(api: Api, session: Frame, input_id: str) -> bool:
    """Return whether the command of an input comes to wait for a person, and does not end before."""
    found: list[bool] = []

    async def known() -> bool:
        waits = (await api.get(session["id"]))["waiting_for"] == "egress"
        ends = [
            each["data"]["input_id"] for each in await api.all(session["id"], "output") if each["kind"] == "turn_ended"
        ]
        found[:] = [waits] if waits or input_id in ends else []
        return bool(found)

    await eventually(known, what=lambda: "the end of the turn or a connection that waits")
    return found[0]


async def test_a_person_decides_about_a_connection_that_waits(quick_api: Api, host: str) -> None:
    network = {"mode": "none", "ask": [host, f"{ADDRESS}:9", "10.9.9.9"]}
    session = await quick_api.create(allowed_tools=["Bash"], network=network)
    fetch = f"curl -sS http://{host}/hello.txt"
    once = await decided(quick_api, session, await begin(quick_api, session, fetch), decision="allow")
    assert once.endswith("hello from outside")
    sent = await begin(quick_api, session, fetch)
    always = await decided(quick_api, session, sent, decision="allow", remember="session")
    assert always.endswith("hello from outside")
    assert (await run(quick_api, session, fetch)).endswith("hello from outside")
    assert (await quick_api.get(session["id"]))["network"]["approved"] == [host]
    back = await quick_api.http.patch(f"{SESSIONS}/{session['id']}", json={"network": network})
    assert back.json()["network"]["approved"] == []

    # The gateway gets the change within moments; until then, the connection is allowed.
    while not await waits_for_a_person(quick_api, session, sent := await begin(quick_api, session, fetch)):
        assert (await printed(quick_api, session, sent)).endswith("hello from outside")
    said = await decided(quick_api, session, sent, decision="deny", message="read the file here")
    assert "a person denied the connection" in said
    assert "read the file here" in said
    late = await printed(quick_api, session, await begin(quick_api, session, f"curl -sS http://{ADDRESS}:9/"))
    assert "a person must allow" in late
    assert "nobody did within" in late
    inside = await run(quick_api, session, "curl -sS http://10.9.9.9/")
    assert "10.9.9.9 leads to 10.9.9.9, which is blocked (private)" in inside
    resolved = [e["data"] for e in await quick_api.all(session["id"], "output") if e["kind"] == "permission_resolved"]
    assert [each["decision"] for each in resolved] == ["allow", "allow", "deny", "deny"]
    assert resolved[-1]["cause"] == "expired"
