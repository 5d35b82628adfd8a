"""Promises that no other test is about: times, hand-overs, logs, and what people run."""

import ast
import asyncio
import io
import json
import logging
import re
import shutil
import subprocess
import tomllib
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import structlog
import yaml
from dotenv import dotenv_values

from jelmore.api.mounts import MOUNTS
from jelmore.control.breaker import CircuitBreaker
from jelmore.control.cache import RecordCache
from jelmore.control.tasks import Tasks
from jelmore.logs import configure
from jelmore.session.errors import DependencyError
from jelmore.session.world import Address as EdgeAddress
from jelmore.session.world import Route
from jelmore.settings import Settings
from jelmore_protocol.control import AgentOptions
from jelmore_runner.agents.claude.mirror import Mirror
from jelmore_runner.agents.claude.options import Launch, Start, build_options
from jelmore_runner.git_activity import GitActivityReader
from jelmore_runner.settings import Address
from jelmore_runner.settings import Settings as RunnerSettings
from jelmore_runner.transcripts import Transcripts
from tests.bench.table import Row
from tests.fakes.memory_records import MemoryRecords
from tests.fakes.memory_store import MemoryStore
from tests.integration.api.world import world
from tests.support.log_settings import kept_settings
from tests.support.records import new_session
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]


# --- sessions


async def test_looking_is_no_activity_and_talking_is() -> None:
    async with world() as api, api.client() as http:
        url = (await http.post("/api/v1/sessions")).headers["location"]
        session_id = url.rpartition("/")[2]
        await api.stored(session_id, 1)
        before = (await http.get(url)).json()["last_activity"]
        for path in ("", "/output", "/events", "/messages", "/permissions", "/health", "/logs"):
            assert (await http.get(f"{url}{path}")).status_code == 200, path
        assert (await http.get("/api/v1/sessions")).json()[0]["last_activity"] == before
        async with http.stream("GET", f"{url}/stream", params={"after": 0}) as answer:
            assert answer.status_code == 200
        assert (await http.get(url)).json()["last_activity"] == before
        seq = (await http.post(f"{url}/input", json={"input": "hello"})).json()["seq"]
        await api.stored(session_id, seq + 1)
        assert (await http.get(url)).json()["last_activity"] > before


async def test_an_idle_session_is_warned_once_and_then_ended() -> None:
    async with world() as api, api.client() as http:
        url = (await http.post("/api/v1/sessions", json={"timeout_minutes": 0.02, "warn_before_s": 1})).headers[
            "location"
        ]

        async def over() -> bool:
            return bool((await http.get(url)).json()["status"] == "terminated")

        await until(over)
        assert (await http.get(url)).json()["end_reason"] == "idle_timeout"
        events = (await http.get(f"{url}/events")).json()
        (warning,) = [event for event in events if event["event_type"] == "system.timeout_warning"]
        (ended,) = [event for event in events if event["event_type"] == "session.terminated"]
        assert warning["seq"] < ended["seq"]
        assert warning["payload"]["expires_at"][:19] <= ended["timestamp"][:19]


async def test_a_sweep_that_removed_something_is_reported() -> None:
    async with world() as api, api.client() as http:
        assert (await http.post("/api/cleanup")).json()["removed"] == {}
        assert UUID(int=0) not in api.store.kept_events
        stray = uuid4()
        await api.edge.publish(stray, EdgeAddress("unix:/fake/runner.sock"), route=Route.RUNNER)
        assert (await http.post("/api/cleanup")).json()["removed"] == {"route": 1}
        (event,) = api.store.kept_events[UUID(int=0)]
        assert (event.type, event.payload) == ("system.cleanup", {"removed": {"route": 1}})


