"""The proxy's settings: those of the manager, so that both always agree."""

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from jelmore.settings import Settings
from jelmore_engine_proxy.settings import DEFAULT_LISTEN, SettingsError, read_settings

_BOTH: Final = ("session-manager", "engine-proxy")
ROOT: Final = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"DOCKER_HOST": "ssh://host"}, "DOCKER_HOST: ssh://host is neither"),
        ({"DOCKER_HOST": "tcp://host:1", "DOCKER_TLS_VERIFY": "1"}, "DOCKER_CERT_PATH: is needed"),
        ({"JELMORE_OCI_RUNTIME": "other"}, "JELMORE_OCI_RUNTIME: other is not one of runc, runsc"),
    ],
)
def test_a_bad_setting_is_named(given: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read_settings(given, DEFAULT_LISTEN)


def test_missing_certificates_are_named(tmp_path: Path) -> None:
    given = {"DOCKER_HOST": "tcp://h:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    with pytest.raises(SettingsError, match=f"DOCKER_CERT_PATH: {tmp_path}"):
        read_settings(given, DEFAULT_LISTEN).tls()


def test_unset_its_defaults_are_the_manager_s(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_HOST", "JELMORE_RUN_DIR", "JELMORE_INSTANCE", "JELMORE_RUNNER_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    ours, theirs = read_settings({}, DEFAULT_LISTEN), Settings(_env_file=None)
    assert ours.engine == theirs.docker_host
    assert ours.policy.images == {theirs.runner_image}
    assert (ours.policy.instance, ours.policy.run_dir) == (theirs.instance, theirs.run_dir)
    assert ours.policy.require_seccomp is (theirs.seccomp == "jelmore")
    assert ours.policy.runtimes == {theirs.oci_runtime}


def test_the_deployment_gives_both_the_same_values_and_the_engine_to_the_proxy_only() -> None:
    services = _services()
    manager, proxy = services["session-manager"]["environment"], services["engine-proxy"]["environment"]
    shared = {name for name in proxy if name.startswith("JELMORE_")}
    assert shared >= {"JELMORE_INSTANCE", "JELMORE_RUN_DIR", "JELMORE_RUNNER_IMAGE", "JELMORE_SECCOMP"}
    assert shared >= {"JELMORE_SKILLS_DIR", "JELMORE_PROFILE_SKILLS_DIR", "JELMORE_PROFILES"}
    assert {name: proxy[name] for name in shared} == {name: manager[name] for name in shared}
    profiles = [[each for each in services[name]["volumes"] if "PROFILES_DIR" in each] for name in _BOTH]
    assert profiles[0] == profiles[1] != []
    assert profiles[0][0].endswith(":ro")
    assert manager["DOCKER_HOST"] == f"unix://{DEFAULT_LISTEN}"
    with_socket = [name for name, service in services.items() if "JELMORE_DOCKER_SOCKET" in str(service.get("volumes"))]
    assert with_socket == ["engine-proxy"]


def test_the_entry_point_hands_over_the_run_directory_only_where_it_may_write() -> None:
    """The proxy's is mounted read-only, and is root's until another service has handed it over."""
    lines = (ROOT / "session-manager" / "Dockerfile").read_text().splitlines()
    [line] = [each for each in lines if "chown 10001:10001" in each]
    assert '[ -w "$directory" ] && ' in line
    [mount] = [each for each in _services()["engine-proxy"]["volumes"] if each.startswith("${JELMORE_RUN_DIR")]
    assert mount.endswith(":ro")


def _services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    return services
