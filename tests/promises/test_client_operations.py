"""The Python client has a call for every operation of the API, and each sends and reads what openapi.json says.

Every public method runs with what it must be given, with everything that it may be given, and with each of its
literals, against a server that answers with full examples of the documented answers. The synchronous half is generated
from the other one.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, TypeAliasType, get_args, get_origin
from uuid import UUID

import httpx
import jsonschema  # type: ignore[import-untyped]
import pytest

from jelmore_client import Answer, Jelmore, Session
from jelmore_client.models import Model

ROOT: Final = Path(__file__).resolve().parents[2]
API: Final = json.loads((ROOT / "docs/openapi.json").read_text())
ID: Final = str(UUID(int=7))

_SIGN_IN = "for the page on which a person signs in; a program has a key"
_BROWSER = "for a browser's own notifications, which a program cannot receive"
_PROBE = "for the orchestrator or the collector of metrics, which call the address themselves"
WITHOUT_CALL: Final = {
    "get_login_methods": _SIGN_IN,
    "login": _SIGN_IN,
    "begin_sign_in": _SIGN_IN,
    "finish_sign_in": _SIGN_IN,
    "logout": _SIGN_IN,
    "open_invite": _SIGN_IN,
    "return_from_authorization": "the identity provider sends a person's browser there",
    "get_push": _BROWSER,
    "subscribe_browser": _BROWSER,
    "unsubscribe_browser": _BROWSER,
    "livez": _PROBE,
    "readyz": _PROBE,
    "metrics": _PROBE,
    "get_terminal": "a WebSocket: session.terminal, which tests/unit/client/test_terminal.py is about",
    "get_port": "a WebSocket: session.port, which tests/integration/api/test_sandbox_ports.py is about",
}
"""Operations that the client does not call, with the reason."""

PLUMBING: Final = {
    *("close", "request", "send", "fetch", "fetch_all", "fetch_pages", "pages", "pieces", "save", "stream", "follow"),
    *("open_terminal", "open_port"),
}
"""Methods of the connection, which the others are made of."""

COMPOSED: Final = {"ask", "result", "terminal", "port"}
"""Methods of a session that are made of others, or that open a WebSocket."""

VALUES: Final[dict[str, Any]] = {
    **dict.fromkeys(("session_id", "webhook_id", "delivery_id", "request_id", "input_id", "key_id", "invite_id"), ID),
    **dict.fromkeys(("participant_id", "attachment_id", "name", "text", "query", "title", "value", "route"), "some"),
    **dict.fromkeys(("user", "user_id", "subject", "actor", "action", "idempotency_key", "credential"), "some"),
    **dict.fromkeys(("description", "message", "invite", "reason", "branch", "against", "path", "prompt"), "some"),
    **dict.fromkeys(("url", "address"), "https://example.com/x"),
    **dict.fromkeys(("after", "limit", "lines", "to_seq", "at_seq", "output_seq", "event_seq", "uses", "turn"), 1),
    **dict.fromkeys(("expires_in_s", "access_for_s", "former_for_s"), 3600),
    **dict.fromkeys(("max_sessions", "port"), 5),
    **dict.fromkeys(("limit_usd", "wait_s", "timeout_s"), 2.5),
    **dict.fromkeys(("dry_run", "end", "act_as", "rotate", "enabled", "people", "tools", "thinking", "wait"), True),
    **dict.fromkeys(("files", "conversation", "expand", "executable", "recursive", "deltas"), True),
    "answer": Answer.allow(),
    "author": {"name": "A", "email": "a@example.com"},
    "by": "turn",
    "content": b"some",
    "events": ["session.*"],
    "extract": "tar",
    "archive": "tar",
    "form": "html",
    "kind": "mcp",
    "kinds": ["message"],
    "log_level": "debug",
    "metadata": {"a": 1},
    "oauth": {"client_id": "c", "token_url": "https://example.com/token"},
    "period": "total",
    "progress": lambda _done, _size: None,
    "repository": {"url": "https://example.com/x.git"},
    "role": "viewer",
    "scope": "user",
    "scopes": ["read"],
    "secret": "whsec_" + "A" * 32,
    "since": datetime(2030, 1, 1, tzinfo=UTC),
    "state": "failed",
    "types": ["session.*"],
    "until": date(2030, 1, 2),
    "waiting_for": ["permission"],
    "workspace": "new",
}
"""An argument for each name of a parameter."""

OF_METHOD: Final[dict[str, dict[str, Any]]] = {
    "Sessions.create": {"files": {"a.txt": b"some"}},
    "Jelmore.usage": {"since": date(2030, 1, 1)},
    "Keys.create": {"role": "client"},
    "Budgets.set": {"period": "day"},
    "Credentials.put": {"oauth": None},
}


NOT_NAMED: Final = {
    *(f"Admin.cleanup: CleanupReport.{name}" for name in ("entries", "removed", "skipped")),
    "Session.queue: QueuedInput.waking",
}
"""Fields that openapi.json leaves open, and one of the class that a queued prompt shares with an accepted one."""


class DocumentedServer:
    """Answers each request as openapi.json says; remembers which operations were called."""

    def __init__(self) -> None:
        self.called: set[str] = set()
        self._operations = [
            (
                method.upper(),
                re.compile(re.sub(r"\{path\}", ".+", re.sub(r"\{(?!path)\w+\}", "[^/]+", path))),
                {**operation, "parts": path.split("/")},
            )
            for path, operations in API["paths"].items()
            for method, operation in operations.items()
            if "operationId" in operation
        ]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request. Raises AssertionError for one that is not documented."""
        operation = self._operation(request)
        self.called.add(operation["operationId"])
        self._check_parameters(operation, request)
        self._check_body(operation, request)
        status = min(status for status in operation["responses"] if status.startswith("2"))
        content = operation["responses"][status].get("content", {})
        if "text/event-stream" in content:
            return httpx.Response(200, content=_frames(operation["operationId"]))
        as_json = content.get("application/json")
        if as_json is None or operation["operationId"] in {"export_transcript", "get_bundle", "get_patch"}:
            return httpx.Response(int(status), content=b"" if status == "204" else b"some")
        return httpx.Response(int(status), json=_example(as_json["schema"]))

    def _operation(self, request: httpx.Request) -> Any:
        path = request.url.path
        found = [
            (pattern.pattern, operation)
            for method, pattern, operation in self._operations
            if method == request.method and pattern.fullmatch(path)
        ]
        assert found, f"the API has no {request.method} {path}"
        return min(found, key=lambda each: each[0].count("["))[1]  # /sessions/stats, not a session

    def _check_parameters(self, operation: Any, request: httpx.Request) -> None:
        declared = {each["name"]: each["schema"] for each in operation.get("parameters", []) if each["in"] == "query"}
        for name, text in request.url.params.multi_items():
            assert name in declared, f"{operation['operationId']} has no query parameter {name}"
            schema = {**declared[name], "components": API["components"]}
            assert any(_is_valid(value, schema) for value in _read(text)), f"{operation['operationId']}: {name}={text}"
        for place, found in zip(operation["parts"], request.url.path.split("/"), strict=False):
            for each in operation.get("parameters", []):
                if place == f"{{{each['name']}}}" and "enum" in each["schema"]:
                    assert found in each["schema"]["enum"], f"{operation['operationId']}: {each['name']}={found}"

    def _check_body(self, operation: Any, request: httpx.Request) -> None:
        content = operation.get("requestBody", {}).get("content", {})
        if request.headers.get("content-type") == "application/json":
            assert "application/json" in content, f"{operation['operationId']} takes no body"
            schema = {**content["application/json"]["schema"], "components": API["components"]}
            jsonschema.validate(json.loads(request.content), schema)


