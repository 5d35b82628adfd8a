"""Each session's agent has a user of its own, so the kernel's counters of one session are not those of another."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import pytest

from jelmore.drivers.docker_config import container_name
from jelmore.drivers.docker_options import DEFAULT_RUNTIME
from jelmore.drivers.docker_sandboxes import DockerSandboxes
from jelmore.ports import SandboxSpec
from jelmore.session.agent_uids import AGENT_UIDS, agent_uid
from jelmore.session.world import SandboxState
from tests.integration.sandboxes.conftest import WANTED, MakeSandboxes
from tests.integration.sandboxes.specs import new_spec
from tests.support.engine_relay import OCI_RUNTIME
from tests.support.stack import as_agent, docker
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.docker]

AGENT: Final = "/opt/jelmore/bin/agent"
IMAGE_UID: Final = 1000

TAKE: Final = """
import ctypes, errno, json, os, pathlib, signal, sys

most = int(sys.argv[1])
libc, word = ctypes.CDLL(None, use_errno=True), lambda: errno.errorcode.get(ctypes.get_errno(), "none")
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN})
folder = pathlib.Path("/tmp/watched")
folder.mkdir(exist_ok=True)
names = [str(folder / str(number)).encode() for number in range(min(most, 2000))]
for name in names:
    open(name, "w").close()

def until_refused(act):
    for done in range(most):
        ctypes.set_errno(0)
        if act(done) < 0:
            return [done, word()]
    return [most, "none"]

made = []
def instance(_):
    made.append(libc.inotify_init1(os.O_CLOEXEC))
    return made[-1]

