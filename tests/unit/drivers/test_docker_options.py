"""What the settings ask of an engine, and what it can do."""

import shutil
import subprocess
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from jelmore.drivers.docker_config import (
    APPARMOR_PROFILE,
    ContainerOptions,
    config_digest,
    container_config,
    files_config,
)
from jelmore.drivers.docker_options import WantedOptions, is_loaded, options_for, remaps_users
from jelmore.ports import SandboxSpec
from jelmore.session.agent_uids import agent_uid
from jelmore.session.errors import RefusedError
from jelmore.session.limits import Limits

PROFILE: Final = Path(__file__).resolve().parents[3] / "runner-image" / "apparmor" / APPARMOR_PROFILE
WITH: Final = {"SecurityOptions": ["name=apparmor", "name=seccomp,profile=default"]}
WITHOUT: Final = {"SecurityOptions": ["name=seccomp,profile=default"]}


@pytest.mark.parametrize(
    ("wanted", "info", "loaded", "applied"),
    [
        ("auto", WITH, True, True),
        ("auto", WITH, False, False),
        ("auto", WITHOUT, True, False),
        ("required", WITH, False, True),  # a container does not see the host's profiles
        ("off", WITH, True, False),
    ],
)
def test_the_apparmor_profile_is_applied_where_it_can_be(
    wanted: Any, info: dict[str, Any], applied: bool, *, loaded: bool
) -> None:
    options = options_for(WantedOptions(apparmor=wanted), info, loaded=loaded)
    assert options.apparmor is applied
    assert (f"apparmor={APPARMOR_PROFILE}" in options.security) is applied


def test_required_apparmor_on_an_engine_without_it_names_the_setting() -> None:
    with pytest.raises(RefusedError, match="JELMORE_APPARMOR is required"):
        options_for(WantedOptions(apparmor="required"), WITHOUT, loaded=True)


def test_a_runtime_that_the_engine_has_not_names_the_setting_and_what_there_is() -> None:
    wanted = WantedOptions(runtime="runsc")
    with pytest.raises(RefusedError, match="JELMORE_OCI_RUNTIME: the engine has no runtime 'runsc', only crun, runc"):
        options_for(wanted, {"Runtimes": {"runc": {}, "crun": {}}}, loaded=False)
    assert options_for(wanted, {"Runtimes": {"runc": {}, "runsc": {}}}, loaded=False).runtime == "runsc"
    assert options_for(WantedOptions(), {"Runtimes": {"crun": {}}}, loaded=False).runtime is None


def test_a_profile_s_runtime_comes_before_that_of_the_deployment_and_runc_is_the_engine_s_own() -> None:
    info: dict[str, Any] = {"Runtimes": {"runc": {}, "runsc": {}}}
    assert options_for(WantedOptions().in_profile("runsc"), info, loaded=False).runtime == "runsc"
    assert options_for(WantedOptions(runtime="runsc").in_profile(""), info, loaded=False).runtime == "runsc"
    assert options_for(WantedOptions(runtime="runsc").in_profile("runc"), info, loaded=False).runtime is None
    with pytest.raises(RefusedError, match=r"the runtime of the session's profile \(kata\): the engine has no runtime"):
        options_for(WantedOptions().in_profile("kata"), info, loaded=False)


@pytest.mark.parametrize(
    ("name", "described", "gvisor"),
    [
        ("runsc", {"path": "/usr/bin/runsc"}, True),
        ("runsc-kvm", None, True),
        ("safe", {"path": "/opt/gvisor/runsc"}, True),
        ("safe", {"runtimeType": "io.containerd.runsc.v1"}, True),
        ("crun", {"path": "/usr/bin/crun"}, False),
        ("kata", {"runtimeType": "io.containerd.kata.v2"}, False),
    ],
)
def test_in_gvisor_its_own_kernel_bounds_the_processes_and_the_engine_its_threads(
    name: str, described: Any, *, gvisor: bool
) -> None:
    options = options_for(WantedOptions(runtime=name), {"Runtimes": {name: described}}, loaded=False)
    assert options.gvisor is gvisor
    spec, folder = SandboxSpec(UUID(int=1), 1, Limits(pids=200)), Path("/f")
    host = container_config(spec, "image", "here", folder, gateway=folder, options=options)["HostConfig"]
    processes = [each["Soft"] for each in host["Ulimits"] if each["Name"] == "nproc"]
    assert (host["PidsLimit"], processes) == ((856, [200]) if gvisor else (200, []))


