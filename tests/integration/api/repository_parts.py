"""A git host with repositories, and a real gateway that the API of a world asks for them."""

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from jelmore_gateway.control_api import control_app
from jelmore_gateway.credentials import ModelCredential
from jelmore_gateway.gateway import Gateway
from jelmore_gateway.settings import Settings
from jelmore_gateway.state import State
from jelmore_gateway.vault import key_reader
from jelmore_protocol.gateway import CredentialKey, GatewayConfig, Route, Scope, SealedCredential
from tests.integration.api.world import World, world
from tests.support.git_server import BASIC, GitServer

BASE = "/api/v1/sessions"


def git(folder: Path, *words: str) -> str:
    identity = {f"GIT_{who}_{what}": "p@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **identity}
    done = subprocess.run(["git", *words], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make_origin(tmp_path: Path) -> Path:
    """A host's folder, with one repository that is open and the same one that needs a password."""
    own, host = tmp_path / "own", tmp_path / "host"
    own.mkdir()
    git(own, "init", "-q", "-b", "trunk")
    for number in (1, 2, 3):
        (own / "code").write_text(f"{number}\n")
        git(own, "add", ".")
        git(own, "commit", "-q", "-m", f"commit {number}")
    git(own, "tag", "v1", "HEAD~1")
    git(own, "branch", "old", "HEAD~2")
    for name in ("open", "private"):
        (host / name).mkdir(parents=True)
        git(host / name, "clone", "-q", "--bare", str(own), "project.git")
    return host


@asynccontextmanager
async def real_gateway(made: World, config: GatewayConfig, credentials: dict[str, str]) -> AsyncIterator[Gateway]:
    """Let a real gateway listen where the API of this world asks."""
    folder = made.gateway_folder
    settings = Settings(
        folder=folder / "gateway",
        state_dir=folder / "state",
        credential=ModelCredential(api_key="real-key"),
        model_url="http://127.0.0.1:9",
        read_keys=key_reader({}, folder / "state"),
    )
    settings.state_dir.mkdir()
    state = State(settings.state_dir)
    gateway = Gateway(settings, state)
    await gateway.open()
    control = web.AppRunner(control_app(gateway, state), access_log=None)
    await control.setup()
    await web.UnixSite(control, str(settings.control_socket)).start()
    sealed = []
    for name, value in credentials.items():
        whose = CredentialKey(scope=Scope.DEPLOYMENT, name=name)
        text, key_id = gateway.vault.seal(whose, value)
        sealed.append(SealedCredential(**whose.model_dump(), sealed=text, key_id=key_id))
    await gateway.configure(config.model_copy(update={"credentials": sealed}))
    try:
        yield gateway
    finally:
        await control.cleanup()
        await gateway.close()


@asynccontextmanager
async def repository_world(host: GitServer) -> AsyncIterator[World]:
    """Yield a world whose gateway has routes to the host."""
    routes = [
        Route(name="git/host", url=host.url, private=True),
        Route(name="git/bot", url=f"{host.url}/private", credential="bot", prefix="Basic ", private=True),
        Route(name="git/public", url=f"http://localhost:{host.port}/open"),
        Route(name="git/wrong", url=f"{host.url}/private", credential="wrong", prefix="Basic ", private=True),
        Route(name="git/unset", url=host.url, credential="unset", private=True),
    ]
    async with (
        world() as it,
        real_gateway(it, GatewayConfig(digest="x", routes=routes), {"bot": BASIC, "wrong": "bm9ib2R5OnRoZXJl"}),
    ):
        yield it


async def create_with_repository(made: World, **repository: Any) -> dict[str, Any]:
    async with made.client() as client:
        answer = await client.post(BASE, json={"repository": repository})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found
