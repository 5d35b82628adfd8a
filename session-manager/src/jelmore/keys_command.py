"""The command `key`: make, list, rotate and revoke API keys in the database, without a running manager.

A revocation is also sent to the runners, which verify session tokens offline and have it from nobody else meanwhile.
"""

import argparse
from datetime import datetime
from typing import Final

from jelmore.bootstrap.drivers import make_sandboxes
from jelmore.command_audit import ACTOR, command_entry
from jelmore.control.access import Access, digest, id_of_key, new_key
from jelmore.control.operator import check_rights
from jelmore.control.revocations import Revocations
from jelmore.control.sandbox_lookup import SandboxLookup
from jelmore.drivers.postgres_operator import PostgresOperator
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.drivers.runner_link import RunnerLink
from jelmore.ports import ApiKey, KeyRights, Role
from jelmore.session.states import Presence
from jelmore.settings import Settings

_DAY_S: Final = 86400


async def run(chosen: argparse.Namespace, settings: Settings) -> tuple[str, int]:
    """Do what was asked; return what to print, and the exit status."""
    url = settings.database_url.get_secret_value()
    store, operator = PostgresStore(url), PostgresOperator(url)
    try:
        if chosen.what == "list":
            return "\n".join(map(_line, await store.keys())), 0
        text, changed = await _change(chosen, store, operator)
        if changed is None:
            return f"there is no key {chosen.id}; see `jelmore-server key list`", 1
        await operator.add_audit([command_entry(f"{chosen.what}_key", changed, "done")])
        return text + (await _sent(store, settings) if chosen.what == "revoke" else ""), 0
    finally:
        await operator.close()
        await store.close()


async def _change(
    chosen: argparse.Namespace, store: PostgresStore, operator: PostgresOperator
) -> tuple[str, str | None]:
    """Make, rotate or revoke a key; return what to print and its id, None when there is no such key."""
    if chosen.what == "revoke":
        return f"revoked {chosen.id}", chosen.id if await store.revoke_key(chosen.id) else None
    text = new_key()
    if chosen.what == "rotate":
        former_for_s = chosen.former_for_hours * 3600
        rotated = await operator.rotate_key(chosen.id, digest(text), former_for_s=former_for_s)
        return text, rotated.id if rotated else None
    ttl_s = None if chosen.expires_in_days is None else chosen.expires_in_days * _DAY_S
    rights = KeyRights(Role(chosen.role), chosen.user, chosen.act_as)
    check_rights(rights)
    new_id = id_of_key(text)
    await operator.make_key(new_id, chosen.name, rights, digest(text), ttl_s=ttl_s, created_by=ACTOR)
    return text, new_id


async def _sent(store: PostgresStore, settings: Settings) -> str:
    """Send the revoked keys to the runners of all running sessions; return what to say when some did not get them.

    Runners of paused sessions serve nobody, and get them from the manager that resumes the session.
    """
    sandboxes, runners, lookup = make_sandboxes(settings), RunnerLink(), SandboxLookup()
    try:
        sessions = await store.load_many(await store.unfinished())
        awake = {each.id: each.generation for each in sessions.values() if each.presence is Presence.AWAKE}
        ttl_s = settings.token_ttl_s
        access = Access(store, token_ttl_s=ttl_s)
        revocations = Revocations(
            store, runners, access, lambda each: lookup.control(sandboxes, each), lambda: awake, token_ttl_s=ttl_s
        )
        missed = await revocations.publish()
    finally:
        await runners.close()
        await sandboxes.close()
    if not missed:
        return ""
    return (
        f"\nnot reached from here: the runners of {len(missed)} sessions. A running manager does so within a second;"
        f" without one, session tokens that the key has made work there until they expire, for {ttl_s} s at most"
    )


def _line(key: ApiKey) -> str:
    def day(at: datetime | None) -> str:
        return "-" if at is None else f"{at:%Y-%m-%d}"

    dates = f"made {day(key.created_at)}  used {day(key.last_used_at):10}  ends {day(key.expires_at):10}"
    return f"{key.id}  {key.role.value:8}  {dates}  {key.name}"
