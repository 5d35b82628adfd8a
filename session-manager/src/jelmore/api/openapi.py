"""The OpenAPI document: stable operation ids, and the error response that all operations share."""

import json
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from jelmore.api.examples import EXAMPLES
from jelmore.api.problems import Problem

DESCRIPTION: Final = """\
Coding sessions in locked-down containers: start, watch, steer and stop them.

Send an API key as `X-API-Key` or `Authorization: Bearer`. Errors are `application/problem+json` with a stable `code`.

Everything under `/api/v1/sessions` is also served under `/api/v1/session` (create answers 200; an input to an ended
session answers 400) and under `/api/sessions` (a session created without `timeout_minutes` may wait for 60 minutes).
`/api/v1/cleanup` and `/api/v1/health` are also `/api/cleanup`, `/api/health` and `/health`.
"""

_OPEN: Final = frozenset({"livez", "readyz", "health", "accept_invite"})
_METHODS: Final = ("get", "put", "post", "delete", "patch")


def operation_id(route: APIRoute) -> str:
    """Return a route's operation id: the name of its handler."""
    return route.name


def install(app: FastAPI) -> None:
    """Replace the OpenAPI document of `app`, which is served at `/openapi.json`."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # the documented way to extend it


def openapi_text(app: FastAPI) -> str:
    """Return the document as JSON text for the repository. Equal code gives equal text."""
    return json.dumps(app.openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _describe(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes, tags=app.openapi_tags
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    components["responses"] = {"Problem": _PROBLEM}
    for path in document["paths"].values():
        for method, operation in path.items():
            if method in _METHODS:
                _describe_operation(operation)
    return document


def _describe_operation(operation: dict[str, Any]) -> None:
    operation["responses"].pop("422", None)
    operation["responses"]["default"] = {"$ref": "#/components/responses/Problem"}
    if operation["operationId"] not in _OPEN:
        operation["security"] = [{"apiKey": []}, {"bearer": []}]
    if operation["operationId"] in EXAMPLES:
        operation["requestBody"]["content"]["application/json"]["example"] = EXAMPLES[operation["operationId"]]


_PROBLEM: Final = {
    "description": "Any error.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
