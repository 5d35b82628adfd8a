"""The agent tries to get out of its sandbox, item by item, and fails at each."""

import base64
import json
from pathlib import Path
from typing import Any, Final

from tests.support.stack_client import Api, tool_answers

PROBE: Final = Path(__file__).with_name("inside.py")
DENIED: Final = {"EPERM", "EACCES"}
NOT_THERE: Final = {"ENOENT", "EPERM", "EACCES", "EROFS", "ENODATA"}
UNREACHABLE: Final = {"ENETUNREACH", "EADDRNOTAVAIL", "EHOSTUNREACH", "EACCES", "EPERM"}

EXPECTED: Final[dict[str, dict[str, set[str]]]] = {
    "processes": {},
    "privileges": {
        # A program may ask whether these exist; the answer must be no, or that it may not.
        "clone3": {"ENOSYS"},
        "io_uring_setup": {"ENOSYS", "EPERM"},
        "32-bit call": {"SIGSYS", "SIGSEGV"},
        **{f"command {name}": {"failed"} for name in ("setpriv", "unshare", "mount", "su")},
    },
    "network": {
        "interfaces": {"lo"},
        "look-up": {"failed"},
        "foreign sockets": {"0"},
        **{f"store {port}": {"ECONNREFUSED"} for port in (2019, 2375, 4222, 5432, 6379, 8222)},
    },
    "files": {"set-user-id files": set(), "devices": set(), "no new privileges": {"1"}},
}
"""What must come of an attempt, where it is not simply denied."""

USUAL: Final = {"processes": DENIED, "privileges": DENIED, "network": UNREACHABLE, "files": NOT_THERE}


async def test_every_way_out_is_closed(quick_api: Api) -> None:
    created = await quick_api.create(allowed_tools=["Bash"])
    packed = base64.b64encode(PROBE.read_bytes()).decode()
    await quick_api.ask(created["id"], f"demo> run echo {packed} | base64 -d | python3 -")
    (answer,) = tool_answers(await quick_api.all(created["id"], "output"))
    found: dict[str, Any] = json.loads(answer)
    assert found.pop("others") >= 1, "the runner must be there, as another user's process"

    tried = {(area, name): outcome for area, outcomes in found.items() for name, outcome in outcomes.items()}
    assert len(tried) > 110, "the probe must have tried everything"
    assert {name for area, names in EXPECTED.items() for name in names} <= {name for _, name in tried}
    open_ways = {
        key: outcome
        for key, outcome in tried.items()
        if not set(outcome.split()) <= EXPECTED[key[0]].get(key[1], USUAL[key[0]])
    }
    assert open_ways == {}
    # The attempts have not harmed the session.
    assert "still here" in (await quick_api.ask(created["id"], "demo> say still here"))["result"]
