"""`MCP_SERVER` of earlier systems: what it means, and what it may not be."""

import pytest
from pydantic import ValidationError

from jelmore.bootstrap.gateway_services import fixed_routes
from jelmore.control.gateway_keeper import GatewayKeeper
from jelmore.settings import Settings
from jelmore_protocol.gateway import Route
from tests.fakes.gateway import FakeGateway
from tests.fakes.memory_gateway import MemoryGateway
from tests.fakes.memory_store import MemoryStore
from tests.unit.control.test_gateway_keeper import stored_session


async def test_one_server_is_a_route_of_every_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_SERVER", "http://mcp:8000/mcp")
    routes = fixed_routes(Settings(_env_file=None))
    assert [(each.name, each.url, each.private, each.users) for each in routes] == [
        ("mcp/default", "http://mcp:8000/mcp", True, None)
    ]
    store, gateway = MemoryStore(), FakeGateway()
    stored, session = MemoryGateway(store), await stored_session(store)
    keeper = GatewayKeeper(gateway, store, stored, lambda: "key", fixed_routes=routes)
    assert set(await keeper.mcp_servers(session)) == {"default"}
    await keeper.once()
    assert gateway.config.routes == routes
    await stored.put_route(Route(name="mcp/default", url="https://other.example"))
    assert [each.url for each in await keeper.routes()] == ["https://other.example"]


def test_a_name_may_be_given_and_unset_is_nothing() -> None:
    (route,) = fixed_routes(Settings(_env_file=None, mcp_server="docs=https://docs.example/mcp"))
    assert (route.name, route.url) == ("mcp/docs", "https://docs.example/mcp")
    assert fixed_routes(Settings(_env_file=None)) == []


@pytest.mark.parametrize(
    "text",
    [
        "npx some-server",
        "https://a.example/mcp,https://b.example/mcp",
        "https://a.example https://b.example",
        "a b=https://a.example",
        '{"mcpServers": {}}',
        "ftp://a.example",
        "https://user:secret@a.example/mcp",
        "https://a.example/mcp?key=1",
        "https://",
        "https://a.example:99999",
        "docs=",
    ],
)
def test_anything_else_is_refused_with_what_it_may_be(text: str) -> None:
    with pytest.raises(ValidationError, match="MCP_SERVER: is one http"):
        Settings(_env_file=None, mcp_server=text)
