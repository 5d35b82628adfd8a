"""Records in Redis: the newest wins, whatever order the writers come in."""

import asyncio
import random
from dataclasses import replace

import pytest

from jelmore.drivers.redis_records import RedisRecords
from tests.support.records import ended, new_session

pytestmark = pytest.mark.integration


async def test_an_older_record_never_replaces_a_newer_one(redis_url: str) -> None:
    records = RedisRecords(redis_url)
    session = replace(new_session(), version=1)
    over = replace(ended(session)[0], version=30)
    versions = [over, *(replace(session, version=version) for version in range(1, 30))]
    random.Random(1).shuffle(versions)
    try:
        assert await records.get(session.id) is None
        await asyncio.gather(*(records.put(version) for version in versions))
        assert await records.get(session.id) == over
        await records.put(session)
        assert await records.get(session.id) == over
        await records.drop(session.id)
        await records.drop(session.id)
        assert await records.get(session.id) is None
    finally:
        await records.close()
