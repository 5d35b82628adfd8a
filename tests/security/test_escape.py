"""The agent tries to get out of its sandbox, item by item, and fails at each: on Linux, and on gVisor's kernel."""

import base64
import json
import platform
import shlex
from pathlib import Path
from typing import Any, Final

import pytest

from jelmore.drivers.docker_options import DEFAULT_RUNTIME
from tests.security.in_gvisor import GVISOR, SURFACE_IN_GVISOR
from tests.support.engine_relay import OCI_RUNTIME
from tests.support.stack_client import Api, tool_answers

PROBE: Final = Path(__file__).with_name("inside.py")
SURFACE: Final = Path(__file__).with_name("surface.py")
IS_GVISOR: Final = OCI_RUNTIME != DEFAULT_RUNTIME
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

UNLISTED: Final = [
    *(
        103,
        134,
        136,
        139,
        *range(153, 157),
        161,
        *range(163, 186),
        *range(205, 213),
        214,
        215,
        216,
        227,
        *range(236, 240),
    ),
    *(246, 248, 249, 250, 256, 272, 279, 298, 300, 301, 303, 304, 308, 312, 313, 320, 321, 323, 333, *range(425, 434)),
    *(435, 438, 440, 442, 443, 447, 450, *range(457, 462), 467, 468, 469),
]
"""The numbers of the system calls of x86-64 that `seccomp.json` does not name, up to those of Linux 6.18."""


def expected(area: str, name: str) -> set[str]:
    """Return what may come of an attempt of `inside.py`."""
    on_linux = EXPECTED[area].get(name, USUAL[area])
    return on_linux | GVISOR.get((area, name), set()) | GVISOR[area, ""] if IS_GVISOR else on_linux


async def ask_inside(api: Api, session_id: str, probe: Path, *arguments: str) -> dict[str, Any]:
    """Run a probe as the agent of a session and return what it found."""
    packed = base64.b64encode(probe.read_bytes()).decode()
    await api.ask(session_id, f"demo> run echo {packed} | base64 -d | python3 - {shlex.join(arguments)} 2>&1")
    answer = tool_answers(await api.all(session_id, "output"))[-1]
    assert answer.startswith("{"), answer
    found: dict[str, Any] = json.loads(answer)
    return found


async def test_every_way_out_is_closed(quick_api: Api) -> None:
    created = await quick_api.create(allowed_tools=["Bash"])
    for arguments in ([], ["namespace"]) if IS_GVISOR else ([],):
        found = await ask_inside(quick_api, created["id"], PROBE, *arguments)
        assert found.pop("others") >= 1, "the runner must be there, as another user's process"
        if arguments:  # there it has every right over what it has made itself, and over nothing else
            del found["privileges"]
        tried = {(area, name): outcome for area, outcomes in found.items() for name, outcome in outcomes.items()}
        assert len(tried) > (70 if arguments else 110), "the probe must have tried everything"
        assert {name for area in found for name in EXPECTED[area]} <= {name for _, name in tried}
        open_ways = {key: came for key, came in tried.items() if not set(came.split()) <= expected(*key)}
        assert open_ways == {}, arguments
    # The attempts have not harmed the session.
    assert "still here" in (await quick_api.ask(created["id"], "demo> say still here"))["result"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
async def test_nothing_of_the_kernel_beside_the_list_is_reached(quick_api: Api) -> None:
    created = await quick_api.create(allowed_tools=["Bash"])
    found = await ask_inside(quick_api, created["id"], SURFACE, json.dumps(UNLISTED))
    assert len([name for name in found if name.startswith("call ")]) == len(UNLISTED) > 90
    wanted: dict[str, set[str]] = {
        **{name: DENIED | {"ENOSYS"} for name in found},
        "families": {"1", "2", "10", "16"},
        "netlink": {"0", "4"},
        **{name: set() for name in found if name.startswith("writable")},
        "terminal of the runner": {"ENOTTY"},
    }
    if IS_GVISOR:
        wanted = {name: outcomes | SURFACE_IN_GVISOR.get(name, set()) for name, outcomes in wanted.items()}
    open_ways = {name: came for name, came in found.items() if not set(came.split(" ")) - {""} <= wanted[name]}
    assert open_ways == {}
    assert "still here" in (await quick_api.ask(created["id"], "demo> say still here"))["result"]
