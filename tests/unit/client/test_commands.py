"""What every command of `jelmore` has, and the checks of `doctor`, without a server."""

import json
import os
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from jelmore_client.cli import doctor, files, lists, machine, printing
from jelmore_client.cli.app import app
from jelmore_client.cli.blocks import Block

VERBS = (
    "run fork ls show attach send logs interrupt diff pull push cp shell open rm search inbox top events cleanup "
    "doctor keys profiles backup restore uninstall login completion"
)
WITHOUT_JSON = {"attach", "shell", "mcp", "acp", "completion", "transcript", "backup", "restore", "uninstall", "logout"}


def commands() -> Mapping[str, Any]:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return group.commands


def test_help_imports_no_library_that_only_a_call_needs() -> None:
    """`jelmore --help` and completion answer at once: each of these libraries alone takes as long as all the rest."""
    heavy = {"httpx", "pydantic", "rich", "asyncio", "websockets", "prompt_toolkit", "tarfile", "tempfile"}
    asked = f"import sys, jelmore_client.cli.app; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []


def test_every_verb_is_there() -> None:
    assert set(VERBS.split()) <= set(commands())


@pytest.mark.parametrize("name", sorted(set(commands()) - WITHOUT_JSON))
def test_every_command_with_a_result_prints_json_too(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in commands()[name].params)


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_is_explained_in_one_sentence(name: str) -> None:
    text = commands()[name].help
    assert text
    assert text.split("\n")[0].rstrip().endswith((".", ";")) or "." in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_names_the_command(shell: str) -> None:
    done = CliRunner().invoke(app, ["completion", shell])
    assert (done.exit_code, "jelmore" in done.stdout) == (0, True)
    assert CliRunner().invoke(app, ["completion", "tcsh"]).exit_code == 2


def test_doctor_says_what_to_do_about_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JELMORE_URL", "http://no-such-host.invalid")
    done = CliRunner().invoke(app, ["doctor", "--json"])
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    (dns,) = [each for each in findings if each["check"] == "dns"]
    assert (done.exit_code, dns["good"]) == (1, False)
    assert "/etc/resolv.conf" in dns["fix"]
    assert {"server", "port", "image"}.isdisjoint(each["check"] for each in findings)


def test_doctor_distinguishes_a_free_port_from_one_that_another_program_has() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        taken = machine._port(port)
        assert (taken.good, f":{port}" in taken.fix) == (False, True)
    assert machine._port(port).good


def test_doctor_says_how_to_raise_a_limit_that_sessions_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JELMORE_AGENT_UIDS", "off")
    values = {"fs/inotify/max_user_instances": 64, "fs/inotify/max_user_watches": 100_000}
    few, some, pending = machine._kernel(values.get)
    assert (few.check, few.good) == ("inotify instances", False)
    assert "sudo sysctl -w fs.inotify.max_user_instances=1024" in few.fix
    assert (some.good, "fs.inotify.max_user_watches=524288" in some.found) == (True, True)
    assert pending.check == "pending signals"
    assert "all sessions share it" in pending.fix


def test_doctor_says_which_limit_is_of_each_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JELMORE_AGENT_UIDS", raising=False)
    values = {"fs/inotify/max_user_instances": 128, "kernel/keys/maxkeys": 200}
    own, keys, pending = machine._kernel(values.get)
    assert (own.good, own.found) == (True, "128 for each session")
    assert keys.found.startswith("200 for all sessions; for many")
    assert "share" not in pending.fix
    first, _ = machine._confinement([])
    assert first.found == "each agent is a user of its own of this host"


@pytest.mark.parametrize(
    ("options", "profiles", "users", "apparmor"),
    [
        (["name=seccomp,profile=default"], None, "all agents are the same user of this host", "not in this kernel"),
        (["name=userns"], None, "containers have users of their own; among them all agents", "not in this kernel"),
        (["name=rootless"], None, "users of their own", "not in this kernel"),
        (["name=apparmor"], "jelmore-sandbox (enforce)\n", "the same user", "with jelmore-sandbox"),
        (
            ["name=apparmor"],
            "docker-default (enforce)\n",
            "the same user",
            "apparmor_parser -r /etc/apparmor.d/jelmore",
        ),
        (["name=apparmor"], None, "the same user", "as root"),
    ],
)
def test_doctor_says_how_the_engine_keeps_containers_apart(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: list[str],
    profiles: str | None,
    users: str,
    apparmor: str,
) -> None:
    if profiles is not None:
        (tmp_path / "profiles").write_text(profiles)
    monkeypatch.setenv("JELMORE_AGENT_UIDS", "off")
    monkeypatch.setattr(machine, "_PROFILES", tmp_path / "profiles")
    first, second = machine._confinement(options)
    assert users in first.found
    assert apparmor in second.found
    assert first.good
    assert second.good


