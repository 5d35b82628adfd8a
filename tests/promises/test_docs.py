"""What the pages name exists: files, make targets, settings, calls, checks. It prevents documents that lag behind."""

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from jelmore.api.mounts import MOUNTS
from jelmore.api.system import CLEANUP_PATHS, HEALTH_PATHS
from jelmore.drivers.nats_events import DEAD_LETTERS
from tests.promises.pages import code_in, links_in

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DECISIONS: Final = sorted((ROOT / "docs" / "decisions").glob("*.md"))
OF_THE_QUICK_START: Final = {"JELMORE_URL"}
"""Written by the quick start for scripts, read by nobody."""
OF_THE_COMMAND: Final = {"JELMORE_CONTEXT", "JELMORE_KEYRING"}
"""Read by `jelmore`, which knows no setting of the server."""
OF_CADDY: Final = {"/config"}
"""Its admin API, which a decision is about."""
HTML: Final = {"/api/v1/docs", "/api/v1/redoc", "/openapi.json"}
_SETTING: Final = re.compile(r"\b(?:JELMORE|DATABASE|REDIS|NATS|DOCKER|ANTHROPIC|CLAUDE_CODE|POSTGRES)_[A-Z][A-Z_]*\b")
_CALL: Final = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) (\S*?/[\w/{}.-]*)")
_PATH: Final = re.compile(
    r"(?:(?<![\w.])|(?<=_URL))(/(?:api/[\w/{}.-]+|livez|readyz|health|metrics|openapi\.json))(?![\w/])"
)
_OF_A_SESSION: Final = re.compile(r"\$S(/[\w/-]+)")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

GUIDES: Final = [
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("architecture", "changing", "glossary")),
]
FOLDERS: Final = (
    "",
    "session-manager/src/jelmore",
    "session-manager/src/jelmore/api",
    "session-manager/src/jelmore/bootstrap",
    "session-manager/src/jelmore/control/sessions",
    "session-manager/src/jelmore/drivers",
    "session-manager/src/jelmore/web",
    "runner-image/src/jelmore_runner",
    "protocol/src/jelmore_protocol",
)
"""Where the guides' shortened paths begin."""
_FILE: Final = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*(?:/|\.(?:py|sql|md|json|toml|yaml))")
_CLASS: Final = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b")
_SPAN: Final = re.compile(r"`([^`\n]+)`")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def generator() -> ModuleType:
    """Return the script that writes the generated pages."""
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "scripts" / "generate_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR: Final[Any] = generator()


def calls() -> dict[str, set[str]]:
    """Return the methods of every path that is served, a parameter written as `{}`."""
    described = json.loads((ROOT / "docs" / "openapi.json").read_text())["paths"]
    served: dict[str, set[str]] = {page: {"get"} for page in HTML}
    first = MOUNTS[0].prefix
    same = (HEALTH_PATHS, CLEANUP_PATHS)
    for path, methods in described.items():
        others = [path.replace(first, mount.prefix, 1) for mount in MOUNTS] if path.startswith(first) else [path]
        others += [other for paths in same if path in paths for other in paths]
        for other in others:
            served[re.sub(r"\{\w+\}", "{}", other)] = set(methods)
    return served


def named_calls(text: str) -> Iterator[tuple[str | None, str]]:
    """Yield method (None where only a path is named) and path of the calls that a page names."""
    for found in _CALL.finditer(text):
        yield found[1].lower(), found[2]
    for found in _PATH.finditer(text):
        yield None, found[1]
    for found in _OF_A_SESSION.finditer(text):
        yield None, f"…{found[1]}"


def full(path: str) -> str:
    """Return a path as it is served: pages shorten `/api/v1` away, and a session to `…`."""
    path = path.rpartition("JELMORE_URL")[2].rstrip("/.")
    path = re.sub(r"\{\w+\}", "{}", _UUID.sub("{}", path))
    if path.startswith("…"):
        return f"{MOUNTS[0].prefix}/{{}}{path[1:]}"
    return f"/api/v1{path}" if path.startswith("/sessions") else path


@each_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in links_in(page.read_text()):
        assert (page.parent / link.partition("#")[0]).exists(), link


@each_page
def test_every_make_target_exists(page: Path) -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)", code_in(page.read_text()))) <= set(phony[1].split())


@each_page
def test_every_setting_exists(page: Path) -> None:
    known = (
        {name for name, _, _ in GENERATOR.settings_rows()}
        | set(GENERATOR.BY_HAND)
        | OF_THE_QUICK_START
        | OF_THE_COMMAND
    )
    assert set(_SETTING.findall(page.read_text())) <= known | {DEAD_LETTERS}  # a stream's name looks like one


@each_page
def test_every_call_exists(page: Path) -> None:
    if page.name == "api-reference.md":
        pytest.skip("it is made of what is served; its descriptions shorten paths")
    served = calls()
    for method, path in named_calls(page.read_text()):
        if full(path) in OF_CADDY:
            continue
        assert full(path) in served, path
        assert method is None or method in served[full(path)], f"{method} {path}"


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_names_files_and_classes_that_exist(page: Path) -> None:
    """Where to change something is worth nothing once it has moved."""
    sources = [
        path.read_text()
        for top in ("client", "gateway", "protocol", "runner-image", "session-manager", "tests")
        for path in (ROOT / top).rglob("*.py")
    ]
    classes = {name for source in sources for name in re.findall(r"^\s*class (\w+)", source, re.MULTILINE)}
    spans = _SPAN.findall(page.read_text())
    assert spans
    for span in spans:
        if _FILE.fullmatch(span):
            assert any(list((ROOT / folder).glob(span.rstrip("/"))) for folder in FOLDERS), span
        for name in _CLASS.findall(span):
            assert name in classes, name


def test_the_number_of_mechanisms_is_the_one_in_the_guide() -> None:
    listed = (ROOT / "tests" / "mutations" / "mechanisms.toml").read_text()
    [named] = re.findall(r"each of (\d+) mechanisms", (ROOT / "CONTRIBUTING.md").read_text())
    assert int(named) == len(re.findall(r"^\[\[", listed, re.MULTILINE))


def test_calls_are_found_in_the_pages() -> None:
    found = {full(path) for page in PAGES for _, path in named_calls(page.read_text())}
    prefix = MOUNTS[0].prefix
    assert {prefix, f"{prefix}/stats", f"{prefix}/{{}}/stream", f"{prefix}/{{}}/input", "/api/cleanup"} <= found


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_names_a_check_that_exists(page: Path) -> None:
    named = re.findall(r"`(tests/[\w/.]+)`", page.read_text())
    assert named
    for path in named:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", sorted(GENERATOR.GENERATED))
def test_no_generated_page_is_stale(name: str) -> None:
    assert (ROOT / name).read_text() == GENERATOR.GENERATED[name](), "make openapi"
