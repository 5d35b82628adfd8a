"""A backup restored on an empty machine continues the sessions; an installation is removed by one command."""

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from jelmore.drivers import postgres_backup
from jelmore.drivers.migrations import create_database, migrate, migrations
from jelmore.drivers.postgres_event_log import PostgresEventLog
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.embedded import Postgres
from jelmore.session.errors import RefusedError
from tests.integration.whole.conftest import LocalStack
from tests.support.records import created, draft, line
from tests.support.servers import database

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


def command(stack: LocalStack, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the server beside a stack."""
    environment = {**stack.environment(), "JELMORE_RUN_DIR": str(stack.run_dir), **more}
    return subprocess.run(
        [sys.executable, "-m", "jelmore", *arguments],
        env=environment,
        cwd=stack.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_backup_is_restored_elsewhere_and_uninstall_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "jelmore.tar"
    first, second = LocalStack(JELMORE_RUNTIME="local"), LocalStack(JELMORE_RUNTIME="local")
    second.api_key = first.api_key
    try:
        first.start()
        with first.client() as http:
            made = http.post("/api/v1/sessions", json={"query": "demo> say before", "title": "kept", "user_id": "ann"})
            session_id = made.json()["id"]
            waited = http.post(f"/api/v1/sessions/{session_id}/input?wait=60", json={"input": "demo> say more"})
            assert waited.json()["result"]["result"].endswith("more"), waited.text
            http.post(f"/api/v1/sessions/{session_id}/comments", json={"text": "remember"})
            (first.data_dir / "local" / session_id / "session" / "workspace" / "kept.txt").write_text("here")
            newest = http.get("/api/v1/events").json()["newest"]
            saved = command(first, "backup", str(file), DATABASE_URL=first.database_url())
            assert saved.returncode == 0, saved.stderr
            assert file.stat().st_mode & 0o777 == 0o600
            assert command(first, "backup", str(file), DATABASE_URL=first.database_url()).returncode == 1
            running = command(first, "restore", str(file), DATABASE_URL=first.database_url())
            assert (running.returncode, "stop it first" in running.stderr) == (1, True)
        first.stop()

        restored = command(second, "restore", str(file), "--embedded")
        assert restored.returncode == 0, restored.stderr
        assert session_id in restored.stdout
        again = command(second, "restore", str(file), "--embedded")
        assert (again.returncode, "exist already" in again.stderr) == (1, True)
        second.start()
        with second.client() as http:
            url = f"/api/v1/sessions/{session_id}"
            shown = http.get(url).json()
            assert (shown["title"], shown["user_id"]) == ("kept", "ann")
            assert [each["text"] for each in http.get(f"{url}/comments").json()] == ["remember"]
            waited = http.post(f"{url}/input?wait=60", json={"input": "demo> say after"})
            assert waited.json()["result"]["result"].endswith("after"), waited.text
            said = str(http.get(f"{url}/messages").json())
            assert all(word in said for word in ("before", "more", "after"))
            workspace = second.data_dir / "local" / session_id / "session" / "workspace"
            assert (workspace / "kept.txt").read_text() == "here"
            page = http.get("/api/v1/events", params={"after": newest}).json()
            assert page["resume"] == "ok"
            assert page["events"][0]["position"] > newest, "a cursor of before is still valid"
        second.stop()

        planned = command(second, "uninstall", "--data")
        assert (planned.returncode, session_id in planned.stdout) == (0, True)
        assert second.data_dir.exists()
        done = command(second, "uninstall", "--yes", "--data", DATABASE_URL="postgresql://nobody@127.0.0.1:9/none")
        assert done.returncode == 0, done.stderr
        assert not second.data_dir.exists()
        assert not second.run_dir.exists()
    finally:
        for stack in (first, second):
            stack.stop()
            stack.discard()


def test_a_workspace_with_a_sparse_terabyte_is_left_out_and_named(tmp_path: Path) -> None:
    file, stack = tmp_path / "jelmore.tar", LocalStack(JELMORE_RUNTIME="local")
    try:
        stack.start()
        with stack.client() as http:
            good, bad = (http.post("/api/v1/sessions", json={}).json()["id"] for _ in range(2))
            with (stack.data_dir / "local" / bad / "session" / "workspace" / "big").open("wb") as big:
                big.truncate(2**40)
            reserve = str(shutil.disk_usage(tmp_path).free - 512 * 2**20)
            settings = {"DATABASE_URL": stack.database_url(), "JELMORE_MIN_FREE_DISK_BYTES": reserve}
            saved = command(stack, "backup", str(file), **settings)
        assert saved.returncode == 1, saved.stderr
        assert f"without the workspaces of {bad}" in saved.stderr
        assert f"workspace: {good}" in saved.stdout
        with tarfile.open(file) as archive:
            assert [name for name in archive.getnames() if name.startswith("volumes/")] == [f"volumes/{good}.tar"]
            manifest = archive.extractfile("manifest.json")
            assert manifest is not None
            assert json.load(manifest)["volumes"] == [good]
    finally:
        stack.stop()
        stack.discard()


async def test_every_table_is_saved_and_loaded(database_url: str, postgres_server: Postgres, tmp_path: Path) -> None:
    other = database(postgres_server, f"restored_{database_url.rpartition('/')[2].partition('?')[0]}")
    store, log = PostgresStore(database_url), PostgresEventLog(database_url)
    session = await created(store, draft(1), draft(2))
    await store.save(session, [draft(3)], [line(1), line(2)])
    await log.number()
    await store.signing_key("a key")
    saved = await postgres_backup.save(database_url, tmp_path)
    for act in (postgres_backup.prepare(database_url, saved), postgres_backup.load(database_url, tmp_path, saved)):
        with pytest.raises(RefusedError, match="not empty"):
            await act
    try:
        newer = [*saved["migrations"], {"number": 9999, "checksum": "of a later version"}]
        with pytest.raises(RefusedError, match="newer or another version"):
            await postgres_backup.prepare(other, {**saved, "migrations": newer})
        await postgres_backup.prepare(other, saved)
        await postgres_backup.prepare(other, saved)
        await postgres_backup.load(other, tmp_path, saved)
        ours, theirs = await asyncpg.connect(database_url), await asyncpg.connect(other)
        counted = {"event_positions", "gateway_revision"}  # loading advances them, and they only ever have to grow
        for table in set(saved["tables"]) - counted:
            query = f'select count(*), md5(string_agg(t::text, chr(10) order by t::text)) from "{table}" as t'
            assert await ours.fetchrow(query) == await theirs.fetchrow(query), table
        await ours.close()
        await theirs.close()
        restored, restored_log = PostgresStore(other), PostgresEventLog(other)
        assert await restored.load(session.id) == await store.load(session.id)
        await created(restored, draft(1))  # identity columns continue after what was loaded
        assert await restored_log.number() > 1_000_000
        for part in (store, log, restored, restored_log):
            await part.close()
    finally:
        await postgres_backup.drop(other)


@pytest.mark.parametrize("migrated", [False, True], ids=["no database", "an empty one of this version"])
async def test_a_backup_of_an_older_version_is_restored_and_migrated(
    postgres_server: Postgres, tmp_path: Path, migrated: bool
) -> None:
    mark = uuid4().hex[:8]
    old, new = database(postgres_server, f"older_{mark}"), database(postgres_server, f"newer_{mark}")
    numbers = [each.number for each in migrations()]
    before_inputs = [number for number in numbers if number < 31]
    session_id = uuid4()
    try:
        await create_database(old)
        await migrate(old, only=before_inputs)
        connection = await asyncpg.connect(old)
        await connection.execute(
            "insert into api_keys (id, digest, name, role, created_at) values ('key_1', 'd', 'ann', 'client', now())"
        )
        await connection.execute(
            """insert into sessions (id, owner, status, wanted, presence, version, generation, event_seq, output_seq,
                restarts, created_at, last_activity_at, since, archived, metadata, spec, usage)
            values ($1, 'key_1', 'waiting_input', 'running', 'hibernated', 1, 1, 0, 0, 0, now(), now(), now(), false,
                '{}', '{}', '{}')""",
            session_id,
        )
        await connection.close()
        saved = await postgres_backup.save(old, tmp_path)
        if migrated:
            await create_database(new)
            await migrate(new)
        await postgres_backup.prepare(new, saved)
        await postgres_backup.load(new, tmp_path, saved)
        connection = await asyncpg.connect(new)
        assert [row[0] for row in await connection.fetch("select number from schema_migrations order by 1")] == numbers
        await connection.close()
        store = PostgresStore(new)
        assert (await store.load(session_id)).owner == "key_1"
        await store.close()
    finally:
        for url in (old, new):
            await postgres_backup.drop(url)
