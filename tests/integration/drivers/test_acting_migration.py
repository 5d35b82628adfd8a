"""What the migration that lets keys act for users does to the keys and sessions of a deployment that has them."""

import json

import asyncpg
import pytest

from jelmore.drivers import sql
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.ports import ApiKey, Role
from jelmore.session.record import Spec
from jelmore.session.states import SessionStatus
from tests.support.records import MOMENT, created

pytestmark = pytest.mark.integration

MIGRATION = "0040_acting_keys.sql"


async def test_keys_that_have_used_what_is_a_users_keep_it_and_others_do_not(database_url: str) -> None:
    store = PostgresStore(database_url)
    connection = await asyncpg.connect(database_url)
    try:
        for name, role in (
            ("acted", Role.CLIENT),
            ("routed", Role.CLIENT),
            ("label", Role.CLIENT),
            ("boss", Role.ADMIN),
        ):
            await store.add_key(ApiKey(name, name, role, MOMENT), name)
        users = {"acted": "ann", "routed": "cid", "label": "bob", "boss": "bob"}
        ids = {owner: (await created(store, owner=owner, spec=Spec(user_id=user))).id for owner, user in users.items()}
        over = {"status": SessionStatus.TERMINATED, "ended_at": MOMENT}
        past = (await created(store, owner="acted", spec=Spec(user_id="ann"), **over)).id
        await connection.execute("insert into credentials values ('user', 'ann', 'docs', 'sealed', 'key')")
        route = json.dumps({"name": "mcp/docs", "url": "https://docs.example", "users": ["cid"]})
        await connection.execute("insert into gateway_routes (name, body) values ('mcp/docs', $1::jsonb)", route)
        await connection.execute(
            "alter table api_keys drop column act_as, drop column sign_in_epoch, drop column rights_changed_at;"
            "drop table authorizations; update sessions set spec = spec - 'acts_for_user'"
        )
        await connection.execute(sql.text(f"migrations/{MIGRATION}"))
        keys = {key.id: key.act_as for key in await store.keys()}
        assert keys == {"acted": True, "routed": True, "label": False, "boss": False}
        found = {owner: (await store.load(each)).spec.acts_for_user for owner, each in ids.items()}
        assert found == {"acted": True, "routed": True, "label": False, "boss": True}
        assert (await store.load(past)).spec.acts_for_user, "it can be resumed"
    finally:
        await connection.close()
        await store.close()