instances = until_refused(instance)
usable = [each for each in made if each >= 0]
def watch(number):
    at = usable[number // len(names)] if number // len(names) < len(usable) else -1
    return libc.inotify_add_watch(at, names[number % len(names)], 2)

found = {
    "instances": instances,
    "watches": until_refused(watch) if usable else [0, instances[1]],
    "signals": until_refused(lambda _: libc.sigqueue(os.getpid(), signal.SIGRTMIN, None)),
    "uid": os.getuid(),
}
print(json.dumps(found), flush=True)
sys.stdin.read()
"""
"""Takes up to so many of each and holds them until its input ends. Says how many it got, and why no more."""

ALL: Final = 10_000_000


def taken(container: str, most: int) -> subprocess.Popen[str]:
    command = ["docker", "exec", "-i", container, AGENT, "python3", "-c", TAKE, str(most)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextmanager
def holding(container: str, most: int) -> Iterator[dict[str, Any]]:
    """Have the agent of this container take what it can get."""
    with taken(container, most) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.communicate()


async def started(sandboxes: DockerSandboxes, spec: SandboxSpec) -> str:
    """Return the name of the session's container, once its agent has a user."""
    await sandboxes.start(spec)
    name = container_name(spec.session_id, spec.generation)

    async def has_socket() -> bool:
        seen = await sandboxes.observe(spec.session_id)
        assert seen is not None
        assert seen.state is SandboxState.RUNNING, docker("logs", name)
        return "control.sock" in docker("exec", "--user", "10001", name, "ls", "/jelmore/run")

    await until(has_socket)
    return name


def said(container: str, *command: str) -> str:
    return as_agent(container, *command).strip()


async def test_a_session_that_takes_all_of_its_user_takes_nothing_of_a_neighbour(make: MakeSandboxes) -> None:
    sandboxes, hostile, quiet = make(), new_spec(), new_spec()
    first, second = await started(sandboxes, hostile), await started(sandboxes, quiet)
    with holding(first, ALL) as most, holding(second, 20) as neighbour:
        assert (most["uid"], neighbour["uid"]) == tuple(
            agent_uid(each.session_id, AGENT_UIDS) for each in (hostile, quiet)
        )
        assert neighbour["instances"] == neighbour["watches"] == neighbour["signals"] == [20, "none"]
        if OCI_RUNTIME == DEFAULT_RUNTIME:  # gVisor has counters of its own
            assert (most["instances"][1], most["watches"][1], most["signals"][1]) == ("EMFILE", "ENOSPC", "EAGAIN")
            # The runner's watches count to its agent's user: it would find nothing left here, and enough there.
            assert "EMFILE" in runner_watches(first)
            assert runner_watches(second) == "watched"


def runner_watches(container: str) -> str:
    """Return what a runner gets that begins to watch the workspace."""
    code = (
        "from pathlib import Path\n"
        "from jelmore_runner.directory_watches import DirectoryWatches\n"
        "import errno\n"
        "try:\n"
        "    DirectoryWatches(Path('/session/workspace')); print('watched')\n"
        "except OSError as error: print(errno.errorcode[error.errno])"
    )
    rights = "--inh-caps=+setuid,+setgid,+kill,+setpcap", "--ambient-caps=+setuid,+setgid,+kill,+setpcap"
    runner = ("setpriv", "--reuid", "10001", "--regid", "10001", "--init-groups", *rights, "--")
    return docker("exec", container, *runner, "/opt/jelmore/venv/bin/python", "-P", "-c", code).strip()


@pytest.mark.skipif(OCI_RUNTIME != DEFAULT_RUNTIME, reason="gVisor has counters of its own")
async def test_sessions_of_one_user_take_everything_from_each_other(make: MakeSandboxes) -> None:
    """What the other test would see without users of their own. The id is one that nothing else on this host has."""
    sandboxes = make(wanted=replace(WANTED, agent_uids=range(2_000_017, 2_000_018)))
    first, second = [await started(sandboxes, new_spec()) for _ in range(2)]
    with holding(first, ALL), holding(second, 20) as neighbour:
        assert neighbour["uid"] == 2_000_017
        refused = neighbour["instances"], neighbour["watches"], neighbour["signals"]
        assert refused == ([0, "EMFILE"], [0, "EMFILE"], [0, "EAGAIN"])


async def test_the_agent_owns_its_folders_and_has_a_name(make: MakeSandboxes) -> None:
    sandboxes, spec = make(), new_spec()
    name = await started(sandboxes, spec)
    uid = agent_uid(spec.session_id, AGENT_UIDS)
    assert said(name, "id") == f"uid={uid}(agent) gid=1000(agent) groups=1000(agent)"
    assert (
        said(name, "stat", "-c", "%u:%g %a", "/session/home", "/session/workspace").split("\n")
        == [f"{uid}:1000 2770"] * 2
    )
    assert said(name, "python3", "-c", "import pathlib; print(pathlib.Path.home())") == "/session/home"
    assert said(name, "node", "-p", "os.userInfo().username") == "agent"
    assert said(name, "sh", "-c", "touch -d yesterday /session/workspace && chmod 2770 /session/home && echo mine") == (
        "mine"
    )
    for closed in (
        "mv /session/home /session/old",
        "mkdir /session/new",
        "cat /jelmore/run/secret",
        "echo 0 >/var/lib/extrausers/uid",
        "rm -f /var/lib/extrausers/uid",
        "kill -0 1",
    ):
        outcome = said(name, "sh", "-c", f"({closed}) 2>&1 || echo refused")
        assert "ermi" in outcome, outcome  # EPERM or EACCES, each with its words
        assert outcome.endswith("refused")
    assert docker("exec", name, "id", "-un").strip() == "root", "the module of names takes nobody for the agent"


async def test_a_session_keeps_the_user_that_it_began_with(make: MakeSandboxes) -> None:
    """Sessions of earlier versions have the image's user. A changed range, or none, changes no volume."""
    shared, own = make(wanted=replace(WANTED, agent_uids=None)), make()
    moved = make(wanted=replace(WANTED, agent_uids=range(2_000_000, 2_000_010)))
    before, after = new_spec(), new_spec()
    write = ("sh", "-c", "umask 077; echo private >/session/home/file; id -u")
    read = ("sh", "-c", "cat /session/home/file; id -u")

    name = await started(shared, before)
    assert said(name, *write) == str(IMAGE_UID)
    name = await started(own, replace(before, generation=2))
    assert said(name, *read).split() == ["private", str(IMAGE_UID)]

    uid = str(agent_uid(after.session_id, AGENT_UIDS))
    name = await started(own, after)
    assert said(name, *write) == uid
    for generation, sandboxes in ((2, moved), (3, shared)):
        name = await started(sandboxes, replace(after, generation=generation))
        assert said(name, *read).split() == ["private", uid]
