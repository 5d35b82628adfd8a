"""The scripts, the Makefile and the compose file: what can be known about them without running the system."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted([*filter(Path.is_file, (ROOT / "scripts").rglob("*")), ROOT / ".ci" / "run"])
SHELL = [script for script in SCRIPTS if script.suffix not in {".py", ".pyc", ".css"}]
SOURCED = {"lib.sh"}
ONE_SHOT = {"migrate", "runner-image"}


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout with extra environment; its output is text, its input is empty."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file with its anchors resolved and its variables as written."""
    loaded = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_script_is_valid_bash_and_executable(script: Path) -> None:
    checked = run("bash", "-n", str(script))
    assert checked.returncode == 0, checked.stderr
    assert os.access(script, os.X_OK) == (script.name not in SOURCED)
    opening = script.read_text().splitlines()
    assert script.name in SOURCED or opening[0] == "#!/usr/bin/env bash"
    assert opening[1].startswith("# ")


@pytest.mark.parametrize("script", ["python-env", "docker-engine"])
def test_script_fails_with_one_line_that_says_what_to_do(script: str, tmp_path: Path) -> None:
    absent = f"unix://{tmp_path}/absent.sock"
    failed = run(f"scripts/{script}", "no-such-set", DOCKER_HOST=absent)
    assert failed.returncode == 1
    lines = failed.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")


@pytest.mark.parametrize(
    ("held", "asked", "kept"),
    [
        ("dev", "embedded", "dev"),
        ("dev", "local", "dev"),
        ("embedded", "manager", "embedded"),
        ("manager", "embedded", "embedded"),
        ("embedded", "runner", "local"),
        ("runner", "manager", "local"),
        ("local", "dev", "dev"),
    ],
)
def test_an_environment_only_grows(held: str, asked: str, kept: str) -> None:
    source = (ROOT / "scripts" / "python-env").read_text()
    functions = source[source.index("includes()") : source.index("# good_python")]
    answered = run("bash", "-c", f'{functions}\nunion "$1" "$2"', "bash", held, asked)
    assert answered.stdout.strip() == kept


def test_every_make_target_is_explained() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    explained = set(re.findall(r"^  make ([a-z-]+) ", run("make", "help").stdout, re.MULTILINE))
    assert explained == set(phony.group(1).split())


def test_every_script_a_target_calls_exists() -> None:
    called = set(re.findall(r"scripts/([a-z_.-]+)", (ROOT / "Makefile").read_text()))
    assert called <= {path.name for path in (ROOT / "scripts").iterdir()}
    assert called


