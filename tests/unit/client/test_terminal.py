"""What the terminal shows and how it reads answers, without a terminal."""

import stat
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jelmore_client import Event
from jelmore_client.cli import contexts
from jelmore_client.cli.attach import Conversation, answer_of, question_blocks
from jelmore_client.cli.blocks import Block, blocks_of, fold, printable
from jelmore_client.cli.choices import UnclearError

AT = "2026-01-31T12:00:00.000Z"
QUESTION = {
    "request_id": "q1",
    "waiting_for": "question",
    "title": "Which?",
    "input": {
        "questions": [
            {"question": "Colour?", "options": [{"label": "red"}, {"label": "blue"}]},
            {"question": "Sizes?", "multiSelect": True, "options": [{"label": "S"}, {"label": "M"}, {"label": "L"}]},
        ]
    },
}


def event(kind: str, **data: Any) -> Event:
    return Event.model_validate({"seq": 1, "kind": kind, "at": AT, "data": data})


def blocks(kind: str, **data: Any) -> list[Block]:
    return list(blocks_of(event(kind, **data)))


def test_a_setup_is_shown_with_its_output_and_its_end() -> None:
    assert blocks("setup_started", run="npm ci", file=None) == [Block("note", "setup: npm ci")]
    assert blocks("setup_output", text="added 3\x1b[2J\n") == [Block("output", "added 3[2J")]
    assert blocks("setup_ended", outcome="failed", exit_code=3, omitted_bytes=7, text="last\n") == [
        Block("output", "… 7 bytes are not kept …"),
        Block("output", "last"),
        Block("note", "setup failed, exit code 3"),
    ]


def test_each_kind_is_one_query() -> None:
    assert blocks("input", input="hi") == [Block("user", "hi")]
    assert blocks("said", role="assistant", text="**yes**") == [Block("assistant", "**yes**", markdown=True)]
    assert blocks("said", role="assistant", thinking=True, text="hm") == [Block("thinking", "hm")]
    assert blocks("said", role="user", text="injected") == []
    assert blocks("message", message={"type": "assistant"}) == []
    assert blocks("turn_ended", outcome="completed", duration_ms=1500, usage={"output_tokens": 1200}) == [
        Block("end", "1.5 s · 1,200 tokens")
    ]
    assert blocks("turn_ended", outcome="failed", subtype="error_max_turns") == [
        Block("end", "failed: error_max_turns")
    ]
    assert blocks("a_later_kind") == []


def test_tools_are_folded_and_edits_are_diffs() -> None:
    edit = {"file_path": "a.py", "old_string": "one\ntwo", "new_string": "three"}
    assert blocks("tool_used", tool="Edit", input=edit) == [
        Block("tool", "Edit a.py"),
        Block("diff", "- one\n- two\n+ three"),
    ]
    long = "\n".join(map(str, range(100)))
    assert blocks("tool_ended", output=long)[0].text.endswith("… 94 more lines")
    assert blocks("tool_ended", output=[{"type": "text", "text": "x"}], failed=True) == [Block("error", "x")]
    assert "\n" not in blocks("tool_used", tool="Bash", input={"command": "a\nb"})[0].text.split("…")[0].strip()


@given(st.text())
def test_output_of_an_agent_cannot_steer_the_terminal(text: str) -> None:
    shown = printable(text) + fold(text, 3)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert all(each in "\n\t" or unicodedata.category(each) not in {"Cc", "Cs", "Zl", "Zp"} for each in shown)


@pytest.mark.parametrize(
    "text",
    [
        "10\u00a0000\u202f€",
        "全角\u3000空白",
        "👩\u200d💻 🏳️\u200d🌈",
        "\u0645\u06cc\u200c\u062e\u0648",
        "\ue0b0 \U0001fae9",
        "a\tb\nc",
    ],
)
def test_what_people_write_is_shown_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    "hidden", ["\u200b", "\u200d", "\u2060", "\ufeff", "\u202e", "\u2028", "\U000e0041", "\x85", "\r"]
)
def test_a_command_does_not_hide_characters(hidden: str) -> None:
    assert printable(f"rm{hidden} -r") == "rm -r"


def test_a_permission_is_answered_by_a_letter() -> None:
    conversation = Conversation()
    conversation.take(event("permission_requested", request_id="r", waiting_for="permission", title="Bash: ls"))
    assert conversation.prompt().startswith("allow?")
    allow, deny = answer_of(conversation, "y"), answer_of(conversation, "n use rg instead")
    assert allow is not None
    assert allow.decision == "allow"
    assert deny is not None
    assert (deny.decision, deny.message) == ("deny", "use rg instead")
    always = answer_of(conversation, "A")
    assert always is not None
    assert (always.decision, always.remember) == ("allow", "session")
    with pytest.raises(UnclearError):
        answer_of(conversation, "perhaps")
    conversation.take(event("permission_resolved", request_id="r", decision="allow"))
    assert conversation.prompt() == "> "


