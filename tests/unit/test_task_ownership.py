"""Every task of the manager has a name and an owner, and nobody swallows a cancellation."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "session-manager" / "src"


def faults(text: str) -> list[str]:
    """Return what a module does wrong, by line."""
    tree = ast.parse(text)
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    return [f"{node.lineno}: {fault}" for node in ast.walk(tree) for fault in _faults_of(node, parents)]  # type: ignore[attr-defined]


def _faults_of(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> Iterator[str]:
    if isinstance(node, ast.ExceptHandler) and node.type is not None and _names_cancellation(node.type):
        if any(isinstance(each, ast.Raise) for each in ast.walk(node)):
            return
        yield "a swallowed cancellation"
    if not isinstance(node, ast.Call):
        return
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    named = any(keyword.arg == "name" for keyword in node.keywords)
    if called == "ensure_future" or (called == "create_task" and not named):
        yield "a task without a name"
    if called == "create_task" and isinstance(parents[node], ast.Expr) and not _is_in_group(node):
        yield "a task without an owner"
    if called == "suppress" and any(_names_cancellation(each) for each in node.args):
        yield "a swallowed cancellation"


def _is_in_group(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") == "group"


def _names_cancellation(node: ast.expr) -> bool:
    names = (each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in ast.walk(node))
    return any(name in {"CancelledError", "BaseException"} for name in names)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_tasks_are_owned_and_cancellations_are_passed_on(path: Path) -> None:
    assert faults(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "asyncio.create_task(work(), name='x')",
        "task = asyncio.create_task(work())",
        "task = asyncio.ensure_future(work())",
        "group.create_task(work())",
        "with suppress(asyncio.CancelledError):\n    pass",
        "with contextlib.suppress(ValueError, CancelledError):\n    pass",
        "try:\n    pass\nexcept (ValueError, asyncio.CancelledError):\n    pass",
        "try:\n    pass\nexcept BaseException:\n    pass",
    ],
)
def test_the_check_finds(text: str) -> None:
    assert faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "task = asyncio.create_task(work(), name='x')",
        "group.create_task(work(), name='x')",
        "try:\n    pass\nexcept asyncio.CancelledError:\n    clean()\n    raise",
        "with suppress(ValueError):\n    pass",
    ],
)
def test_the_check_lets_pass(text: str) -> None:
    assert not faults(text)
