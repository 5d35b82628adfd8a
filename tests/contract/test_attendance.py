"""What managers report to each other about who looks, on the fake and on Redis."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from jelmore.drivers.redis_attendance import RedisAttendance
from jelmore.drivers.redis_calls import attendance_key, client_for_calls
from jelmore.drivers.redis_output import RedisOutput
from jelmore.ports.attendance import AttendanceBoard
from jelmore.session.errors import DependencyError
from tests.fakes.memory_attendance import MemoryAttendance

pytestmark = pytest.mark.contract


class AttendanceContract:
    """Subclasses give the fixture `board`."""

    async def test_each_manager_says_something_and_takes_it_back(self, board: AttendanceBoard) -> None:
        one, other = uuid4(), uuid4()
        assert await board.read(one) == {}
        await board.put(one, "a", "first", 45)
        await board.put(one, "b", "ü", 45)
        await board.put(one, "a", "second", 45)
        await board.put(other, "a", "elsewhere", 45)
        assert await board.read(one) == {"a": "second", "b": "ü"}
        for _ in range(2):
            await board.put(one, "a", "", 45)
            assert await board.read(one) == {"b": "ü"}


class TestMemoryAttendance(AttendanceContract):
    @pytest.fixture
    def board(self) -> MemoryAttendance:
        return MemoryAttendance()


@pytest.mark.integration
class TestRedisAttendance(AttendanceContract):
    @pytest_asyncio.fixture
    async def board(self, redis_url: str) -> AsyncIterator[RedisAttendance]:
        board = RedisAttendance(redis_url)
        yield board
        await board.close()

    async def test_it_expires_and_is_forgotten_with_the_session(self, board: RedisAttendance, redis_url: str) -> None:
        session_id: UUID = uuid4()
        client: Any = client_for_calls(redis_url, connections=1, timeout_s=5)
        await board.put(session_id, "a", "there", 45)
        assert 0 < await client.ttl(attendance_key(session_id)) <= 45
        live = RedisOutput(redis_url)
        await live.forget(session_id)
        assert await board.read(session_id) == {}
        await live.close()
        await client.aclose()


@pytest.mark.integration
async def test_a_redis_that_is_away_is_an_error_of_ours() -> None:
    board = RedisAttendance("redis://127.0.0.1:1/0")
    with pytest.raises(DependencyError):
        await board.read(uuid4())
    await board.close()
