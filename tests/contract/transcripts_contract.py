"""What every `TranscriptStore` does, fake or real."""

from typing import Any

from jelmore.ports import Store
from jelmore.ports.transcripts import TranscriptStore
from jelmore_protocol.transcripts import StoredTranscript, TranscriptLine, TranscriptPart
from tests.support.records import created, new_id


def entry(seq: int, text: str = "{}", conversation_id: str = "c", **more: Any) -> TranscriptLine:
    part = TranscriptPart(conversation_id=conversation_id, entry=text, **{"uuid": f"u{seq}", **more})
    return TranscriptLine(seq=seq, kind="entry", data=part)


def reset(seq: int, conversation_id: str = "c") -> TranscriptLine:
    return TranscriptLine(seq=seq, kind="reset", data=TranscriptPart(conversation_id=conversation_id))


class TranscriptsContract:
    """Subclasses give the fixtures `store` and `transcripts`, which see the same sessions."""

    async def test_lines_come_back_in_order_however_often_they_were_sent(
        self, store: Store, transcripts: TranscriptStore
    ) -> None:
        session_id = (await created(store)).id
        assert (await transcripts.stored(session_id)).newest == StoredTranscript()
        await transcripts.add(session_id, [entry(1, '{"n": 1}'), entry(2, '{"a": "\\ud83d", "b": "ß"}', uuid=None)])
        await transcripts.add(session_id, [entry(2, "other"), entry(3, "sub", subpath="subagents/agent-1")])
        page = await transcripts.page(session_id, "c", 0)
        assert [(seq, part.entry, part.subpath, part.uuid) for seq, part in page] == [
            (1, '{"n": 1}', "", "u1"),
            (2, '{"a": "\\ud83d", "b": "ß"}', "", None),
            (3, "sub", "subagents/agent-1", "u3"),
        ]
        assert await transcripts.page(session_id, "c", 3) == []
        kept = await transcripts.stored(session_id)
        assert kept.newest == StoredTranscript(seq=3, conversation_id="c", messages=1)
        assert kept.bytes == sum(len(part.entry.encode()) for _, part in page)

    async def test_a_reset_replaces_the_main_transcript_of_its_conversation(
        self, store: Store, transcripts: TranscriptStore
    ) -> None:
        session_id = (await created(store)).id
        lines = [entry(1), entry(2, conversation_id="b"), entry(3, "sub", subpath="subagents/agent-1")]
        await transcripts.add(session_id, lines)
        await transcripts.add(session_id, [entry(4, "old"), reset(5), entry(6, "new")])
        page = await transcripts.page(session_id, "c", 0)
        assert [(seq, part.entry) for seq, part in page] == [(3, "sub"), (6, "new")]
        assert len(await transcripts.page(session_id, "b", 0)) == 1

    async def test_the_newest_conversation_counts_and_others_can_be_dropped(
        self, store: Store, transcripts: TranscriptStore
    ) -> None:
        session_id, other_id = (await created(store)).id, (await created(store)).id
        await transcripts.add(session_id, [entry(1), entry(2), entry(3, conversation_id="b")])
        await transcripts.add(other_id, [entry(1)])
        assert (await transcripts.stored(session_id)).newest == StoredTranscript(seq=3, conversation_id="b", messages=1)
        await transcripts.keep_only(session_id, "b")
        assert await transcripts.page(session_id, "c", 0) == []
        assert len(await transcripts.page(other_id, "c", 0)) == 1

    async def test_a_conversation_is_cut_before_a_prompt_and_copied(
        self, store: Store, transcripts: TranscriptStore
    ) -> None:
        session_id, fork_id = (await created(store)).id, (await created(store)).id
        lines = [
            entry(1, "a"),
            entry(2, "note", uuid=None),
            entry(3, "sub", subpath="subagents/agent-1"),
            entry(4, "b"),
            entry(5, "of the next prompt", uuid=None),
            entry(6, "c"),
            entry(7, "d"),
            entry(8, "e", conversation_id="later"),
        ]
        await transcripts.add(session_id, lines)
        everything = await transcripts.cut(session_id, ["u1", "u6"], [])
        assert (everything.conversation_id, everything.messages) == ("c", 4)
        assert (await transcripts.cut(session_id, ["u1", "u8"], ["u6"])).conversation_id == "later"
        assert (await transcripts.cut(session_id, ["unknown"], ["u1"])).messages == 0
        cut = await transcripts.cut(session_id, ["u1"], ["u6", "u8"])
        assert (cut.conversation_id, cut.messages) == ("c", 2)
        for _ in range(2):
            await transcripts.copy(session_id, fork_id, cut)
        copied = await transcripts.page(fork_id, "c", 0)
        assert [part.entry for _, part in copied] == ["a", "note", "sub", "b"]
        assert (await transcripts.stored(fork_id)).newest == StoredTranscript(seq=4, conversation_id="c", messages=2)
        assert len(await transcripts.page(session_id, "c", 0)) == 7

    async def test_lines_of_a_session_that_does_not_exist_are_dropped(self, transcripts: TranscriptStore) -> None:
        missing = new_id()
        await transcripts.add(missing, [entry(1)])
        assert (await transcripts.stored(missing)).newest == StoredTranscript()
