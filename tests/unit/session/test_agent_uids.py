"""Which user id a session's agent gets."""

from uuid import UUID, uuid4

import pytest

from jelmore.session.agent_uids import AGENT_UIDS, HIGHEST_UID, agent_uid, parse_uids


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("off", None),
        ("1900000-2097151", AGENT_UIDS),
        ("30000-30000", range(30_000, 30_001)),
        (f"30000-{HIGHEST_UID}", range(30_000, HIGHEST_UID + 1)),
    ],
)
def test_a_range_is_read_with_both_ends(text: str, wanted: range | None) -> None:
    assert parse_uids(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["", "on", "30000", "30000-", "-30000", "30000-40000-50000", "30000 - 40000", "0x7530-40000", "٣٠٠٠٠-40000"],
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither off nor two user ids as FIRST-LAST"):
        parse_uids(text)


@pytest.mark.parametrize("text", ["40000-30000", "1000-2000", "19999-30000", "20000-2147483648", "0-0"])
def test_ids_of_systems_and_beyond_the_highest_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="in order, and between 20000 and 2147483647"):
        parse_uids(text)


@pytest.mark.parametrize("text", ["20000-20000", "29999-40000", "20000-2147483647"])
def test_ids_of_stdio_servers_are_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="20000 to 29999 are those of stdio MCP servers: begin at 30000"):
        parse_uids(text)


def test_a_session_has_one_id_and_sessions_that_begin_together_have_others() -> None:
    first = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    assert agent_uid(first, AGENT_UIDS) == agent_uid(UUID(str(first)), AGENT_UIDS)
    assert agent_uid(first, range(20_000, 20_001)) == 20_000
    near = {agent_uid(UUID(int=first.int + number), AGENT_UIDS) for number in range(200)}
    assert len(near) > 190
    assert min(near) >= AGENT_UIDS.start
    assert max(near) < AGENT_UIDS.stop


def test_ids_are_spread_over_the_whole_range() -> None:
    found = {agent_uid(uuid4(), range(20_000, 20_010)) for _ in range(500)}
    assert found == set(range(20_000, 20_010))