def test_the_engine_is_only_asked_when_the_answer_matters() -> None:
    assert not WantedOptions().needs_info(loaded=False)
    assert WantedOptions().needs_info(loaded=True)
    assert WantedOptions(apparmor="required").needs_info(loaded=False)
    assert WantedOptions(runtime="runsc").needs_info(loaded=False)
    assert not WantedOptions(apparmor="off").needs_info(loaded=True)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["name=seccomp,profile=default", "name=rootless"], "rootless"),
        (["name=userns"], "userns"),
        (WITH["SecurityOptions"], None),
        (None, None),
    ],
)
def test_an_engine_with_users_of_its_own_is_seen(options: Any, why: str | None) -> None:
    assert remaps_users({"SecurityOptions": options}) == why


def test_the_kernel_s_list_is_read_by_whole_names() -> None:
    assert is_loaded("docker-default (enforce)\njelmore-sandbox (enforce)\n")
    assert not is_loaded("jelmore-sandbox-old (enforce)\nother//jelmore-sandbox (enforce)\n")


def test_another_confinement_is_another_recipe() -> None:
    every = [ContainerOptions(), ContainerOptions(apparmor=True), ContainerOptions(runtime="runsc", gvisor=True)]
    every += [
        ContainerOptions(open_files=1024),
        ContainerOptions(cpu_shares=512),
        ContainerOptions(own_seccomp=False),
        ContainerOptions(skills=Path("/s")),
        ContainerOptions(agent_uids=None),
        ContainerOptions(agent_uids=range(30_000, 30_001)),
    ]
    assert len({config_digest("id", each) for each in every}) == len(every)


def test_the_agent_of_each_session_gets_a_user_of_its_own() -> None:
    first, second, folder = UUID(int=1), UUID(int=2), Path("/f")
    uids = range(30_000, 40_000)

    def given(session_id: UUID, options: ContainerOptions) -> list[list[str]]:
        spec = SandboxSpec(session_id, 1, Limits())
        own = container_config(spec, "image", "here", folder, gateway=folder, options=options)
        files = files_config(session_id, "image", "here", folder, options)
        assert all("/var/lib/extrausers" in each["HostConfig"]["Tmpfs"] for each in (own, files)), "whatever is given"
        return [[each for each in config["Env"] if "AGENT_UID" in each] for config in (own, files)]

    for session_id in (first, second):
        wanted = [f"JELMORE_RUNNER_AGENT_UID={agent_uid(session_id, uids)}"]
        assert given(session_id, ContainerOptions(agent_uids=uids)) == [wanted, wanted]
    assert agent_uid(first, uids) != agent_uid(second, uids)
    assert given(first, ContainerOptions(agent_uids=None)) == [[], []]


@pytest.mark.skipif(shutil.which("apparmor_parser") is None, reason="needs apparmor_parser (Debian: apparmor)")
@pytest.mark.parametrize("arguments", [["--names"], []])
def test_the_profile_is_one_that_the_parser_takes(arguments: list[str]) -> None:
    parsed = subprocess.run(
        ["apparmor_parser", "--skip-kernel-load", "--skip-cache", *arguments, str(PROFILE)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert parsed.returncode == 0, parsed.stderr
    assert "Warning" not in parsed.stderr
    if arguments == ["--names"]:
        assert parsed.stdout.split() == [APPARMOR_PROFILE]
