"""The transcript store's contract, on the fake and on PostgreSQL; the SDK's own, over the whole way; and an erasure."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from claude_agent_sdk.testing import run_session_store_conformance

from jelmore.drivers.postgres_erasure import PostgresErasure
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.drivers.postgres_transcripts import PostgresTranscripts
from jelmore_protocol import PROTOCOL
from jelmore_protocol.control import AgentOptions, Init
from jelmore_protocol.transcripts import TranscriptLine
from jelmore_runner.agents.claude.mirror import Mirror
from jelmore_runner.transcripts import Transcripts
from tests.contract.stores import OnMemory, OnPostgres
from tests.contract.transcripts_contract import TranscriptsContract, entry
from tests.fakes.memory_store import MemoryStore
from tests.fakes.memory_transcripts import MemoryTranscripts
from tests.support.records import created, ended

pytestmark = pytest.mark.contract


class TestMemoryTranscripts(OnMemory, TranscriptsContract):
    @pytest.fixture
    def transcripts(self, store: MemoryStore) -> MemoryTranscripts:
        return MemoryTranscripts(store)


class WholeWay:
    """Claude Code's side of the runner, the runner's file, and PostgreSQL. A project is a session here."""

    def __init__(self, folder: Path, store: PostgresStore, transcripts: PostgresTranscripts) -> None:
        self._folder, self._store, self._transcripts = folder, store, transcripts
        self._sessions: dict[str, tuple[UUID, Transcripts]] = {}

    async def _session(self, project: str) -> tuple[UUID, Transcripts]:
        if project not in self._sessions:
            session_id = (await created(self._store)).id
            kept = Transcripts(self._folder / str(session_id))
            (self._folder / str(session_id)).mkdir()
            init = Init(
                protocol=PROTOCOL,
                session_id=str(session_id),
                generation=1,
                options=AgentOptions(),
                token_public_key="key",
            )
            kept.open(init)
            self._sessions[project] = session_id, kept
        return self._sessions[project]

    async def append(self, key: Any, entries: list[Any]) -> None:
        session_id, kept = await self._session(key["project_key"])
        await Mirror(kept, None).append(key, entries)  # type: ignore[arg-type]  # it has nothing to report
        lines = [TranscriptLine.model_validate_json(text) for _, text in await kept.read(kept.acknowledged)]
        await self._transcripts.add(session_id, lines)
        await kept.stored(kept.last)

    async def load(self, key: Any) -> list[Any] | None:
        session_id, _ = await self._session(key["project_key"])
        page = await self._transcripts.page(session_id, key["session_id"], 0)
        found = [json.loads(part.entry) for _, part in page if part.subpath == (key.get("subpath") or "")]
        return found or None


@pytest.mark.integration
class TestPostgresTranscripts(OnPostgres, TranscriptsContract):
    @pytest_asyncio.fixture
    async def transcripts(self, database_url: str) -> AsyncIterator[PostgresTranscripts]:
        transcripts = PostgresTranscripts(database_url)
        yield transcripts
        await transcripts.close()

    async def test_the_sdks_own_contract_holds(
        self, store: PostgresStore, transcripts: PostgresTranscripts, tmp_path: Path
    ) -> None:
        await run_session_store_conformance(lambda: WholeWay(tmp_path, store, transcripts))  # type: ignore[arg-type,return-value]  # no optional methods

    async def test_pages_are_bounded_in_bytes_and_complete(
        self, store: PostgresStore, transcripts: PostgresTranscripts
    ) -> None:
        session_id = (await created(store)).id
        for first in range(1, 451, 50):
            lines = [entry(seq, "x" * (3_000_000 if seq in {7, 8, 9} else 10)) for seq in range(first, first + 50)]
            await transcripts.add(session_id, lines)
        after, sizes, seqs = 0, [], []
        while page := await transcripts.page(session_id, "c", after):
            sizes.append(sum(len(part.entry) for _, part in page))
            seqs += [seq for seq, _ in page]
            after = seqs[-1]
        assert seqs == list(range(1, 451))
        assert max(sizes) < 8 * 2**20

    async def test_an_erased_and_a_forgotten_session_leave_no_transcript(
        self, store: PostgresStore, transcripts: PostgresTranscripts, database_url: str
    ) -> None:
        erasure = PostgresErasure(database_url)
        for how in ("erase", "forget"):
            session = await created(store)
            await transcripts.add(session.id, [entry(1), entry(2)])
            await store.save(*ended(session)[:1], [])
            if how == "erase":
                proof = await erasure.erase(session.id, "alice", {})
                assert (proof.found["transcripts"], proof.remaining["transcripts"]) == (2, 0)
            else:
                await store.forget(session.id)
            assert (await transcripts.stored(session.id)).newest.seq == 0
        await erasure.close()
