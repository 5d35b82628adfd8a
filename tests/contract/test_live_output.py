"""The live output's contract, on the fake and on Valkey."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis.asyncio

from jelmore.drivers.redis_output import RedisOutput
from tests.contract.live_output_contract import LiveOutputContract, Wipe
from tests.fakes.memory_live_output import MemoryLiveOutput

pytestmark = pytest.mark.contract
CAP = 500


class TestMemoryLiveOutput(LiveOutputContract):
    @pytest.fixture
    def live(self) -> MemoryLiveOutput:
        return MemoryLiveOutput(CAP)

    @pytest.fixture
    def wipe(self, live: MemoryLiveOutput) -> Wipe:
        async def wipe() -> None:
            live.wipe()

        return wipe


@pytest.mark.integration
class TestRedisOutput(LiveOutputContract):
    @pytest_asyncio.fixture
    async def live(self, redis_url: str) -> AsyncIterator[RedisOutput]:
        live = RedisOutput(redis_url, cap=CAP)
        yield live
        await live.close()

    @pytest_asyncio.fixture
    async def wipe(self, redis_url: str) -> AsyncIterator[Wipe]:
        client = redis.asyncio.Redis.from_url(redis_url, protocol=2)
        yield client.flushall
        await client.aclose()
