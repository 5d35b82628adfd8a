"""What a notebook shows of the client's values."""

import re

from markdown_it import MarkdownIt

from jelmore_client import Jelmore, Pending, Session
from jelmore_client.models import ChangedFile, Diff, SessionInfo, TurnResult, Usage

HOSTILE = "<img src=x onerror=alert(1)> [a](javascript:alert(1)) **b** | c | `d`\n# e https://evil.example $x$"
INFO = SessionInfo(id="01a2", status="active", title=HOSTILE, usage=Usage(turns=3, cost_usd=0.0123))


def shown(value: object) -> str:
    """Return the HTML that a notebook makes of it."""
    text: str = value._repr_markdown_()  # type: ignore[attr-defined]
    html: str = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    return html


def texts(html: str) -> str:
    return re.sub(r"<[^>]+>", " ", html)


def test_a_session_is_a_table_with_what_one_asks_for() -> None:
    html = shown(Session(Jelmore(url="http://localhost", api_key="k"), INFO))
    assert html == shown(INFO)
    assert "<table>" in html
    for text in ("01a2", "active", "$0.0123", "3"):
        assert text in html
    assert "waits for" not in html, "what is not there has no row"


def test_nothing_of_a_title_a_path_or_a_command_is_markup() -> None:
    diff = Diff(base="c", changed=3, files=[ChangedFile(path=HOSTILE, status="added", additions=7)])
    asked = Pending(request_id="r", waiting_for="permission", title=HOSTILE, input={"command": HOSTILE})
    for value in (INFO, diff, asked):
        html = shown(value)
        assert not re.search(r"<(img|a|strong|em|h1)\b", html), html
        assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "and 2 more" in shown(diff)
    assert len(re.findall("<td>", shown(diff))) == 8


def test_an_answer_of_the_agent_is_its_markdown_and_a_request_shows_its_input() -> None:
    assert "<strong>done</strong>" in shown(TurnResult(input_id="i", outcome="completed", text="**done**"))
    html = shown(Pending(request_id="r", waiting_for="permission", tool="Write", input={"file_path": "a.txt"}))
    assert "Write" in html
    assert "&quot;file_path&quot;: &quot;a.txt&quot;" in texts(html)
