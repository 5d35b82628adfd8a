"""What an agent cannot see, reach or do, tried by the agent itself and looked at from ports."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

from jelmore.drivers.docker_config import GVISOR_THREADS, GVISOR_THREADS_EACH, SECCOMP
from jelmore.drivers.docker_options import DEFAULT_RUNTIME
from tests.support.engine_relay import OCI_RUNTIME
from tests.support.stack import Stack, agent_uid_of, docker, inspect
from tests.support.stack_client import SESSIONS, Api, Frame, talk_to, tool_answers

PROBE = Path(__file__).with_name("inside.py")
GIBIBYTE = 1024**3
SEARCH = """
import glob, json, subprocess, sys
text = sys.stdin.read()
places = ["-D", "skip", "--exclude-dir=proc", "--exclude-dir=sys", "-f", "-", "/"]
grep = subprocess.run(["grep", "-rlaFs", *places], input=text, capture_output=True, text=True)
found = grep.stdout.splitlines()
for name in [*glob.glob("/proc/[0-9]*/environ"), *glob.glob("/proc/[0-9]*/cmdline")]:
    try:
        held = open(name, "rb").read()
    except OSError:
        continue  # it has ended
    found += [name] if text.encode() in held else []
print(json.dumps(found))
"""


async def run_inside(api: Api, created: Frame, script: str) -> str:
    """Return what the agent's shell prints for a Python script."""
    packed = base64.b64encode(script.encode()).decode()
    before = len(tool_answers(await api.all(created["id"], "output")))
    await api.ask(created["id"], f"demo> run echo {packed} | base64 -d | python3 -")
    answers = tool_answers(await api.all(created["id"], "output"))
    assert len(answers) == before + 1
    return answers[-1]


def check_environment_of_others(found: dict[str, Any]) -> None:
    """No secret is to be seen. gVisor lets every process read the environment of another user's."""
    if OCI_RUNTIME == DEFAULT_RUNTIME:
        assert found["environ_of_others"] == ["PermissionError"]
    known = {"PATH", "HOSTNAME", "LANG", "HOME", "PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE", "CLAUDE_CONFIG_DIR"}
    others = {name for name in found["variables_of_others"] if not name.startswith("JELMORE_RUNNER_")} - known
    assert not others


async def test_what_the_agent_can_see_and_do(api: Api) -> None:
    created = await api.create(allowed_tools=["Bash"])
    found: dict[str, Any] = json.loads(await run_inside(api, created, PROBE.read_text()))

    assert found["uids"] == [agent_uid_of(created["id"])] * 4
    assert found["groups"] in ([], ["1000"])
    assert {int(value, 16) for value in found["capabilities"].values()} == {0}
    assert found["no_new_privileges"] == "1"
    assert found["interfaces"] == ["lo"]
    assert found["routes"] == []
    assert found["resolves"] == "gaierror"

    assert found["others"] >= 1, "the runner must be there, seen as a process of another user"
    check_environment_of_others(found)
    assert found["memory_of_others"] == ["PermissionError"]
    assert found["signal_to_others"] == ["PermissionError"]
    refused = {path: error for path, error in found["sockets"].items() if path.startswith("/jelmore")}
    assert set(refused.values()) == {"PermissionError"}
    assert {error for path, error in found["sockets"].items() if path not in refused} == {"FileNotFoundError"}
    assert found["folders"] == dict.fromkeys(("/jelmore", "/session/state", "/root"), "PermissionError")

    writes = found["writes"]
    assert [path for path, outcome in writes.items() if outcome == "done"] == ["/session/workspace", "/tmp"]
    assert {writes[path] for path in ("/", "/etc", "/usr", "/opt/jelmore")} <= {"OSError", "PermissionError"}
    assert found["become_root"] != 0
    assert found["mount"] != 0
    assert not any(name.startswith("JELMORE_RUNNER") for name in found["environment"])


async def test_how_the_container_is_locked(api: Api, stack: Stack) -> None:
    limits = {"memory": "1g", "cpus": 0.5, "pids": 300}
    created = await api.create(limits=limits)
    container = stack.container(created["id"])
    host = inspect(container)["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges", f"seccomp={SECCOMP}"]
    assert host["Memory"] == host["MemorySwap"] == GIBIBYTE
    assert host["NanoCpus"] == 500_000_000
    assert host["PidsLimit"] == threads(300)
    assert not host["PortBindings"]
    assert not any("docker.sock" in json.dumps(mount) for mount in inspect(container)["Mounts"])
    # As the kernel has it, not only as the engine was asked.
    assert group_value(container, "memory", "memory.max", "memory.limit_in_bytes") == str(GIBIBYTE)
    assert group_value(container, "pids", "pids.max", "pids.max") == str(threads(300))
    names = docker("exec", container, "python3", "-c", "import socket; print(*(n for _, n in socket.if_nameindex()))")
    assert names.split() == ["lo"]


def threads(pids: int) -> int:
    """Return the engine's limit for so many processes: in gVisor, whose own kernel bounds them, one of its threads."""
    return pids if OCI_RUNTIME == DEFAULT_RUNTIME else pids * GVISOR_THREADS_EACH + GVISOR_THREADS


