"""The routes of the API are built once, however many applications there are."""

import pytest
from fastapi import routing

from jelmore.api.routes import all_routes


def test_a_second_application_builds_no_route_again(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = all_routes()

    def built(*_: object, **__: object) -> None:
        raise AssertionError("a route was built for a request")

    monkeypatch.setattr(routing.APIRoute, "__init__", built)
    monkeypatch.setattr(routing, "get_dependant", built)
    scope = {"type": "http", "method": "GET", "path": "/-", "root_path": "", "headers": []}
    for route in routes:
        route.matches(scope)
    assert all_routes() is routes
