"""What every store of the warm pool does together with the store of sessions, fake or real."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import pytest

from jelmore.ports import Demand, Idempotency, PoolStore, Store
from jelmore.session.errors import CapacityError, IdempotencyMismatchError
from jelmore.session.events import EventDraft, EventType
from jelmore.session.pool import MemberState, Shape
from jelmore.session.record import Session, Spec
from jelmore.session.states import Presence
from jelmore.session.warm_start import WarmStart
from tests.support.records import ended, new_id, new_session

ROOM = 1000
SHAPE = Shape("image-1", 4 << 30, 1.0, 1024)
OTHERS = (
    Shape("image-2", 4 << 30, 1.0, 1024),
    Shape("image-1", 2 << 30, 1.0, 1024),
    Shape("image-1", 4 << 30, 0.5, 1024),
    Shape("image-1", 4 << 30, 1.0, 512),
)


async def ready(pool: PoolStore, shape: Shape = SHAPE, profile: str = "default") -> UUID:
    """Add a member that can be claimed."""
    member = await pool.add(new_id(), shape, profile=profile, most=ROOM)
    assert member is not None
    assert await pool.offer(member.id)
    await pool.confirm()
    return member.id


async def create(store: Store, shape: Shape | None = SHAPE, *, key: str | None = None, most: int = ROOM) -> Session:
    """Create a session that may be warm."""
    idempotency = None if key is None else Idempotency(key, "digest")
    session, _ = await store.create(new_session(), [], most_live=most, idempotency=idempotency, warm=shape)
    return session


async def ids(pool: PoolStore) -> Sequence[UUID]:
    return [each.id for each in await pool.members()]


class PoolContract:
    """Subclasses give the fixtures `store` and `pool`, on the same data."""

    async def test_a_member_has_a_life(self, pool: PoolStore) -> None:
        member_id = new_id()
        member = await pool.add(member_id, SHAPE, profile="default", most=1)
        assert member is not None
        assert (member.id, member.state, member.shape) == (member_id, MemberState.STARTING, SHAPE)
        assert await pool.members() == [member]
        await pool.forget(member_id)
        assert await pool.exists(member_id), "only a retired one is forgotten"
        assert await pool.offer(member_id)
        assert not await pool.offer(member_id)
        assert [each.state for each in await pool.members()] == [MemberState.READY]
        assert await pool.retire(member_id)
        assert not await pool.retire(member_id)
        assert not await pool.offer(member_id), "a retired member is never offered again"
        assert [each.state for each in await pool.members()] == [MemberState.REMOVING]
        await pool.forget(member_id)
        await pool.forget(member_id)
        assert not await pool.exists(member_id)
        assert not await pool.retire(member_id)

    async def test_a_create_gets_a_member_of_its_profile_before_others(self, pool: PoolStore, store: Store) -> None:
        first, mine = await ready(pool), await ready(pool, profile="review")
        made = new_session(spec=Spec(profile="review"))
        session, _ = await store.create(made, [], most_live=ROOM, idempotency=None, warm=SHAPE)
        assert session.id == mine
        made = new_session(spec=Spec(profile="review"))
        session, _ = await store.create(made, [], most_live=ROOM, idempotency=None, warm=SHAPE)
        assert (session.id, session.warm_start) == (first, WarmStart.RUNNER), "any warm sandbox is better than none"
        assert (await store.load(first)).warm_start is WarmStart.RUNNER

    async def test_each_profile_has_its_own_number(self, pool: PoolStore) -> None:
        assert await pool.add(new_id(), SHAPE, profile="default", most=1) is not None
        member = await pool.add(new_id(), SHAPE, profile="review", most=1)
        assert member is not None
        assert member.profile == "review"
        assert await pool.add(new_id(), SHAPE, profile="review", most=1) is None
        assert [each.profile for each in await pool.members()] == ["default", "review"]

    async def test_there_are_never_more_than_wanted(self, pool: PoolStore) -> None:
        attempts = [pool.add(new_id(), SHAPE, profile="default", most=3) for _ in range(10)]
        added = [each for each in await asyncio.gather(*attempts) if each is not None]
        assert sorted(await ids(pool)) == sorted(each.id for each in added)
        assert len(added) == 3
        assert await pool.retire(added[0].id)
        another = await pool.add(new_id(), SHAPE, profile="default", most=3)
        assert another is not None, "one that is being removed does not count"
        assert await pool.add(new_id(), SHAPE, profile="default", most=3) is None

    async def test_a_create_claims_the_oldest_that_fits(self, store: Store, pool: PoolStore) -> None:
        unfit = [await ready(pool, other) for other in OTHERS]
        starting = await pool.add(new_id(), SHAPE, profile="default", most=ROOM)
        retired = await ready(pool)
        await pool.retire(retired)
        assert starting is not None
        first, second = await ready(pool), await ready(pool)
        for member_id in (first, second):
            session = await create(store)
            assert (session.id, session.warm_start) == (member_id, WarmStart.RUNNER)
            assert await store.load(member_id) == session
            assert not await pool.exists(member_id)
        cold = await create(store)
        assert cold.warm_start is WarmStart.NONE
        assert sorted(await ids(pool)) == sorted([*unfit, starting.id, retired])
        assert await pool.claims() == {"none": 1}, "the stage of the others is known when they have started"

    async def test_a_session_that_got_a_member_counts_by_its_stage_once_it_starts(
        self, store: Store, pool: PoolStore
    ) -> None:
        for stage in (WarmStart.RUNNER, WarmStart.CONNECTED, WarmStart.CONNECTED, WarmStart.LOST):
            await ready(pool)
            session = await create(store)
            started = [EventDraft(EventType.SESSION_STARTED, {})]
            saved = await store.save(replace(session, warm_start=stage), started)
            assert (await store.load(session.id)).warm_start is stage
            await store.save(saved, [EventDraft(EventType.SESSION_IDLE, {})])
        await store.save(await create(store), [EventDraft(EventType.SESSION_STARTED, {})])
        assert await pool.claims() == {"runner": 1, "connected": 2, "lost": 1, "none": 1}

    async def test_without_a_shape_nothing_is_claimed(self, store: Store, pool: PoolStore) -> None:
        member_id = await ready(pool)
        assert (await create(store, None)).warm_start is WarmStart.NONE
        assert await ids(pool) == [member_id]
        assert await pool.claims() == {}

    async def test_of_many_creates_no_two_claim_the_same(self, store: Store, pool: PoolStore) -> None:
        members = [await ready(pool) for _ in range(4)]
        made = await asyncio.gather(*(create(store) for _ in range(10)))
        assert len({one.id for one in made}) == 10
        warm = [one.id for one in made if one.warm_start is WarmStart.RUNNER]
        assert sorted(warm) == sorted(members)
        assert await ids(pool) == []

    async def test_a_claim_and_a_retirement_at_once_have_one_winner(self, store: Store, pool: PoolStore) -> None:
        for _ in range(10):
            member_id = await ready(pool)
            session, retired = await asyncio.gather(create(store), pool.retire(member_id))
            assert retired is (session.id != member_id)
            assert await pool.exists(member_id) is retired
            await pool.forget(member_id)

    async def test_a_refused_create_claims_nothing(self, store: Store, pool: PoolStore) -> None:
        member_id = await ready(pool)
        with pytest.raises(CapacityError):
            await create(store, most=0)
        assert await ids(pool) == [member_id]

    async def test_a_repeated_create_has_the_session_of_the_first(self, store: Store, pool: PoolStore) -> None:
        first, second = await ready(pool), await ready(pool)
        made = [await create(store, key="k") for _ in range(3)]
        assert [one.id for one in made] == [first] * 3
        assert await ids(pool) == [second]
        with pytest.raises(IdempotencyMismatchError):
            await store.create(new_session(), [], most_live=ROOM, idempotency=Idempotency("k", "other"), warm=SHAPE)
        assert await ids(pool) == [second]

    async def test_the_demand_counts_slots_and_starts(self, store: Store, pool: PoolStore) -> None:
        assert await pool.demand() == Demand(0, 0)
        await create(store)
        await store.create(new_session(container_id="c"), [], most_live=ROOM, idempotency=None)
        asleep = new_session(presence=Presence.HIBERNATED)
        await store.create(asleep, [], most_live=ROOM, idempotency=None)
        over = await create(store)
        await store.save(*ended(over))
        assert await pool.demand() == Demand(2, 1)
