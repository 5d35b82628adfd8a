"""The wire form: the order of events, and that a stream and a document say the same."""

import json
from typing import Any

import pytest

from jelmore_demo.conversation import Request
from jelmore_demo.directives import Fail, Reply, Say, Sleep, ToolCall, Words
from jelmore_demo.messages import Pause, document, error_body, events, failure_body, pause_s

REQUEST = Request.model_validate({"model": "some-model", "messages": [{"role": "user", "content": "one two"}]})
CALL = ToolCall("Bash", {"command": "printf 'ü\\n'"})
REPLIES = {
    "text": Reply((Say("hello"),)),
    "texts": Reply((Say("a"), Words(3, 20), Sleep(1.5), Say("b"))),
    "tool": Reply((), CALL),
    "text and tool": Reply((Say("a"),), CALL),
}


def decoded(reply: Reply) -> list[dict[str, Any]]:
    found = []
    for item in events(REQUEST, reply):
        if isinstance(item, bytes):
            name, data, *rest = item.decode().split("\n")
            fields = json.loads(data.removeprefix("data: "))
            assert name == f"event: {fields['type']}"
            assert rest == ["", ""]
            found.append(fields)
    return found


@pytest.mark.parametrize("name", REPLIES)
def test_a_stream_adds_up_to_the_document(name: str) -> None:
    content: list[dict[str, Any]] = []
    message: dict[str, Any] = {}
    for fields in decoded(REPLIES[name]):
        match fields["type"]:
            case "message_start":
                message = fields["message"]
            case "content_block_start":
                assert fields["index"] == len(content)
                content.append(fields["content_block"])
            case "content_block_delta" if fields["delta"]["type"] == "text_delta":
                content[fields["index"]]["text"] += fields["delta"]["text"]
            case "content_block_delta":
                content[fields["index"]]["input"] = json.loads(fields["delta"]["partial_json"])
            case "message_delta":
                message["stop_reason"] = fields["delta"]["stop_reason"]
                message["usage"] |= fields["usage"]
            case other:
                assert other in {"ping", "content_block_stop", "message_stop"}
    assert message | {"content": content} == document(REQUEST, REPLIES[name])


def test_the_order_of_events() -> None:
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    names = [fields["type"] for fields in decoded(REPLIES["text and tool"])]
    assert names == ["message_start", "ping", *block, *block, "message_delta", "message_stop"]


def test_words_come_one_by_one_with_their_delay() -> None:
    items = list(events(REQUEST, Reply((Words(3, 20),))))
    assert items.count(Pause(0.02)) == 3
    deltas = [
        fields["delta"]["text"] for fields in decoded(Reply((Words(3, 20),))) if "index" in fields and "delta" in fields
    ]
    assert deltas == ["[demo model] word1", " word2", " word3"]


def test_texts_are_parted_by_lines_and_opened_by_the_name_once() -> None:
    content: Any = document(REQUEST, REPLIES["texts"])["content"]
    assert content == [{"type": "text", "text": "[demo model] a\nword1 word2 word3\nb"}]


def test_pauses_add_up() -> None:
    assert pause_s(REPLIES["texts"]) == pytest.approx(1.56)


def test_ids_are_the_same_for_the_same_request_and_new_for_a_longer_one() -> None:
    longer = Request.model_validate({"model": "m", "messages": [{"role": "user", "content": "one two three"}]})
    ids = [document(request, REPLIES["text"])["id"] for request in (REQUEST, REQUEST, longer)]
    assert ids[0] == ids[1] != ids[2]


def test_tokens_are_words() -> None:
    usage: Any = document(REQUEST, Reply((Say("hello you"),)))["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (2, 4)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (429, "rate_limit_error"),
        (418, "invalid_request_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
        (599, "api_error"),
    ],
)
def test_an_error_has_the_type_of_its_status(status: int, kind: str) -> None:
    body: Any = failure_body(Fail(status))
    assert body["type"] == "error"
    assert body["error"]["type"] == kind
    assert str(status) in body["error"]["message"]
    assert error_body(status, "x")["error"] == {"type": kind, "message": "[demo model] x"}
