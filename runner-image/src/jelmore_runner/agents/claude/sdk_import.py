"""Imports the SDK without the packages that it needs only for tools written in Python.

The SDK can serve MCP tools from its own process, and imports `mcp` for them, with clients, servers, web frameworks and
the schemas of every protocol version: five sixths of the import's time and 17 MiB of memory (claude-agent-sdk 0.2.186,
mcp 2). It checks the inputs of such tools with `jsonschema`: half of what is left. The runner offers none: Claude Code
itself connects to the MCP servers of a session. So the SDK gets placeholders of the names that it imports.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from threading import Lock
from types import ModuleType
from typing import Final

from pydantic import BaseModel

_SDK: Final = "claude_agent_sdk"
_REPLACED: Final = ("mcp", "jsonschema")


_IMPORTING: Final = Lock()


def import_sdk() -> None:
    """Import the SDK. May run twice, also at once. An SDK that does not start with placeholders gets the packages."""
    with _IMPORTING:
        if _SDK not in sys.modules:
            _import()


def _import() -> None:
    placeholders = _Placeholders()
    sys.meta_path.insert(0, placeholders)
    try:
        importlib.import_module(_SDK)
    except Exception:  # noqa: BLE001 - whatever an SDK of another version needs of `mcp`, the second attempt has it
        _forget(_SDK)
    finally:
        sys.meta_path.remove(placeholders)
        for package in _REPLACED:  # a later import gets the real one
            _forget(package)
    importlib.import_module(_SDK)


def _forget(package: str) -> None:
    for name in list(sys.modules):  # a copy: other threads import at the same time
        if name == package or name.startswith(f"{package}."):
            sys.modules.pop(name, None)


class _Placeholders(MetaPathFinder, Loader):
    """Finds what is replaced, and everything below it: modules in which every public name is an empty model."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        return ModuleSpec(fullname, self, is_package=True) if fullname.partition(".")[0] in _REPLACED else None

    def exec_module(self, module: ModuleType) -> None:
        def placeholder(name: str) -> type[BaseModel]:
            if name.startswith("_"):
                raise AttributeError(name)
            return type(name, (BaseModel,), {"__module__": module.__name__})

        module.__dict__["__getattr__"] = placeholder
