"""Code and pages use the field's words: a short list of private and archaic ones does not come back."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.promises.pages import prose_in

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDERS: Final = ("client", "examples", "gateway", "protocol", "runner-image", "scripts", "session-manager", "tests")
PAGES: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SOURCES: Final = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
QUERIES: Final = sorted((ROOT / "session-manager" / "src" / "jelmore" / "drivers" / "sql").glob("*.sql"))
SCRIPTS: Final = sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix)

REFUSED: Final = {
    "aloud": "printed",
    "anew": "again",
    "begun": "started",
    "hear": "receive",
    "heard": "received",
    "hears": "receives",
    "loud": "enabled",
    "mend": "fix",
    "mended": "fixed",
    "mends": "fixes",
    "mishap": "fault",
    "rested": "paused",
    "shall": "must",
    "sleeper": "sleeping session",
    "slept": "hibernated",
    "tell": "report",
    "telling": "reporting",
    "tells": "reports",
    "thing": "object",
    "things": "objects",
    "told": "reported",
    "whosoever": "whoever",
    "wish": "request",
    "wished": "requested",
    "wishes": "requests",
    "woken": "resumed",
}
"""Each word with what to write instead."""
REFUSED_IN_PROSE: Final = {
    "bad luck": "a dependency error",
    "goes on": "continues",
    "go on": "continue",
    "went on": "continued",
    "in vain": "without effect",
}
FINE_IN_PROSE: Final = {"thing", "things"}
"""Plain English in a sentence, but vague or private as a name."""
FINE_HERE: Final = {
    "session-manager/src/jelmore/session/states.py": {"rested", "slept", "woken"},
    "session-manager/src/jelmore/drivers/postgres_rows.py": {"told"},
    "scripts/generate_docs.py": {"rested", "slept", "woken"},
    "docs/glossary.md": {"rested", "slept", "woken", "wish"},
    "tests/promises/test_words.py": {*REFUSED, *REFUSED_IN_PROSE},
}
"""Stored values, and the pages that explain them."""
_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_REFUSED: Final = re.compile(r"(?<![\w-])(?:" + "|".join([*REFUSED, *REFUSED_IN_PROSE]) + r")(?![\w-])", re.IGNORECASE)


def names_in(tree: ast.AST) -> Iterator[str]:
    """Yield every name that a file defines: modules are not read, so names of libraries do not count."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case _:
                pass


def prose_of(source: str, tree: ast.AST, *, strings: bool) -> Iterator[str]:
    """Yield the comments and docstrings of a file; with `strings` every text of more than one word, as error texts."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield text
            case ast.Constant(value=str(text)) if strings and " " in text:
                yield text
            case _:
                pass


def refused_in(text: str) -> set[str]:
    """Return the refused words of a text, without those that are marked as code."""
    return {found.lower() for found in _REFUSED.findall(re.sub(r"`[^`]*`", "", text))} - FINE_IN_PROSE


def name_of(path: Path) -> str:
    """Return the path as the repository names it."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_source_uses_plain_words(path: Path) -> None:
    source, name = path.read_text(), name_of(path)
    tree = ast.parse(source)
    parts = {part.lower() for each in names_in(tree) for part in _PART.findall(each)}
    found = parts & REFUSED.keys()
    for text in prose_of(source, tree, strings=not name.startswith("tests/")):
        found |= refused_in(text)
    assert found - FINE_HERE.get(name, set()) == set(), "see REFUSED for what to write instead"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_page_uses_plain_words(path: Path) -> None:
    assert refused_in(prose_in(path.read_text())) - FINE_HERE.get(name_of(path), set()) == set()


@pytest.mark.parametrize("path", [*QUERIES, *SCRIPTS, ROOT / "Makefile", ROOT / "compose.yaml"], ids=name_of)
def test_queries_and_scripts_use_plain_words(path: Path) -> None:
    assert refused_in(re.sub(r"'[^'\n]*'", "", path.read_text())) == set()


def test_a_refused_word_is_found() -> None:
    tree = ast.parse("class Mishap:\n    def tell_it(self): ...\n")
    assert {part.lower() for each in names_in(tree) for part in _PART.findall(each)} == {"mishap", "tell", "it", "self"}
    assert refused_in("It goes on as `told`, and nobody was told.") == {"goes on", "told"}
