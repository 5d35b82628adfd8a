"""Names of settings: a mistyped one is refused at start, with the name that was probably meant."""

import re
from pathlib import Path

import pytest

from jelmore.settings import Settings, SettingsError, load_settings
from jelmore.settings_names import unknown_name

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("JELMORE_MAX_SESSION", "did you mean JELMORE_MAX_SESSIONS?"),
        ("JELMORE_WORKSPACE_BYTE", "did you mean JELMORE_WORKSPACE_BYTES?"),
        ("JELMORE_QQQQ", "see docs/configuration.md"),
    ],
)
def test_a_mistyped_setting_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value).startswith(f"{name}: ")
    assert words in str(refused.value)


@pytest.mark.parametrize("page", ["docs/configuration.md", ".env.example", "docs/command.md"])
def test_every_name_that_the_pages_have_is_known(page: str) -> None:
    names = set(re.findall(r"\bJELMORE_[A-Z_]*[A-Z]\b", (ROOT / page).read_text()))
    assert len(names) > 3
    assert unknown_name(dict.fromkeys(names, "1"), Settings.model_fields) is None


def test_one_in_the_env_file_is_refused_too_and_every_name_we_use_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("JELMORE_URL", "JELMORE_BIND", "JELMORE_RUNNER_PACKAGES", "JELMORE_BUILD_NETWORK"):
        monkeypatch.setenv(name, "1")
    for name in Settings.model_fields:
        monkeypatch.setenv(f"JELMORE_{name.upper()}", "")
    load_settings()
    (tmp_path / ".env").write_text("JELMORE_LOG_LEVL=debug\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"JELMORE_LOG_LEVEL\?"):
        load_settings()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"PUBLIC_URL": "https://a.example", "PORTS_HOST": "A.example"}, "JELMORE_PORTS_HOST: must not be the name"),
        ({"PUBLIC_URL": "https://b.A.example:8443", "PORTS_HOST": "a.example"}, "JELMORE_PORTS_HOST: must not be the"),
        ({"PUBLIC_URL": "https://a.localhost", "PORTS_HOST": "localhost"}, "JELMORE_PORTS_HOST: must not be the name"),
        ({"PUBLIC_URL": "http://a.example", "PORTS_HOST": "ports.example"}, "JELMORE_PORTS_HOST: needs https"),
        ({"PUBLIC_URL": "http://localhost", "PORTS_HOST": "notlocalhost"}, "JELMORE_PORTS_HOST: needs https"),
        ({"PUBLIC_URL": "https://a.example", "PORTS_HOST": "ports.example"}, "JELMORE_PORTS_CERTIFICATE: is needed"),
        ({"PORTS_HOST": "*.ports.example"}, "JELMORE_PORTS_HOST: "),
    ],
)
def test_a_host_of_ports_that_cannot_work_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in settings.items():
        monkeypatch.setenv(f"JELMORE_{name}", value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value).startswith(words)


@pytest.mark.parametrize(
    ("public_url", "ports_host", "found"),
    [
        ("http://127.0.0.1:8080", None, "localhost"),
        ("http://localhost", None, "localhost"),
        ("http://a.example", None, ""),
        ("http://a.example", "localhost", "localhost"),
        ("http://localhost:8080", "localhost", "localhost"),
        ("http://127.0.0.1:8080", "Ports.localhost", "ports.localhost"),
        ("https://ba.example", "A.example", "a.example"),
    ],
)
def test_names_of_ports_are_below_localhost_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, public_url: str, ports_host: str | None, found: str
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(public_url=public_url, ports_host=ports_host, ports_certificate=tmp_path)
    assert settings.effective_ports_host == found


def test_tls_to_the_engine_without_certificates_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_HOST", "tcp://engine:2376")
    monkeypatch.delenv("DOCKER_CERT_PATH", raising=False)
    with pytest.raises(SettingsError, match="DOCKER_CERT_PATH: is needed with DOCKER_TLS_VERIFY"):
        load_settings()


_OIDC = {"OIDC_ISSUER": "https://id.test", "OIDC_CLIENT_ID": "jelmore", "OIDC_ADMIN_GROUPS": "ops"}


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"OIDC_CLIENT_ID": ""}, "OIDC_CLIENT_ID"),
        ({"OIDC_ADMIN_GROUPS": ""}, "OIDC_ADMIN_GROUPS"),
        ({"OIDC_SCOPES": "profile"}, "OIDC_SCOPES"),
        ({"OIDC_ISSUER": "http://id.test"}, "OIDC_ISSUER"),
        ({"OIDC_ISSUER": "ftp://id.test"}, "OIDC_ISSUER"),
        ({"PUBLIC_URL": "http://jelmore.test"}, "PUBLIC_URL"),
        ({"OIDC_CLIENT_SECRET": "s", "OIDC_CLIENT_SECRET_FILE": "/s"}, "OIDC_CLIENT_SECRET_FILE"),
        ({"OIDC_LOGIN_S": "86400"}, "OIDC_LOGIN_S"),
    ],
)
def test_what_does_not_fit_for_an_identity_provider_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: dict[str, str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for each, value in {**_OIDC, **changed}.items():
        monkeypatch.setenv(f"JELMORE_{each}", value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value).startswith(f"JELMORE_{name}: ")


def test_a_secret_of_an_identity_provider_is_read_from_its_file_each_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "secret"
    for each, value in {**_OIDC, "OIDC_CLIENT_SECRET_FILE": str(file), "OIDC_ADMIN_GROUPS": "ops, more"}.items():
        monkeypatch.setenv(f"JELMORE_{each}", value)
    settings = load_settings()
    assert settings.oidc_groups["admin"] == {"ops", "more"}
    for secret in ("first", "second"):
        file.write_text(f"{secret}\n")
        assert settings.oidc_secret() == secret


def test_user_ids_of_a_system_are_refused_by_the_settings_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JELMORE_AGENT_UIDS", "1000-2000")
    with pytest.raises(SettingsError, match=r"JELMORE_AGENT_UIDS: .*between 20000 and 2147483647"):
        load_settings()
    monkeypatch.setenv("JELMORE_AGENT_UIDS", "off")
    assert load_settings().agent_uid_range is None
    monkeypatch.delenv("JELMORE_AGENT_UIDS")
    assert load_settings().agent_uid_range == range(1_900_000, 2_097_152)


def test_settings_with_several_words_separate_them_by_commas() -> None:
    settings = Settings(package_hosts=" a.example, b.example ,")
    assert settings.package_host_list == ("a.example", "b.example")