def group_value(container: str, controller: str, unified: str, separate: str) -> str:
    """Return a value of the container's control group on this machine: `unified` of version 2, `separate` of 1.

    gVisor shows a container control groups of its own, which have no limits.
    """
    lines = Path(f"/proc/{inspect(container)['State']['Pid']}/cgroup").read_text().splitlines()
    groups = {tuple(line.split(":")[1].split(",")): line.split(":", 2)[2] for line in lines}
    for controllers, path in groups.items():
        if controller in controllers:
            return Path(f"/sys/fs/cgroup/{controller}{path}/{separate}").read_text().strip()
    return Path(f"/sys/fs/cgroup{groups['',]}/{unified}").read_text().strip()


async def test_limits_have_defaults_and_a_ceiling(api: Api, stack: Stack) -> None:
    created = await api.create()
    host = inspect(stack.container(created["id"]))["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (4 * GIBIBYTE, 4 * GIBIBYTE)
    assert (host["NanoCpus"], host["PidsLimit"]) == (1_000_000_000, threads(1024))
    answer = await api.http.post(SESSIONS, json={"limits": {"memory": "900g"}})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "limits.memory_bytes")


async def test_a_session_does_not_see_another(api: Api) -> None:
    one, two = await api.create(allowed_tools=["Bash"]), await api.create(allowed_tools=["Bash"])
    await api.ask(one["id"], "demo> run echo from-one > /session/workspace/shared.txt; echo $$ > /tmp/shared.txt")
    found = await run_inside(
        api,
        two,
        "import os; print(os.listdir('/session/workspace'), os.path.exists('/tmp/shared.txt'), os.uname().nodename)",
    )
    assert found == f"[] False s-{two['id'][:8]}"
    assert await run_inside(api, one, "print(open('/session/workspace/shared.txt').read().strip())") == "from-one"
    answer = await api.http.get(
        f"{SESSIONS}/{two['id']}", headers={"X-API-Key": "", "Authorization": f"Bearer {one['token']}"}
    )
    assert answer.status_code == 403


def found_inside(container: str, text: str) -> list[str]:
    """Return where a root with every right finds `text` in a container: files, and what each process was given."""
    # The text goes in by standard input, so that the search cannot find itself.
    if OCI_RUNTIME != DEFAULT_RUNTIME:  # the files and processes of a gVisor sandbox are not this machine's
        command = ["docker", "exec", "--interactive", "--privileged", "--user", "0", container, "python3", "-c", SEARCH]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        found: list[str] = json.loads(done.stdout)
        return found
    root = f"/proc/{inspect(container)['State']['Pid']}/root"
    search = ["grep", "-rlaFs", "-D", "skip", "--exclude-dir=proc", "--exclude-dir=sys", "-f", "-", f"{root}/"]
    done = subprocess.run(search, input=text, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in {0, 1, 2}, done.stderr  # 2: something vanished meanwhile
    files = [f"/{path.removeprefix(root).lstrip('/')}" for path in done.stdout.splitlines()]
    given: list[str] = []
    for pid in docker("top", container, "-eo", "pid").split()[1:]:
        for name in ("environ", "cmdline"):
            try:
                held = Path(f"/proc/{pid}/{name}").read_bytes()
            except OSError:
                continue  # it has ended
            given += [f"{pid}/{name}"] if text.encode() in held else []
    return [*files, *given]


async def test_the_model_credential_is_nowhere_but_in_the_gateway(api: Api, stack: Stack) -> None:
    created = await api.create("demo> run echo canary-7f3a > canary.txt\ndemo> say done", allowed_tools=["Bash"])
    async with talk_to(created, after=0) as talk:
        await talk.turn()
    container = stack.container(created["id"])

    # The search sees: a file of the agent's, and the stand-in that Claude Code is given in place of the credential.
    assert "/session/workspace/canary.txt" in found_inside(container, "canary-7f3a")
    assert any(place.endswith("/environ") for place in found_inside(container, "ANTHROPIC_AUTH_TOKEN=jelmore-session"))
    assert stack.knows_credential("gateway"), "the deployment must have the credential that is searched for"
    assert not stack.knows_credential("manager")
    assert not stack.knows_credential("caddy")

    assert found_inside(container, stack.credential) == []
    assert found_inside(container, stack.api_key) == []
    assert stack.credential not in docker("inspect", container)
    assert stack.credential not in docker("logs", container)
    assert stack.credential not in stack.logs()
    assert stack.api_key not in service_logs(stack)
    config = stack.caddy_config()
    assert "routes" in config
    assert stack.credential not in config
    session = f"{SESSIONS}/{created['id']}"
    paths = [session, f"{session}/output", f"{session}/events", f"{session}/messages", f"{session}/logs"]
    for path in [*paths, SESSIONS, f"{SESSIONS}/stats", "/health", "/metrics", "/openapi.json"]:
        answer = await api.http.get(path)
        assert answer.status_code == 200, path
        assert stack.credential not in answer.text, path
        assert stack.api_key not in answer.text, path


def service_logs(stack: Stack) -> str:
    """Return what the services printed, without the quick start's welcome, whose purpose is to print the key."""
    return "\n".join(line for line in stack.logs().splitlines() if not line.startswith("  API key "))