def test_only_caddy_publishes_ports_and_on_loopback_by_default(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert set(published) == {"caddy"}
    assert all(port.startswith("${JELMORE_BIND:-127.0.0.1}:") for port in published["caddy"])


def test_every_lasting_service_is_checked_bounded_and_unprivileged(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert "mem_limit" in service, name
        assert service["logging"]["options"]["max-size"], name
        if name not in ONE_SHOT:
            assert service["healthcheck"]["test"], name
            assert service["restart"] == "unless-stopped", name


def test_the_docker_socket_goes_to_the_engine_proxy_only(compose: dict[str, Any]) -> None:
    holders = {
        name
        for name, service in compose["services"].items()
        if any("docker.sock" in volume for volume in service.get("volumes", []))
    }
    assert holders == {"engine-proxy"}


def test_the_stores_have_no_way_out(compose: dict[str, Any]) -> None:
    assert compose["networks"]["stores"]["internal"] is True
    for name in ("postgres", "redis", "nats"):
        assert compose["services"][name]["networks"] == ["stores"]


def test_every_image_starts_from_the_one_base(compose: dict[str, Any]) -> None:
    bases = []
    for service in compose["services"].values():
        build = service.get("build")
        if build is None:
            assert service["image"] == "jelmore/session-manager:latest"
            continue
        recipe = build.get("dockerfile_inline") or (ROOT / build["dockerfile"]).read_text()
        stages = set(re.findall(r"^FROM \S+ AS (\S+)", recipe, re.MULTILINE))
        bases += [base for base in re.findall(r"^FROM (\S+)", recipe, re.MULTILINE) if base not in stages]
    assert set(bases) == {"debian:trixie-slim"}


def test_settings_of_this_shell_alone_are_named(tmp_path: Path) -> None:
    source = "source scripts/lib.sh; ROOT=$1; inline_settings"
    (tmp_path / "compose.yaml").write_text((ROOT / "compose.yaml").read_text())
    (tmp_path / ".env").write_text("JELMORE_CPUS=2\nJELMORE_PIDS=9\n")
    shell = {"JELMORE_CPUS": "2", "JELMORE_PIDS": "10", "ANTHROPIC_API_KEY": "secret", "JELMORE_MAX_SESSIONS": "7"}
    cleared = {name: "" for name in os.environ if name.startswith(("JELMORE_", "ANTHROPIC_", "DOCKER_"))}
    named = run("bash", "-c", source, "bash", str(tmp_path), **{**cleared, **shell})
    assert named.stdout.split() == ["ANTHROPIC_API_KEY", "JELMORE_MAX_SESSIONS", "JELMORE_PIDS"], named.stderr


def test_the_packages_of_the_runner_image_are_in_its_digest(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\necho id\n")
    (tmp_path / "docker").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    digests = {
        run("scripts/runner-image", "--digest", PATH=path, JELMORE_RUNNER_PACKAGES=packages).stdout.strip()
        for packages in ("", "jq", "jq ripgrep", "jq")
    }
    assert len(digests) == 3
    assert "" not in digests


def test_everything_that_the_runner_image_copies_is_in_its_digest(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\necho id\n")
    (tmp_path / "docker").chmod(0o755)
    lines = (ROOT / "runner-image" / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    inputs = ["runner-image/Dockerfile", *copied]
    assert {"requirements/runner.txt", "runner-image/bin/", "runner-image/src/", "protocol/src/"} <= set(inputs)
    for each in ["scripts", *inputs]:
        whole = ROOT / each
        if whole.is_dir():
            shutil.copytree(whole, tmp_path / each, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            (tmp_path / each).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(whole, tmp_path / each)

    def digest() -> str:
        path = f"{tmp_path}:{os.environ['PATH']}"
        return run(str(tmp_path / "scripts/runner-image"), "--digest", PATH=path).stdout.strip()

    digests = [digest()]
    for each in inputs:
        place = tmp_path / each
        file = next(path for path in sorted(place.rglob("*")) if path.is_file()) if place.is_dir() else place
        file.write_text(file.read_text() + "\n# changed\n")
        digests.append(digest())
    assert "" not in digests
    assert len(set(digests)) == len(inputs) + 1


def test_a_variant_of_the_runner_image_has_a_digest_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\necho id\n")
    (tmp_path / "docker").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    lean = run("scripts/runner-image", "--digest", PATH=path).stdout
    build = run("scripts/runner-image", "--variant", "build", "--digest", PATH=path).stdout
    chosen = run("scripts/runner-image", "--digest", PATH=path, JELMORE_RUNNER_IMAGE="jelmore/runner:build").stdout
    assert lean
    assert build == chosen != lean
    unknown = run("scripts/runner-image", "--variant", "huge", "--digest", PATH=path)
    assert unknown.returncode == 1
    assert "there is no variant 'huge'" in unknown.stderr


def test_caddy_forgets_a_configuration_of_another_run_directory(tmp_path: Path) -> None:
    """The lines of the image's entry point that decide so, run as they are."""
    lines = re.findall(r"^        '(.*)' \\$", (ROOT / "caddy" / "Dockerfile").read_text(), re.MULTILINE)
    deciding = [line for line in lines if "saved" in line and not line.startswith("#")]
    script = "\n".join(['as-jelmore() { "$@"; }', f"directory={tmp_path}/now", *deciding])
    saved = tmp_path / "caddy" / "autosave.json"
    saved.parent.mkdir()
    for run_dir, kept in ((f"{tmp_path}/now", True), (f"{tmp_path}/before", False)):
        saved.write_text(f'{{"dial":"unix/{run_dir}/manager/0.sock"}}')
        done = run("bash", "-euc", script, XDG_CONFIG_HOME=str(tmp_path))
        assert done.returncode == 0, done.stderr
        assert saved.exists() == kept
    assert run("bash", "-euc", script, XDG_CONFIG_HOME=str(tmp_path)).returncode == 0


def test_the_deployment_trusts_the_authorities_of_its_operator_beside_the_public_ones(tmp_path: Path) -> None:
    """The lines of the image that its entry points read, run as they are."""
    text = (ROOT / "session-manager" / "Dockerfile").read_text()
    lines = re.findall(
        r"'([^']*)'", text[text.index("if [ -s /etc/jelmore/auth") - 1 : text.index(">/opt/jelmore/bin/trust")]
    )
    assert text.count("'. /opt/jelmore/bin/trust'") == 2
    script = "\n".join(lines)
    for path in ("/etc/jelmore/authorities.pem", "/etc/ssl/certs/ca-certificates.crt", "/tmp/authorities.pem"):
        script = script.replace(path, str(tmp_path / Path(path).name))
    (tmp_path / "ca-certificates.crt").write_text("public\n")
    for given, kept in (("", ""), ("ours\n", "public\nours\n")):
        (tmp_path / "authorities.pem").write_text(given)
        trust = script.replace(f">{tmp_path}/authorities.pem", f">{tmp_path}/all.pem")
        trust = trust.replace(f"FILE={tmp_path}/authorities.pem", f"FILE={tmp_path}/all.pem")
        done = run("bash", "-euc", f'{trust}\ncat "${{SSL_CERT_FILE:-/dev/null}}"', SSL_CERT_FILE="")
        assert (done.returncode, done.stdout) == (0, kept), done.stderr


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("JELMORE_PUBLIC_URL=https://jelmore.example.org   # TLS by a public authority", "https://jelmore.example.org"),
        ("JELMORE_PUBLIC_URL=https://x/#y", "https://x/#y"),
        ("export JELMORE_PUBLIC_URL='a # b'  # c", "a # b"),
        ('JELMORE_PUBLIC_URL="a b" ', "a b"),
        ("JELMORE_PUBLIC_URL= # none", ""),
        ("JELMORE_PUBLIC_URL=plain  \r", "plain"),
    ],
)
def test_a_setting_is_read_as_compose_reads_it(line: str, value: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"JELMORE_PUBLIC_URL=older\n{line}\n", newline="")
    found = run(
        "bash", "-c", f"source scripts/lib.sh; ROOT={tmp_path}; setting JELMORE_PUBLIC_URL", JELMORE_PUBLIC_URL=""
    )
    assert (found.returncode, found.stdout) == (0, f"{value}\n"), found.stderr


def test_each_deployment_gets_passwords_of_its_own_once(tmp_path: Path) -> None:
    names = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "NATS_PASSWORD")
    settings = tmp_path / ".env"
    settings.write_text("REDIS_PASSWORD=mine")  # as some editors save it, without the end of the line
    make = f"source scripts/lib.sh; ROOT={tmp_path}; keep_store_passwords"
    cleared = dict.fromkeys(names, "")
    assert run("bash", "-c", make, **cleared).returncode == 0
    found = dict(line.split("=", 1) for line in settings.read_text().splitlines())
    assert set(found) == set(names)
    assert found["REDIS_PASSWORD"] == "mine"
    assert re.fullmatch("p[0-9a-f]{48}", found["POSTGRES_PASSWORD"])
    assert found["POSTGRES_PASSWORD"] != found["NATS_PASSWORD"]
    assert run("bash", "-c", make, **cleared).returncode == 0
    assert dict(line.split("=", 1) for line in settings.read_text().splitlines()) == found


def test_no_store_of_the_deployment_is_open(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert 'requirepass "$$REDIS_PASSWORD"' in services["redis"]["command"][-1]
    assert "password: $$NATS_PASSWORD" in services["nats"]["build"]["dockerfile_inline"]
    for store, name in (("postgres", "POSTGRES_PASSWORD"), ("redis", "REDIS_PASSWORD"), ("nats", "NATS_PASSWORD")):
        assert services[store]["environment"][name].startswith(f"${{{name}:-")


def shell(text: str) -> subprocess.CompletedProcess[str]:
    """Run shell code with the functions of the scripts."""
    return run("bash", "-c", f"source scripts/lib.sh\n{text}")


@pytest.mark.parametrize("pip", ["exit 1", "echo \"global.index-url='https://pypi.example.test/simple'\""])
def test_a_build_needs_no_environment_of_the_checkout_and_no_pip(tmp_path: Path, pip: str) -> None:
    python = tmp_path / "python3"
    python.write_text(f"#!/bin/sh\n{pip}\n")
    python.chmod(0o755)
    lend = f'ROOT={tmp_path} STATE={tmp_path} PATH={tmp_path}:$PATH; lend_build_settings; cat "$JELMORE_BUILD_PIP_CONF"'
    lent = shell(lend)
    kept = "" if pip == "exit 1" else "index-url = https://pypi.example.test/simple\n"
    assert (lent.returncode, lent.stdout) == (0, f"[global]\n{kept}"), lent.stderr


@pytest.mark.parametrize(
    ("logged", "step"),
    [
        ("#8 [runner-image stage-0  4/10] RUN pip install\n#8 1.2 Collecting x\n", "step 4/10: RUN pip install"),
        ("#14 [runner-image] exporting to image\n", ""),
        ("Step 3/12 : COPY a b\n ---> 0a1b\n", "step 3/12: COPY a b"),
        ("Collecting httpx==0.28\r\n  Downloading httpx-0.28.whl (73 kB)\n", "Downloading httpx-0.28.whl (73 kB)"),
        ("Get:7 archive jq [64 kB]\nUnpacking jq (1.6) ...\n", "Unpacking jq (1.6) ..."),
        ("", ""),
    ],
)
def test_the_newest_step_of_a_build_is_found_in_its_log(tmp_path: Path, logged: str, step: str) -> None:
    (tmp_path / "log").write_text(logged)
    found = shell(f"newest_step {tmp_path}/log")
    assert (found.returncode, found.stdout.strip()) == (0, step)


def test_progress_is_shown_while_a_command_runs_and_its_status_is_kept(tmp_path: Path) -> None:
    work = "echo 'Step 1/2 : RUN a'; sleep 2.5; echo 'Step 2/2 : RUN b'; sleep 2.5; exit 7"
    done = shell(f'PROGRESS_S=1; watched {tmp_path}/log bash -c "{work}" || status=$?; echo "ended with $status"')
    assert "» step 1/2: RUN a" in done.stderr
    assert "» step 2/2: RUN b" in done.stderr
    assert done.stdout == "ended with 7\n"
    assert (tmp_path / "log").read_text() == "Step 1/2 : RUN a\nStep 2/2 : RUN b\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("JELMORE_MAX_SESION", "JELMORE_MAX_SESION: there is no such setting; did you mean JELMORE_MAX_SESSIONS?"),
        ("JELMORE_FOO", "JELMORE_FOO: there is no such setting; see docs/configuration.md"),
        ("JELMORE_HTTP_PORT", ""),
        ("JELMORE_BUILD_ANYTHING", ""),
    ],
)
@pytest.mark.parametrize("where", ["shell", ".env"])
def test_a_mistyped_setting_stops_the_deployment(name: str, said: str, where: str, tmp_path: Path) -> None:
    for part in ("docs/configuration.md", "session-manager/src/jelmore/settings_names.py"):
        (tmp_path / part).parent.mkdir(parents=True)
        shutil.copy(ROOT / part, tmp_path / part)
    (tmp_path / ".env").write_text(f"# {name}X=1\n{name}=3\n" if where == ".env" else "")
    given = {name: "3"} if where == "shell" else {}
    answered = run("bash", "-c", f'source scripts/lib.sh; ROOT="{tmp_path}"; unknown_setting', **given)
    assert (answered.returncode, answered.stdout.strip()) == (0, said), answered.stderr


def test_the_deployment_looks_at_settings_before_anything_else() -> None:
    answered = run("scripts/up", JELMORE_MAX_SESION="3")
    assert answered.returncode == 1
    assert "did you mean JELMORE_MAX_SESSIONS?" in answered.stderr
