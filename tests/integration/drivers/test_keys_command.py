"""The command `key`: what it makes works, and what it revokes does not."""

import asyncpg
import pytest
from pydantic import SecretStr

from jelmore.__main__ import _parser
from jelmore.control.access import Access
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.keys_command import run
from jelmore.ports import ApiKey
from jelmore.session.errors import UnauthenticatedError
from jelmore.settings import Settings

pytestmark = pytest.mark.integration


async def holder(url: str, key: str) -> ApiKey | None:
    """Return the key that a text opens."""
    store = PostgresStore(url)
    try:
        return (await Access(store, token_ttl_s=60).keys.caller(key)).key
    except UnauthenticatedError:
        return None
    finally:
        await store.close()


async def test_keys_live_on_the_command_line(database_url: str) -> None:
    settings = Settings(_env_file=None, database_url=SecretStr(database_url))

    async def key(*arguments: str) -> tuple[int, str]:
        text, status = await run(_parser().parse_args(["key", *arguments]), settings)
        return status, text

    status, text = await key("create", "--name", "ci", "--role", "readonly", "--expires-in-days", "30")
    made = await holder(database_url, text)
    assert status == 0
    assert made is not None
    assert (made.name, made.role, made.created_by) == ("ci", "readonly", "command line")
    assert made.expires_at is not None
    assert (made.expires_at - made.created_at).days == 30
    _, shown = await key("list")
    assert made.id in shown
    assert f"ends {made.expires_at:%Y-%m-%d}" in shown
    _, rotated = await key("rotate", "--id", made.id, "--former-for-hours", "0")
    again = await holder(database_url, rotated)
    assert again is not None
    assert again.id == made.id
    assert await holder(database_url, text) is None
    assert (await key("revoke", "--id", made.id))[0] == 0
    assert await holder(database_url, rotated) is None
    assert (await key("revoke", "--id", made.id))[0] == 1
    connection = await asyncpg.connect(database_url)
    actions = [row["action"] for row in await connection.fetch("select action from audit_log order by id")]
    await connection.close()
    assert actions == ["create_key", "rotate_key", "revoke_key"]