def test_the_rule_of_always_is_shown_before_and_after() -> None:
    """Claude Code may suggest only the very command: whoever answers `a` sees what they allow."""
    rule = {"type": "addRules", "rules": [{"toolName": "Bash", "ruleContent": "touch a"}, {"toolName": "Read"}]}
    asked = {"request_id": "r", "waiting_for": "permission", "tool": "Bash", "suggestions": [rule, {"type": "setMode"}]}
    conversation = Conversation()
    conversation.take(event("permission_requested", **asked))
    assert conversation.prompt().startswith("allow? y, a (always Bash(touch a), Read), n")
    answered = blocks("permission_resolved", request_id="r", decision="allow", by="ann", updated_permissions=[rule])
    assert [each.text for each in answered] == ["allow by ann, and for the session: Bash(touch a), Read"]


def test_questions_are_answered_one_after_the_other() -> None:
    conversation = Conversation()
    conversation.take(event("question", **QUESTION))
    part = conversation.question()
    assert part is not None
    assert [block.text.strip() for block in question_blocks(part)] == ["Colour?", "1. red  \n2. blue"]
    assert answer_of(conversation, "2") is None
    answer = answer_of(conversation, "1, 3")
    assert answer is not None
    assert answer.answers == {"Colour?": "blue", "Sizes?": ["S", "L"]}


def test_the_toolbar_knows_what_happens() -> None:
    conversation = Conversation()
    for kind in ("input", "input"):
        conversation.take(event(kind))
    assert "working · 1 queued" in conversation.toolbar("0" * 36)
    conversation.take(event("turn_ended", total_cost_usd=0.25))
    assert "working · $0.2500" in conversation.toolbar("0" * 36)
    conversation.take(event("turn_ended"))
    assert "ready" in conversation.toolbar("0" * 36)


def test_the_prompts_that_wait_are_shown_with_their_first_words() -> None:
    conversation = Conversation()
    for number, text in enumerate(["runs", "now the\nlinter\x1b[2J", "x" * 80, "third", "fourth"]):
        conversation.take(event("input", id=f"i{number}", input=text))
    shown = conversation.toolbar("0" * 36).split("\n")
    assert shown[:4] == [" next: now the linter[2J", f" next: {'x' * 60}…", " next: third", " and 1 more"]
    conversation.take(event("input_changed", id="i1", input="the formatter"))
    conversation.take(event("input_cancelled", id="i2"))
    assert conversation.toolbar("0" * 36).split("\n")[:3] == [" next: the formatter", " next: third", " next: fourth"]
    conversation.take(event("turn_ended"))
    assert list(conversation.queue.values()) == ["third", "fourth"]
    conversation.take(event("exited"))
    assert "queued" not in conversation.toolbar("0" * 36)


def test_flags_come_before_the_environment_contexts_and_a_quick_start(tmp_path: Path) -> None:
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    assert contexts.choose(None, None, environment, tmp_path).url == contexts.DEFAULT_URL
    (tmp_path / ".jelmore").mkdir()
    (tmp_path / ".jelmore/env").write_text("export JELMORE_URL=http://near\nexport JELMORE_API_KEY='k1'\n")
    (tmp_path / ".jelmore/env").chmod(0o644)  # as in a clone of somebody's repository
    assert contexts.choose(None, None, environment, tmp_path).url == contexts.DEFAULT_URL
    (tmp_path / ".jelmore/env").chmod(0o600)
    near = contexts.choose(None, None, environment, tmp_path)
    assert (near.url, near.api_key) == ("http://near", "k1")
    path = contexts.contexts_path(environment)
    contexts.save(path, {"current": "team", "contexts": {"team": {"url": "http://team", "api_key": "k2"}}})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert contexts.choose(None, None, environment, tmp_path).url == "http://team"
    named = {**environment, "JELMORE_URL": "http://env", "JELMORE_API_KEY": "k3"}
    assert contexts.choose(None, None, named, tmp_path).url == "http://env"
    assert contexts.choose(None, "team", named, tmp_path).api_key == "k2"
    assert contexts.choose("http://flag", None, named, tmp_path).url == "http://flag"
    with pytest.raises(contexts.ContextError, match="known: team"):
        contexts.choose(None, "home", environment, tmp_path)
    path.write_text("[]")
    with pytest.raises(contexts.ContextError, match="jelmore login"):
        contexts.choose(None, None, environment, tmp_path)


def test_a_connection_that_waits_is_answered_as_a_permission() -> None:
    target = {"host": "own.example", "port": 443, "method": "CONNECT"}
    asked = {"request_id": "egress-1", "waiting_for": "egress", "title": "Connect to own.example:443", "input": target}
    conversation = Conversation()
    conversation.take(event("permission_requested", **asked))
    assert blocks("permission_requested", **asked) == [Block("asks", "Connect to own.example:443")]
    assert conversation.prompt().startswith("allow?")
    answers = [answer_of(conversation, line) for line in ("y", "a", "n not there")]
    assert [(each.decision, each.remember, each.message) for each in answers if each is not None] == [
        ("allow", None, None),
        ("allow", "session", None),
        ("deny", None, "not there"),
    ]
    conversation.take(event("permission_resolved", request_id="egress-1", decision="deny"))
    assert conversation.pending == []
