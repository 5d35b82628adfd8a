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


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        pass


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """A host with a Python index, an npm registry, a git repository and a file, as HOST:PORT."""
    folder = tmp_path / "host"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
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
    assert (await quick_api.get(session["id"]))["network"] == network
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
    assert (await quick_api.get(session["id"]))["network"] == {"mode": "none", "allow": []}
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

    async def told() -> list[tuple[str, int, str]]:
        path = f"{SESSIONS}/{session['id']}/events"
        events = (await quick_api.http.get(path, params={"type": "egress.refused"})).json()
        return [(each["payload"]["host"], each["payload"]["port"], each["payload"]["reason"]) for each in events]

    async def all_told() -> bool:
        return {("other.example", 80, "host_not_allowed"), ("127.9.9.8", 80, "literal_address")} <= set(await told())

    await eventually(all_told, seconds=20, what=lambda: "the events of the refusals")
    refused = await quick_api.http.patch(f"{SESSIONS}/{session['id']}", json={"network": "open"})
    assert refused.status_code == 422
    assert "JELMORE_MAX_NETWORK" in refused.text