def test_doctor_names_the_clock_that_is_behind() -> None:
    now = time.time()
    assert doctor._clock(formatdate(now, usegmt=True), now).good
    behind = doctor._clock(formatdate(now + 90, usegmt=True), now)
    assert (behind.good, "behind the server" in behind.found, "timedatectl" in behind.fix) == (False, True, True)
    assert "ahead of the server" in doctor._clock(formatdate(now - 90, usegmt=True), now).found


@pytest.mark.parametrize(
    ("images", "good", "words"),
    [
        ([], False, "no jelmore/runner"),
        ([{"RepoTags": ["jelmore/runner:latest"], "Size": 900 * 2**20}], True, "jelmore/runner:latest, 900 MiB"),
    ],
)
def test_doctor_asks_the_engine_for_the_image_and_the_runtimes_of_profiles(
    images: list[dict[str, Any]], good: bool, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A server on a unix socket that answers as the engine does."""

    class Engine(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            runtimes: dict[str, Any] = {"runc": {}, "runsc": {}}
            known = {"Version": "20.10", "ApiVersion": "1.41", "Runtimes": runtimes}
            found: Any = images if self.path.startswith("/images") else known
            body = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: object) -> None:
            pass

    class OnSocket(HTTPServer):
        address_family = socket.AF_UNIX

        def server_bind(self) -> None:
            self.socket.bind(self.server_address)

    import threading

    path = tmp_path / "docker.sock"
    with OnSocket(str(path), Engine) as server:  # type: ignore[arg-type]  # the address of a unix socket is its path
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        address = machine.engine_address(tmp_path)
        findings = {each.check: each for each in machine._engine_of(address, {"runc": "plain", "kata": "strict"})}
        server.shutdown()
    assert findings["docker"].good
    assert (findings["image"].good, findings["image"].found) == (good, words)
    assert good or "scripts/runner-image" in findings["image"].fix
    missing = "runc, runsc; without kata, which the profile strict names"
    assert (findings["runtimes"].good, findings["runtimes"].found) == (False, missing)
    assert machine._runtimes({"crun"}, {"runc": "plain"}).good, "runc stands for the engine's own"


@pytest.mark.parametrize(
    ("set_here", "dotenv", "wanted"),
    [
        ({}, "", ("unix:///var/run/docker.sock", "the default")),
        ({"DOCKER_HOST": "tcp://10.0.0.7:2376"}, "DOCKER_HOST=unix:///x", ("tcp://10.0.0.7:2376", "DOCKER_HOST")),
        ({}, "# A=1\nexport DOCKER_HOST='unix:///x'\n", ("unix:///x", "DOCKER_HOST in .env")),
        ({"JELMORE_DOCKER_SOCKET": "/a"}, "JELMORE_DOCKER_SOCKET=/b", ("unix:///a", "JELMORE_DOCKER_SOCKET")),
        ({}, "JELMORE_DOCKER_SOCKET=/b\n", ("unix:///b", "JELMORE_DOCKER_SOCKET in .env")),
    ],
)
def test_doctor_looks_at_the_engine_that_is_set(
    set_here: dict[str, str], dotenv: str, wanted: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("DOCKER_HOST", "JELMORE_DOCKER_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    for name, value in set_here.items():
        monkeypatch.setenv(name, value)
    if dotenv:
        (tmp_path / ".env").write_text(dotenv)
    assert machine.engine_address(tmp_path) == wanted


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("unix:///nowhere/docker.sock", "no /nowhere/docker.sock (from DOCKER_HOST)"),
        ("tcp://127.0.0.1:1", "tcp://127.0.0.1:1: "),
        ("ssh://host", "ssh://host (from DOCKER_HOST)"),
    ],
)
def test_doctor_names_the_engine_that_it_does_not_reach(where: str, words: str) -> None:
    (found,) = machine._engine_of((where, "DOCKER_HOST"), {})
    assert not found.good
    assert words in found.found
    assert found.fix


def test_doctor_reaches_an_engine_by_tls_with_the_certificates_of_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    (found,) = machine._engine("tcp://127.0.0.1:1", {})
    assert "No such file" in found.found


@pytest.mark.parametrize(
    ("answer", "good", "words"),
    [
        ({"accepted": True, "credential": True, "status": 200}, True, "accepts the credential"),
        ({"accepted": True, "credential": False, "status": 200}, True, "no credential is set"),
        ({"accepted": False, "credential": True, "status": 401}, False, "refuses the credential (401)"),
        ({"accepted": False, "credential": False, "status": 401}, False, "wants a credential"),
        ({"accepted": None, "credential": True, "status": 404, "problem": "no list of models"}, True, "no list"),
        ({"accepted": None, "credential": True, "status": 0, "problem": "no answer in 8 s"}, False, "no answer"),
    ],
)
def test_doctor_says_what_is_wrong_with_the_credential_for_the_model(
    answer: dict[str, Any], good: bool, words: str
) -> None:
    found = doctor.credential_finding({"server": "model.example", **answer})
    assert (found.good, words in found.found) == (good, True), found
    assert good or "ANTHROPIC_" in found.fix


def test_doctor_names_the_control_groups_that_the_kernel_does_not_have(tmp_path: Path) -> None:
    unified, table = tmp_path / "cgroup.controllers", tmp_path / "cgroups"
    table.write_text("#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t9\t1\nmemory\t2\t9\t0\npids\t3\t9\t1\n")
    old = machine.control_groups(unified, table)
    assert (old.good, old.found, "cgroup_enable=memory" in old.fix) == (False, "v1, without memory", True)
    unified.write_text("cpuset cpu io memory hugetlb pids rdma\n")
    assert machine.control_groups(unified, table).found == "v2 with memory, pids and cpu"
    assert not machine.control_groups(tmp_path / "none", tmp_path / "none").good


def test_a_table_passes_no_control_character_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Titles and what an agent asks for are texts of others: they must not move the cursor or forge a row."""
    printing.print_table(("ASKS",), [("Bash\x1b[2J: \u202ehidden\nrow",)])
    printing.print_fields([("title", "\x1b]0;owned\x07a\nb")])
    printing.Printer().block(Block("user", "\x1b[31mred"))
    shown = capsys.readouterr().out
    assert shown == "ASKS\nBash[2J: hidden row\ntitle: ]0;owneda b\n> [31mred\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_an_answer_and_a_transcript_pass_no_control_character_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, terminal: bool
) -> None:
    """As when the prompt comes through a pipe: the answer is printed plainly, and may carry what the agent chose."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    answer = "\x1b]52;c;b3duZWQ=\x07done \x9b2Jé\n"
    printing.print_text(answer)
    assert capsys.readouterr().out == ("]52;c;b3duZWQ=done 2Jé\n\n" if terminal else f"{answer}\n")
    printing.print_json({"text": answer})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"text": answer}
    assert all(each.isprintable() for each in shown.removesuffix("\n"))


def test_a_listing_that_repeats_clears_no_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", stop)
    monkeypatch.setenv("JELMORE_URL", "http://127.0.0.1:9")
    with pytest.raises(KeyboardInterrupt):
        lists.repeat(lambda _: print("rows"), watch=True, clear=True)
    assert capsys.readouterr().out == "rows\n"


def test_acp_into_a_file_says_that_an_editor_starts_it(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file:
        done = subprocess.run(
            [sys.executable, "-m", "jelmore_client.cli", "acp"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, "docs/editors.md" in done.stderr) == (2, True), done.stderr


def test_a_copy_leaves_out_what_no_workspace_takes(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "file").write_text("x")
    for name, target in {"abs": "/etc/passwd", "up": "../x", "near": "file", "deep/far": "../../x"}.items():
        (tmp_path / "in" / name).symlink_to(target)
    os.mkfifo(tmp_path / "in" / "pipe")
    left: list[str] = []
    with tarfile.open(tmp_path / "packed.tar", "w") as archive:
        archive.add(tmp_path / "in", arcname=".", filter=lambda entry: files._taken(entry, left))
        taken = archive.getnames()
    assert (sorted(left), sorted(taken)) == (["abs", "deep/far", "pipe", "up"], [".", "./deep", "./file", "./near"])
