"""A real gateway on real sockets, in this process, with a scripted model API behind it."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jelmore_gateway.credentials import ModelCredential
from jelmore_gateway.forward import Deadlines
from jelmore_gateway.gateway import Gateway
from jelmore_gateway.settings import Settings
from jelmore_gateway.state import State
from jelmore_gateway.vault import key_reader
from tests.integration.gateway.world import ModelApi, World, serving


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="jg-"))  # short: socket paths are
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def settings(folder: Path) -> Settings:
    return Settings(
        folder=folder / "gateway",
        state_dir=folder / "state",
        credential=ModelCredential(api_key="real-key"),
        model_url=f"unix:{folder}/api.sock",
        read_keys=key_reader({}, folder / "state"),
    )


@pytest.fixture
async def world(settings: Settings, folder: Path) -> AsyncIterator[World]:
    model = ModelApi()
    async with serving(model.app(), folder / "api.sock"):
        deadlines = replace(Deadlines(), connect_s=2, silence_s=2)
        state = State(settings.state_dir)
        world = World(settings, model, Gateway(settings, state, deadlines), state, deadlines=deadlines)
        await world.gateway.open()
        try:
            yield world
        finally:
            for client in world.clients.values():
                await client.close()
            await world.gateway.close()
