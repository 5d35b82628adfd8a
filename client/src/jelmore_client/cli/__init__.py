"""The `jelmore` command. Imports little: `jelmore --help` answers at once."""

import sys


def main() -> None:
    """Run the command of `sys.argv`. `jelmore server …` runs the server's own command, where it is installed."""
    try:
        _main()
    except KeyboardInterrupt:  # while modules are loaded: what a command does itself is up to it
        sys.exit(130)


def _main() -> None:
    if sys.argv[1:2] == ["server"]:
        sys.exit(run_server(sys.argv[2:]))
    # httpx loads a command of its own, with click, where click is installed: a third of the start of `jelmore ls`.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None makes its import fail, as without click
    try:
        from jelmore_client.cli.app import app
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        print("error: the command needs an extra: pip install 'jelmore-client[cli]'", file=sys.stderr)  # noqa: T201
        sys.exit(2)

    app(prog_name="jelmore")


def run_server(arguments: list[str]) -> int:
    """Run the server's own command and return its exit code; 2 where the server is not installed."""
    from importlib import import_module

    try:
        module = import_module("jelmore.__main__")
    except ModuleNotFoundError:
        words = "error: the server is not installed here; run this on its machine, as '.venv/bin/jelmore' of its folder"
        print(words, file=sys.stderr)  # noqa: T201
        return 2
    return int(module.main(arguments))
