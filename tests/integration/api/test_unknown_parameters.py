"""Every operation of the served description refuses a query parameter that it does not have, by name."""

import re

import pytest

from jelmore.api.mounts import MOUNTS
from jelmore.api.system import CLEANUP_PATHS, HEALTH_PATHS, PROBE_PATHS
from tests.integration.api.talking import UNKNOWN
from tests.integration.api.world import World

pytestmark = pytest.mark.integration

METHODS = ("get", "put", "post", "delete", "patch")
OPEN_ENDED = {"finish_sign_in", "return_from_authorization"}
"""Those servers may add parameters, and OAuth says to ignore them (RFC 6749, section 4.1.2)."""

NAME = "no_such_parameter"


def urls_of(path: str) -> list[str]:
    """Return the URLs of a path in the description, with those under which older clients call it."""
    filled = re.sub(r"\{[^}]+\}", UNKNOWN, path)
    first = MOUNTS[0].prefix
    if filled == first or filled.startswith(f"{first}/"):
        return [mount.prefix + filled.removeprefix(first) for mount in MOUNTS]
    same = [paths for paths in (HEALTH_PATHS, CLEANUP_PATHS) if filled in paths]
    return list(same[0]) if same else [filled]


async def test_every_operation_refuses_an_unknown_parameter_by_name(api: World) -> None:
    accepted, seen = [], set[str]()
    async with api.client() as http:
        described = (await http.get("/openapi.json")).json()["paths"]
        for path, operations in described.items():
            for method in [each for each in METHODS if each in operations]:
                if operations[method]["operationId"] in OPEN_ENDED:
                    continue
                for url in urls_of(path):
                    seen.add(url)
                    answer = await http.request(method.upper(), f"{url}?{NAME}=1")
                    errors = answer.json().get("errors") if answer.status_code == 422 else None
                    if not errors or errors[0]["field"] != NAME:
                        accepted.append(f"{method} {url}: {answer.status_code} {answer.text[:200]}")
    assert not accepted, "\n".join(accepted)
    assert seen > PROBE_PATHS
    assert len(seen) > 150, "the description has lost its operations"


@pytest.mark.parametrize("path", sorted(PROBE_PATHS))
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_call_without_a_key_refuses_it_too(api: World, path: str, method: str) -> None:
    async with api.client("") as http:
        assert (await http.request(method, path)).status_code == 200
        answer = await http.request(method, f"{path}?x=1")
    assert answer.status_code == 422
    assert method == "HEAD" or answer.json()["errors"][0]["field"] == "x"
