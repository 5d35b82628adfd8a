"""How keys and the signing key are stored, fake or real."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from jelmore.ports import ApiKey, Role, Store
from tests.support.records import MOMENT


class KeysContract:
    """Subclasses give the fixture `store`."""

    async def test_keys_are_found_by_digest_until_revoked(self, store: Store) -> None:
        keys = [ApiKey(f"k{n}", f"name {n}", Role.CLIENT, MOMENT + timedelta(seconds=n)) for n in range(2)]
        for number, key in enumerate(keys):
            await store.add_key(key, f"digest{number}")
        await store.add_key(replace(keys[0], id="other"), "digest0")
        assert await store.keys() == keys
        assert await store.keys_by_id(["k0", "k1", "unknown"]) == {"k0": keys[0], "k1": keys[1]}
        assert await store.key_by_id("k1") == keys[1]
        assert await store.key_by_digest("digest1") == keys[1]
        assert await store.revoke_key("k1")
        assert not await store.revoke_key("k1")
        assert await store.key_by_digest("digest1") is None
        assert await store.key_by_digest("unknown") is None
        assert await store.keys_by_id(["k0", "k1"]) == {"k0": keys[0]}
        assert await store.keys() == keys[:1]

    async def test_revoked_keys_are_listed_from_a_moment_on(self, store: Store) -> None:
        before = datetime.now(UTC) - timedelta(minutes=1)
        assert await store.revoked_keys(before) == []
        for name in ("k1", "k0", "k2"):
            await store.add_key(ApiKey(name, name, Role.CLIENT, MOMENT), f"digest of {name}")
        await store.revoke_key("k1")
        await store.revoke_key("k0")
        assert await store.revoked_keys(before) == ["k0", "k1"]
        assert await store.revoked_keys(before + timedelta(hours=1)) == []

    async def test_there_is_one_signing_key(self, store: Store) -> None:
        offered = [f"key {number}" for number in range(5)]
        kept: Sequence[str] = await asyncio.gather(*map(store.signing_key, offered))
        assert len(set(kept)) == 1
        assert kept[0] in offered
        assert await store.signing_key("later") == kept[0]
