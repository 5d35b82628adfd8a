"""The description of the API and its pages. No part of the control plane is behind them, so none is here."""

import json
import re
from dataclasses import fields
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from jelmore.api import conversation, sessions, streams
from jelmore.api.app import create_app
from jelmore.api.auth import TOKEN_SCOPES, AuthenticatedRoute
from jelmore.api.mounts import MOUNTS, mount_of
from jelmore.api.openapi import openapi_text
from jelmore.api.services import ApiConfig, Services


def make_app() -> FastAPI:
    nothing = cast("Any", None)  # documentation asks nobody; a call that does would fail this test loudly
    return create_app(Services(**{part.name: nothing for part in fields(Services)}), ApiConfig(version="9.9"))


def client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["operationId"]: each for path in document["paths"].values() for each in path.values()}


def test_the_description_is_the_same_every_time() -> None:
    assert openapi_text(make_app()) == openapi_text(make_app())


def test_every_call_is_described_once_with_its_errors_and_its_key() -> None:
    document = json.loads(openapi_text(make_app()))
    every = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(every) == len(set(every))
    names = {
        route.name
        for part in (sessions, conversation, streams)
        for route in part.router.routes
        if isinstance(route, APIRoute)
    }
    assert names <= set(every)
    for name, operation in operations(document).items():
        assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}, name
        assert "422" not in operation["responses"], name
        assert operation.get("summary"), name
        assert ("security" in operation) == (name not in {"livez", "readyz", "health", "accept_invite"}), name


def test_bounds_of_numbers_are_those_of_json_schema() -> None:
    """A validator of text before a bound makes pydantic write `ge`, which no reader of a schema knows."""
    calls = operations(json.loads(openapi_text(make_app()))).values()
    given = [parameter for call in calls for parameter in call.get("parameters", [])]
    numbers = [each["schema"] for each in given if each["name"] in {"limit", "after", "wait", "lines"}]
    assert len(numbers) > 20
    assert not [schema for schema in numbers if {"ge", "le"} & schema.keys()]


def test_every_reference_leads_somewhere() -> None:
    text = openapi_text(make_app())
    document = json.loads(text)
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', text)):
        found: Any = document
        for part in reference.split("/"):
            found = found[part]


def test_no_call_on_sessions_is_open() -> None:
    for part in (sessions, conversation, streams):
        for route in part.router.routes:
            if isinstance(route, APIRoute):
                assert isinstance(route, AuthenticatedRoute), route.name


def test_what_a_session_token_opens_exists() -> None:
    assert set(TOKEN_SCOPES) <= set(operations(json.loads(openapi_text(make_app()))))


def test_the_mounts_are_distinguished() -> None:
    assert [mount_of(f"{mount.prefix}/x") for mount in MOUNTS] == list(MOUNTS)
    assert [mount_of(mount.prefix) for mount in MOUNTS] == list(MOUNTS)
    with pytest.raises(LookupError):
        mount_of("/api/v1/sessionsx")


@pytest.mark.parametrize("path", ["/api/v1/docs", "/api/v1/redoc"])
async def test_the_pages_need_no_other_host(path: str) -> None:
    async with client(make_app()) as http:
        page = await http.get(path)
        assert page.status_code == 200
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        found = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert found
        for address in found:
            assert address.startswith("/"), address
            asset = await http.get(address)
            assert asset.status_code == 200, address
            assert asset.content


async def test_the_served_description_is_the_written_one() -> None:
    app = make_app()
    async with client(app) as http:
        served = await http.get("/openapi.json")
    assert served.json() == json.loads(openapi_text(app))


async def test_what_does_not_exist_is_a_problem_too() -> None:
    async with client(make_app()) as http:
        missing = await http.get("/api/v1/nonsense")
        wrong = await http.post("/livez")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET"
    assert {missing.headers["content-type"], wrong.headers["content-type"]} == {"application/problem+json"}


async def test_liveness_needs_no_credential() -> None:
    async with client(make_app()) as http:
        assert (await http.get("/livez")).json() == {"status": "ok"}
