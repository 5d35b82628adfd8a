"""Every task has a name and an owner, and nobody swallows a cancellation: in all packages, tests and scripts."""

import ast
from collections.abc import Iterator

import pytest

from tests.promises.source_files import ROOT, sources

type Parents = dict[ast.AST, ast.AST]


def faults(text: str) -> list[str]:
    """Return what a module does wrong, by line."""
    tree = ast.parse(text)
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    groups = set(_groups(tree))
    return [f"{node.lineno}: {fault}" for node in ast.walk(tree) for fault in _faults_of(node, parents, groups)]  # type: ignore[attr-defined]


def _groups(tree: ast.AST) -> Iterator[str]:
    """Yield the names of task groups: what `async with TaskGroup() as …` binds, and parameters of that type."""
    for node in ast.walk(tree):
        if isinstance(node, ast.withitem) and "TaskGroup" in ast.unparse(node.context_expr):
            if isinstance(node.optional_vars, ast.Name):
                yield node.optional_vars.id
        elif isinstance(node, ast.arg) and node.annotation is not None and "TaskGroup" in ast.unparse(node.annotation):
            yield node.arg


def _faults_of(node: ast.AST, parents: Parents, groups: set[str]) -> Iterator[str]:
    if isinstance(node, ast.ExceptHandler) and _swallows(node, parents):
        yield "a swallowed cancellation"
    if not isinstance(node, ast.Call):
        return
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    named = any(keyword.arg == "name" for keyword in node.keywords)
    if called == "ensure_future" or (called == "create_task" and not named):
        yield "a task without a name"
    if called == "create_task" and isinstance(parents[node], ast.Expr) and not _is_in_group(node, groups):
        yield "a task without an owner"
    if called == "suppress" and any(_names_cancellation(each) for each in node.args):
        yield "a swallowed cancellation"


def _is_in_group(call: ast.Call, groups: set[str]) -> bool:
    return isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") in groups


def _swallows(handler: ast.ExceptHandler, parents: Parents) -> bool:
    return handler.type is not None and _names_cancellation(handler.type) and not _is_passed_on(handler, parents)


def _is_passed_on(handler: ast.ExceptHandler, parents: Parents) -> bool:
    """Whether the handler raises, its function raises the cancellation later, or the loop or process ends here."""
    if any(isinstance(each, ast.Raise) for each in ast.walk(handler)):
        return True
    tried = parents[handler]
    if isinstance(tried, ast.Try) and any("asyncio.run(" in ast.unparse(each) for each in tried.body):
        return True
    if isinstance(tried, ast.Try) and any("os._exit(" in ast.unparse(each) for each in tried.finalbody):
        return True
    node: ast.AST = handler
    while not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
        node = parents[node]
    return any(isinstance(each, ast.Raise) and "CancelledError" in ast.unparse(each) for each in ast.walk(node))


def _names_cancellation(node: ast.expr) -> bool:
    names = (each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in ast.walk(node))
    return any(name in {"CancelledError", "BaseException"} for name in names)


@pytest.mark.parametrize("folder", sorted({path.relative_to(ROOT).parts[0] for path in sources()}))
def test_tasks_are_owned_and_cancellations_are_passed_on(folder: str) -> None:
    files = [path for path in sources() if path.is_relative_to(ROOT / folder)]
    found = {str(path.relative_to(ROOT)): faults(path.read_text("utf-8")) for path in files}
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    "text",
    [
        "asyncio.create_task(work(), name='x')",
        "task = asyncio.create_task(work())",
        "task = asyncio.ensure_future(work())",
        "async with asyncio.TaskGroup() as group:\n    group.create_task(work())",
        "loop.create_task(work(), name='x')",
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
        "async with asyncio.TaskGroup() as group:\n    group.create_task(work(), name='x')",
        "def begin(tasks: asyncio.TaskGroup):\n    tasks.create_task(work(), name='x')",
        "try:\n    pass\nexcept asyncio.CancelledError:\n    clean()\n    raise",
        "try:\n    pass\nexcept BaseException:\n    pass\nfinally:\n    os._exit(1)",
        "try:\n    asyncio.run(work())\nexcept asyncio.CancelledError:\n    pass",
        "def f():\n    try:\n        pass\n    except CancelledError:\n        late = 1\n    raise CancelledError",
        "with suppress(ValueError):\n    pass",
    ],
)
def test_the_check_lets_pass(text: str) -> None:
    assert not faults(text)
