"""The `jelmore` command. Imports little: `jelmore --help` answers at once."""

import sys


def main() -> None:
    """Run the command of `sys.argv`. `jelmore server …` runs the server's own command, where it is installed."""
    if sys.argv[1:2] == ["server"]:
        sys.exit(_server(sys.argv[2:]))
    from jelmore_client.cli.app import app

    app()


def _server(arguments: list[str]) -> int:
    from importlib import import_module

    try:
        module = import_module("jelmore.__main__")
    except ModuleNotFoundError:
        print("error: the server is not installed in this Python environment", file=sys.stderr)  # noqa: T201
        return 2
    return int(module.main(arguments))
