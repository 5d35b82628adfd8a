"""The key of the setting JELMORE_API_KEY, and others whose name people chose."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from jelmore.control.access.api_keys import ApiKeys, new_key
from jelmore.ports import ApiKey, Role
from tests.fakes.memory_store import MemoryStore


async def test_only_an_earlier_key_of_the_setting_is_retired_and_not_who_has_its_name() -> None:
    store = MemoryStore()
    keys, now = ApiKeys(store), datetime.now(UTC)
    await keys.accept_first(new_key())
    (former,) = await store.keys()
    account = replace(former, id="account_x", role=Role.CLIENT, signed_in_until=now + timedelta(hours=1))
    made = ApiKey("key_made", former.name, Role.CLIENT, now, created_by=former.id)
    await store.add_key(account, "account account_x")
    await store.add_key(made, "digest")
    await keys.accept_first(new_key())
    left = {each.id for each in await store.keys()}
    assert former.id not in left
    assert {"account_x", "key_made"} <= left