def test_bounds_of_a_session_reach_claude_code(tmp_path: Path) -> None:
    nowhere = Address.parse("unix:/nowhere")
    wanted = AgentOptions(model="m", max_turns=7, max_budget_usd=1.5, allowed_tools=["Bash"], system_prompt="be brief")

    async def never(*_: object) -> None:
        raise AssertionError

    launch = Launch(RunnerSettings(nowhere, nowhere, nowhere, tmp_path), "s", wanted, 1)
    start = Start("s", resume=False, max_budget_usd=1.5)
    mirror = Mirror(Transcripts(tmp_path), never)  # type: ignore[arg-type]  # it reports nothing
    made = build_options(launch, start, can_use_tool=never, hooks={}, stderr=print, store=mirror)  # type: ignore[arg-type]  # it is never asked
    assert (made.model, made.max_turns, made.max_budget_usd, made.allowed_tools) == ("m", 7, 1.5, ["Bash"])
    assert "be brief" in str(made.system_prompt)


def test_a_commit_is_reported_with_branch_and_head(tmp_path: Path) -> None:
    git, commit = tmp_path / ".git", "ab" * 20
    (git / "refs/heads").mkdir(parents=True)
    (git / "logs").mkdir()
    (git / "HEAD").write_text("ref: refs/heads/trunk\n")
    reader = GitActivityReader(tmp_path)
    reader.remember_present()
    (git / "refs/heads/trunk").write_text(f"{commit}\n")
    (git / "logs/HEAD").write_text(f"{'0' * 40} {commit} a <a@b> 1 +0000\tcommit (initial): first\n")
    (change,) = reader.changes_of(git / "logs" / "HEAD")
    assert change == {"op": "commit", "branch": "trunk", "head": commit, "repository": "."}


# --- the manager


def test_the_promised_times_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"JELMORE_{name.upper()}", raising=False)
    defaults = Settings(_env_file=None)
    assert (defaults.timeout_minutes, MOUNTS[2].timeout_s, defaults.on_timeout) == (30, 3600, "hibernate")
    assert (defaults.monitor_every_s, defaults.sweep_every_s, defaults.stop_timeout_s) == (60, 300, 10)
    assert (defaults.probe_every_s, defaults.probe_grace_s, defaults.probes_tolerated) == (30, 60, 3)
    assert (defaults.restarts_allowed, defaults.restart_window_s, defaults.max_sessions) == (3, 600, 3)


async def test_a_cached_record_needs_no_sql() -> None:
    store = MemoryStore()
    cache = RecordCache(store, MemoryRecords(), CircuitBreaker("redis", store.check, Tasks()))
    session, _ = await store.create(new_session(), [], most_live=1, idempotency=None)
    assert await cache.load(session.id) == session
    store.away = True
    assert await cache.load(session.id) == session
    assert (cache.hits, cache.misses) == (1, 1)
    await cache.saved(replace(session, version=session.version + 1, title="newer"))
    await cache.saved(session)
    assert (await cache.load(session.id)).title == "newer"
    await cache.forget(session.id)
    with pytest.raises(DependencyError):
        await cache.load(session.id)


async def test_a_loop_that_fails_is_run_again_and_counted() -> None:
    tasks, ran, again = Tasks(), 0, asyncio.Event()

    async def fails() -> None:
        nonlocal ran
        ran += 1
        if ran == 4:
            again.set()
            await asyncio.Event().wait()
        if ran == 3:
            raise DependencyError("redis", "away")
        if ran == 2:
            return
        raise ZeroDivisionError

    tasks.keep("loop", fails, pause_s=0)
    async with asyncio.timeout(5):
        await again.wait()
    assert (tasks.running(), tasks.restarts) == (["loop"], {"loop": 3})
    await tasks.close()


# --- working on it


def test_a_log_line_is_json_without_secrets() -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    printed = io.StringIO()
    try:
        with kept_settings(), redirect_stderr(printed):
            configure("info", "json")
            log = structlog.get_logger("a.part")
            nested = {
                "url": "postgresql://me:word@host/x",
                "of": [f"{made}_0123456789" for made in ("jlp", "jli", "jlt")],
            }
            log.info("change", session_id="s1", key="jlm_0123456789", nested=nested)
            logging.getLogger("a.library").warning("sent %s", "sk-ant-0123456789")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert not re.search("0123456789|word", printed.getvalue())
    ours, library = (json.loads(line) for line in printed.getvalue().splitlines())
    assert (ours["event"], ours["level"], ours["session_id"], ours["logger"]) == ("change", "info", "s1", "a.part")
    assert ours["nested"] == {"url": "postgresql://[redacted]@host/x", "of": ["[redacted]"] * 3}
    assert (library["event"], library["level"]) == ("sent [redacted]", "warning")


