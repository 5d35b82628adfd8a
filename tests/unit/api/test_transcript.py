"""Transcripts: hostile text stays text in every form."""

import json
from html.parser import HTMLParser
from typing import Any

import pytest

from jelmore.api.messages import conversation
from jelmore.api.responses import SessionResponse, show
from jelmore.api.transcript import FORMS, wanted
from jelmore.session.output import Output
from jelmore.session.record import Spec
from jelmore_protocol.events import EventKind
from tests.support.records import line, new_session

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'& ```` # [x](javascript:alert(3))"


def session() -> SessionResponse:
    return show(new_session(title=HOSTILE, spec=Spec(query=HOSTILE, user_id=HOSTILE)), "http://test")


def outputs() -> list[Output]:
    said: list[tuple[EventKind, dict[str, Any]]] = [
        (EventKind.INPUT, {"id": "i", "input": HOSTILE, "by": HOSTILE}),
        (EventKind.SAID, {"text": HOSTILE, "thinking": True}),
        (EventKind.SAID, {"text": HOSTILE, "thinking": False}),
        (EventKind.TOOL_USED, {"tool_use_id": "t", "tool": HOSTILE, "input": {HOSTILE: HOSTILE}}),
        (EventKind.TOOL_ENDED, {"tool_use_id": "t", "output": HOSTILE, "failed": True}),
        (EventKind.ERROR, {"code": "x", "message": HOSTILE}),
        (EventKind.SETUP_STARTED, {"run": HOSTILE}),
        (EventKind.SETUP_OUTPUT, {"text": HOSTILE}),
        (EventKind.SETUP_ENDED, {"outcome": "completed", "text": HOSTILE}),
    ]
    return [line(seq, data, kind) for seq, (kind, data) in enumerate(said, 1)]


def rendered(form: str, *, tools: bool = True, thinking: bool = True) -> str:
    made = FORMS[form]()
    shown = [each for each in conversation(outputs()) if wanted(each, tools=tools, thinking=thinking)]
    return made.head(session()) + "".join(map(made.message, shown)) + made.tail()


class Page(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_has_no_script_and_nothing_of_the_text_is_read() -> None:
    page = Page(rendered("html"))
    layout = {"html", "meta", "title", "style", "h1", "table", "tr", "th", "td"}
    assert page.tags <= layout | {"article", "header", "time", "pre", "details", "summary"}
    assert page.attributes <= {"lang", "charset", "class", "name", "content"}  # the last two are of the viewport
    assert page.text.count(HOSTILE) >= 7


def test_a_fence_in_markdown_is_longer_than_any_in_the_text() -> None:
    text = rendered("markdown")
    assert text.count("\n`````\n") == 2 * text.count(":\n\n`````\n") > 0
    for heading in [each for each in text.splitlines() if each.startswith(("# ", "## "))]:
        assert "<script>" not in heading
        assert "[x]" not in heading


def test_json_is_what_the_api_returns() -> None:
    body = json.loads(rendered("json"))
    assert (body["session"]["title"], body["session"]["user_id"]) == (HOSTILE, HOSTILE)
    assert [each["seq"] for each in body["messages"]] == list(range(1, len(outputs()) + 1))
    assert body["messages"][2]["text"] == HOSTILE
    empty = FORMS["json"]()
    assert json.loads(empty.head(session()) + empty.tail())["messages"] == []


@pytest.mark.parametrize("form", FORMS)
def test_tools_and_thinking_are_left_out_on_request(form: str) -> None:
    whole, short = rendered(form), rendered(form, tools=False, thinking=False)
    assert len(short) < len(whole)
    if form == "json":
        assert [each["seq"] for each in json.loads(short)["messages"]] == [1, 3, 6, 7, 8, 9]
    else:
        assert "returned" not in short
        assert "thinking" not in short
