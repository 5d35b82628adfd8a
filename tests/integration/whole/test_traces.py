"""One trace from a request over the manager, the runner and the gateway to the model, at a real OTLP receiver."""

import secrets
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.whole.conftest import LocalStack
from tests.support.stack import wait_for
from tests.support.trace_receiver import ReceivedSpan, Receiver, trace_receiver

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
SESSIONS = "/api/v1/sessions"
MANAGER, GATEWAY = "jelmore-session-manager", "jelmore-gateway"
SECRET = "a-word-of-the-prompt"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with trace_receiver() as found:
        yield found


@pytest.fixture(scope="module")
def traced(receiver: Receiver) -> Iterator[LocalStack]:
    stack = LocalStack(
        JELMORE_RUNTIME="local",
        JELMORE_MAX_SESSIONS="5",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
        OTEL_EXPORTER_OTLP_HEADERS="x-receiver-key=s3cret",
    )
    stack.start()
    yield stack
    stack.stop()
    stack.discard()


def until_there(receiver: Receiver, name: str, trace_id: str) -> ReceivedSpan:
    wait_for(lambda: receiver.named(name, trace_id), seconds=30, what=f"the span {name}")
    return receiver.named(name, trace_id)[0]


def test_a_create_with_a_prompt_is_one_trace_up_to_the_model(traced: LocalStack, receiver: Receiver) -> None:
    trace_id, caller = secrets.token_hex(16), secrets.token_hex(8)
    with traced.client() as client:
        headers = {"traceparent": f"00-{trace_id}-{caller}-01"}
        body = {"query": f"demo> say {SECRET}", "metadata": {"note": SECRET}}
        created = client.post(SESSIONS, json=body, headers=headers).json()
        turn = until_there(receiver, "turn", trace_id)
        model = until_there(receiver, "model /v1/messages", trace_id)
        request = until_there(receiver, "POST create_session", trace_id)
        init = until_there(receiver, "runner /init", trace_id)
        spans = {each.span_id: each for each in receiver.spans if each.trace_id == trace_id}
        assert request.parent == caller
        assert (model.service, model.parent) == (GATEWAY, turn.span_id)
        assert (turn.service, turn.parent) == (MANAGER, init.span_id)
        assert (init.service, spans[init.parent].name) == (MANAGER, "initialize runner")
        assert spans[init.parent].parent == request.span_id
        assert until_there(receiver, "start sandbox", trace_id).parent == request.span_id
        assert turn.began_ns <= model.began_ns <= model.ended_ns <= turn.ended_ns
        assert turn.attributes == {"jelmore.session_id": created["id"], "jelmore.outcome": "completed"}
        assert model.attributes["http.response.status_code"] == 200
        assert model.attributes["gen_ai.usage.output_tokens"] > 0
        assert (request.attributes["http.route"], request.failed) == ("create_session", False)
        assert all(each.parent == caller or each.parent in spans for each in spans.values())


def test_each_input_has_a_trace_and_nothing_secret_is_in_any(traced: LocalStack, receiver: Receiver) -> None:
    with traced.client() as client:
        created = client.post(SESSIONS, json={}).json()
        url = f"{SESSIONS}/{created['id']}"
        for number in range(2):
            answer = client.post(f"{url}/input?wait=60", json={"input": f"demo> say {SECRET} {number}"})
            assert answer.json()["result"], answer.text
        found = f"{url}/files/{SECRET}"
        assert client.get(found).status_code == 404
        wait_for(lambda: len(_turns(receiver, created["id"])) == 2, seconds=30, what="two turns")
        first, second = _turns(receiver, created["id"])
        assert first.trace_id != second.trace_id
        for turn in (first, second):
            call = next(each for each in receiver.spans if each.span_id == turn.parent)
            assert call.name == "runner /input"
            request = until_there(receiver, "POST send_input", turn.trace_id)
            assert (call.parent, request.parent) == (request.span_id, "")
            assert until_there(receiver, "model /v1/messages", turn.trace_id).parent == turn.span_id
        until_there(receiver, "GET get_file", "")
        _check_nothing_secret(traced, receiver, client)


def _turns(receiver: Receiver, session_id: str) -> list[ReceivedSpan]:
    return [each for each in receiver.named("turn") if each.attributes["jelmore.session_id"] == session_id]


def _check_nothing_secret(traced: LocalStack, receiver: Receiver, client: httpx.Client) -> None:
    for text in (SECRET, traced.api_key, "s3cret"):
        assert not any(text.encode() in raw for raw in receiver.raw), text
    assert {each["x-receiver-key"] for each in receiver.headers} == {"s3cret"}
    assert client.get("/health").status_code == 200
    probes = [each for each in receiver.spans if each.name in {"GET health", "GET livez", "GET readyz", "GET metrics"}]
    assert all(each.failed for each in probes), "those that succeed are left out"