def test_the_example_settings_are_complete_and_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / ".env.example").read_text()
    assert dotenv_values(stream=io.StringIO(text)) == {}, "as it stands it changes nothing"
    chosen = tmp_path / ".env"
    chosen.write_text(re.sub(r"^#(?=[A-Z_]+=)", "", text, flags=re.MULTILINE))
    names = dotenv_values(chosen)
    for name in names:
        monkeypatch.delenv(name, raising=False)
    plain, written = Settings(_env_file=None), Settings(_env_file=chosen)
    assert written == plain
    assert set(variables()) <= set(names)


def variables() -> list[str]:
    """Return the name of every setting, as the environment has it."""
    aliases = {name: field.validation_alias for name, field in Settings.model_fields.items()}
    return [
        f"JELMORE_{name.upper()}" if alias is None else str(getattr(alias, "choices")[0])  # noqa: B009
        for name, alias in aliases.items()
    ]


def test_the_deployment_passes_every_setting_on() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    of_one_process = {"JELMORE_MANAGER_ID", "JELMORE_MANAGER_SLOT"}
    passed = {name: set(services[name]["environment"]) for name in ("session-manager", "gateway", "mcp-servers")}
    assert set(variables()) - of_one_process <= set().union(*passed.values())
    assert not {name for name in passed["session-manager"] if name.startswith(("ANTHROPIC_", "CLAUDE_"))}


def test_ci_runs_the_checks_and_the_tests_that_people_run() -> None:
    runs = re.findall(r"\bmake ([\w-]+)", (ROOT / ".ci" / "run").read_text())
    assert runs == ["coverage", "test", "check", "test-servers", "test"]
    checks = (ROOT / "scripts" / "check").read_text()
    for tool in ("ruff format --check", "ruff check", "mypy", "lint-imports"):
        assert tool in checks


def test_the_checks_run_before_a_commit_in_a_clone_that_asked_for_them(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "scripts" / "check").write_text("#!/bin/sh\necho the checks ran >&2; exit 1\n")
    subprocess.run(["make", "--directory", str(tmp_path), "hooks"], check=True, capture_output=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    commit = ["git", "-C", str(tmp_path), *identity, "commit", "--allow-empty", "--message", "x"]
    refused = subprocess.run(commit, check=False, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "the checks ran" in refused.stderr


def test_the_coverage_of_the_core_has_a_gate() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]
    assert settings["run"]["branch"] is True
    assert settings["report"]["fail_under"] >= 70
    assert {"jelmore.session", "jelmore.control", "jelmore_protocol"} <= set(settings["run"]["source"])


def test_a_part_of_the_tests_can_be_run_and_what_failed_last() -> None:
    command = ["make", "--dry-run", "--no-print-directory", "test", "T=tests/unit/session", "ARGS=--lf"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert shown.stdout.split() == ["exec", "scripts/test", '"tests/unit/session"', "--lf"]


def test_unit_tests_need_no_server() -> None:
    servers = ast.parse((ROOT / "tests/support/servers.py").read_text())
    fixtures = {node.name for node in servers.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    needing = {name for name in fixtures if name.endswith(("_server", "_url"))}
    assert len(needing) >= 6
    for path in (ROOT / "tests/unit").rglob("*.py"):
        used = {node.arg for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.arg)}
        assert not used & needing, path
        assert not re.search(r"mark\.(docker|integration|e2e)", path.read_text()), path


def test_a_row_of_the_benchmark_has_median_and_percentile() -> None:
    row = Row("a call", "ms", [float(number) for number in range(1, 101)], floor=[1.0, 2.0, 3.0])
    assert (row.median, row.p95, row.floor_median) == (50.5, 95, 2)