def _read(text: str) -> Iterator[Any]:
    """Yield what a query parameter may be read as."""
    yield from (text, [text])
    if text in {"0", "1"}:
        yield text == "1"
    with suppress(ValueError):
        yield json.loads(text)


def _is_valid(value: Any, schema: Any) -> bool:
    try:
        jsonschema.validate(value, schema)
    except jsonschema.ValidationError:
        return False
    return True


def _frames(operation_id: str) -> bytes:
    if operation_id == "stream_events":
        event = _example({"$ref": "#/components/schemas/LoggedResponse"}) | {"position": 8}
        return f'id: 1\nevent: hello\ndata: {{"resume": "ok"}}\n\nevent: event\ndata: {json.dumps(event)}\n\n'.encode()
    event = _example({"$ref": "#/components/schemas/OutputResponse"}) | {"seq": 8}
    return f"event: hello\ndata: {{}}\n\nevent: event\ndata: {json.dumps(event)}\n\nevent: end\ndata: {{}}\n\n".encode()


def _example(schema: Any) -> Any:
    """Return a value of a schema in which every field is present."""
    if "$ref" in schema:
        return _example(API["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return _example(schema["anyOf"][0])
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    match schema.get("type"):
        case "object":
            free = schema.get("additionalProperties")
            fields = {name: _example(each) for name, each in schema.get("properties", {}).items()}
            return fields or ({"some": _example(free)} if isinstance(free, dict) else {})
        case "array":
            return [_example(schema.get("items", {}))]
        case "string":
            formats = {"date-time": "2030-01-01T00:00:00Z", "date": "2030-01-01", "uuid": ID}
            return formats.get(schema.get("format", ""), "some")
        case "integer" | "number":
            return 7
        case "boolean":
            return False  # of `more`, so that a list ends
        case _:
            return {}


def _calls(server: DocumentedServer) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the public methods of the client, its namespaces, a session and its namespaces."""
    client = Jelmore("http://test")
    client._http = httpx.Client(base_url="http://test", transport=httpx.MockTransport(server))
    session = client.sessions.get(ID)
    for parent in (client, session):
        spaces = [each for name, each in vars(parent).items() if not name.startswith("_")]
        for each in (parent, *(space for space in spaces if type(space).__module__.startswith("jelmore_client._sync"))):
            for name in dir(type(each)):
                if not name.startswith("_") and inspect.isfunction(getattr(type(each), name)):
                    yield f"{type(each).__name__}.{name}", partial(getattr(each, name))


def _choices(call: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """Yield each value of each parameter that is one of several literals."""
    for parameter in inspect.signature(call).parameters.values():
        for each in (parameter.annotation, *get_args(parameter.annotation)):
            literal = each.__value__ if isinstance(each, TypeAliasType) else each
            if get_origin(literal) is Literal:
                yield from ({parameter.name: value} for value in get_args(literal))


def _run(name: str, call: Callable[..., Any], folder: Path, chosen: dict[str, Any], *, everything: bool) -> Any:
    files = {"target": folder / "out", "source": folder / "in"}
    files["source"].write_bytes(b"some")
    given = {**VALUES, **files, **OF_METHOD.get(name, {}), **chosen}
    arguments = {
        parameter.name: given[parameter.name]
        for parameter in inspect.signature(call).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
        and (everything or parameter.name in chosen or parameter.default is parameter.empty)
    }
    found = call(**arguments)
    return list(islice(found, 1)) if inspect.isgenerator(found) else found


def _models(found: Any) -> Iterator[Model]:
    """Yield the models in what a method returned."""
    if isinstance(found, Session):
        found = found.info
    if isinstance(found, Model):
        yield found
        found = [getattr(found, name) for name in type(found).model_fields]
    if isinstance(found, list):
        for each in found:
            yield from _models(each)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], list[str]]:
    """Return the operations that the client's methods call, and the fields of its models that no answer has."""
    server, unknown = DocumentedServer(), []
    for name, call in _calls(server):
        if name.rpartition(".")[2] in (PLUMBING if name.startswith("Jelmore.") else COMPOSED):
            continue
        for everything, chosen in [(False, {}), (True, {}), *((False, each) for each in _choices(call))]:
            found = _run(name, call, tmp_path_factory.mktemp("client"), chosen, everything=everything)
            for model in _models(found):
                missing = type(model).model_fields.keys() - model.model_fields_set
                unknown += [f"{name}: {type(model).__name__}.{each}" for each in missing]
    return server.called, unknown


def test_every_operation_has_a_call(walked: tuple[set[str], list[str]]) -> None:
    operations = {each["operationId"] for of_path in API["paths"].values() for each in of_path.values()}
    called, _ = walked
    assert sorted(operations - called - WITHOUT_CALL.keys()) == []


def test_an_operation_without_a_call_exists_and_is_not_called(walked: tuple[set[str], list[str]]) -> None:
    operations = {each["operationId"] for of_path in API["paths"].values() for each in of_path.values()}
    called, _ = walked
    assert WITHOUT_CALL.keys() <= operations - called


def test_models_have_no_field_that_the_api_does_not_send(walked: tuple[set[str], list[str]]) -> None:
    _, unknown = walked
    assert sorted(set(unknown) - NOT_NAMED) == []
