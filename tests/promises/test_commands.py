"""Every command of the README and the pages can be typed as it is written: it parses, and what it names exists."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Final

import pytest
import yaml
from typer.core import TyperGroup
from typer.main import get_command

from jelmore.__main__ import _parser
from jelmore_client.cli.app import app
from tests.promises.pages import code_in

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SERVICES: Final = set(yaml.safe_load((ROOT / "compose.yaml").read_text())["services"])
TARGETS: Final = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
OPEN_PATHS: Final = ("/health", "/livez", "/readyz", "/api/v1/health", "/api/health")
_PROMPT: Final = re.compile(
    r"^(?:\$ )?\(?((?:\. \.jelmore/env && )?(?:[A-Z_]+=(?:\"[^\"]*\"|\S+) )*)"
    r"((?:make|docker compose|curl|scripts/|python -m jelmore|\.venv/bin/jelmore-server|"
    r"pipx? install|uvx --from|python3? examples/|cp \.env|claude mcp add|"
    r"(?:\.venv/bin/)?jelmore [-@a-z]+)\b.*?)\)?$"
)
_VERBS: Final = {"up", "ps", "logs", "exec", "run", "build", "down", "restart", "stop"}


def commands() -> list[tuple[str, str]]:
    """Return page and command line of each, continued lines joined and comments left out."""
    found = []
    for page in PAGES:
        for line in code_in(page.read_text()).replace("\\\n", " ").splitlines():
            match = _PROMPT.match(line.strip())
            if match:
                found.append((page.name, re.sub(r"\s#\s.*$", "", match[2]).strip()))
    return sorted(set(found))


COMMANDS: Final = commands()


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=lambda text: text[:60])
def test_a_command_of_the_pages_is_one_that_works(page: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JELMORE_API_KEY", "else `login` asks for it")
    words = shlex.split(command.replace("…", "list").replace("$JELMORE_URL", "http://127.0.0.1:8080"))
    match words:
        case ["make", *rest]:
            targets = [word for word in rest if "=" not in word]
            assert set(targets) <= TARGETS, page
        case ["docker", "compose", *rest]:
            check_compose(rest)
        case ["curl", *rest]:
            check_curl(rest)
        case ["python", "-m", "jelmore", *rest] | [".venv/bin/jelmore-server", *rest] | ["jelmore", "server", *rest]:
            check_jelmore(rest)
        case ["jelmore" | ".venv/bin/jelmore", *rest]:
            check_user_command(rest)
        case ["pip", "install", "--user"]:
            pass  # what an agent does in its sandbox
        case ["pip" | "pipx", "install", what]:
            check_client(what)
        case ["uvx", "--from", what, "jelmore", *rest]:
            check_client(what)
            check_user_command(rest)
        case ["claude", "mcp", "add", _, "--", "jelmore", *rest]:
            check_user_command(rest)
        case ["python" | "python3", example, *rest]:
            check_example(example, rest)
        case ["cp", source, _]:
            assert (ROOT / source).exists(), page
        case [script, *_]:
            assert (ROOT / script).exists(), page
        case _:
            pytest.fail("an empty command")


def check_client(what: str) -> None:
    """Check that a folder of the client is named, from a checkout or beside it, and extras that it has."""
    folder, _, extras = what.removesuffix("]").partition("[")
    assert folder in {"./client", "../jelmore/client"}
    has = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {each for each in extras.split(",") if each} <= set(has)


def check_example(example: str, words: list[str]) -> None:
    program = (ROOT / example).read_text()
    assert all(f'"{word}"' in program for word in words if word.startswith("--"))


def check_compose(words: list[str]) -> None:
    verb, *rest = [word for word in words if not word.startswith("-") and "=" not in word]
    assert verb in _VERBS
    if not rest:
        return
    assert rest[0] in SERVICES
    if verb == "exec" and rest[0] == "session-manager":  # root has no capabilities there, and may open no socket
        assert rest[1] == "as-jelmore"
        assert words[words.index("as-jelmore") + 1 : words.index("jelmore") + 1] == ["python", "-m", "jelmore"]
        check_jelmore(words[words.index("jelmore") + 1 :])


def check_curl(words: list[str]) -> None:
    url = next(word for word in words if "://" in word)
    path = url.partition("127.0.0.1:8080")[2].partition("?")[0]
    assert path in OPEN_PATHS or any(word.startswith("X-API-Key:") for word in words)


def check_jelmore(words: list[str]) -> None:
    for alternative in re.split(r"\|", words[1]) if len(words) > 1 and "|" in words[1] else [None]:
        _parser().parse_args([words[0], alternative, *words[2:]] if alternative else words)


def check_user_command(words: list[str]) -> None:
    """Parse the words as the user's command does; a pipe or a redirection ends them. Raises a usage error."""
    ends = [index for index, word in enumerate(words) if word in {"|", ">", ">>", "&&", ";"}]
    own = words[: min(ends, default=len(words))]
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    with group.make_context("jelmore", own) as context:
        name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        if "--help" not in rest:
            command.make_context(name, rest, parent=context)


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) > 20


def test_each_guide_has_commands_that_are_checked() -> None:
    """A line whose form is not known here is checked by nobody."""
    guides = {page.name for page in (ROOT / "docs" / "guides").glob("*.md")}
    assert guides <= {page for page, _ in COMMANDS}
    assert ("laptop.md", 'jelmore login "$JELMORE_URL"') in COMMANDS
    assert ("slack.md", "python3 examples/slack_receiver.py --port 8090") in COMMANDS
    assert ("ci-job.md", "pip install '../jelmore/client[cli]'") in COMMANDS


def test_each_setting_that_a_guide_sets_exists() -> None:
    known = set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", (ROOT / "docs" / "configuration.md").read_text()))
    of_clients = {"JELMORE_URL", "JELMORE_API_KEY"}
    for page in sorted((ROOT / "docs" / "guides").glob("*.md")):
        named = set(re.findall(r"\bJELMORE_[A-Z0-9_]+\b", page.read_text()))
        assert named <= known | of_clients, page.name
