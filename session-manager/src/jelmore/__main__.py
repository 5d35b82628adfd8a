"""The command line of the control plane: `python -m jelmore COMMAND`."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from jelmore.logs import configure
from jelmore.quick_start import beside
from jelmore.session.errors import DependencyError, JelmoreError
from jelmore.settings import Settings, SettingsError, load_settings

type Command = Callable[[argparse.Namespace, Settings], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status. Every expected failure is one line on standard error."""
    chosen = _parser().parse_args(arguments)

    def run() -> int:
        settings = load_settings()
        command: Command = chosen.command
        # The quick start prints to a terminal, so its log is text; its manager has its own log.
        configure(settings.log_level, "text" if command is _quickstart else settings.log_format)
        if command in _BESIDE_A_QUICK_START:
            settings = beside(settings, expected=getattr(chosen, "embedded", False))
        return command(chosen, settings)

    return _reported(run)


def _reported(run: Callable[[], int]) -> int:
    """Return the status of `run`; print its expected failures."""
    try:
        return run()
    except SettingsError as error:
        print(f"jelmore-server: {error}", file=sys.stderr)  # noqa: T201 - a command talks to a person
        return 2
    except JelmoreError as error:
        print(f"jelmore-server: {error}{_what_to_do(error, Path('.jelmore/database-url'))}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130


def _what_to_do(error: JelmoreError, quick_start: Path) -> str:
    """Return what to do about a database that is away; `quick_start` is where the quick start keeps its address."""
    if not isinstance(error, DependencyError) or error.dependency != "postgres":
        return ""
    if quick_start.is_file():
        return (
            "\nThe quick start of this folder has a database of its own, which runs while the quick start does: start "
            f'it, and repeat the command here, or elsewhere with DATABASE_URL="$(cat {quick_start})"'
        )
    return (
        "\nIs PostgreSQL running, and DATABASE_URL its address? The quick start keeps its own in .jelmore/database-url"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jelmore-server", description="Coding sessions in locked-down containers.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        return sub

    add("quickstart", _quickstart, "everything on this machine, until Ctrl-C (what `make run` starts)")
    add("serve", _serve, "one manager, on its socket below JELMORE_RUN_DIR")
    add("migrate", _migrate, "bring the database's schema forward")
    add("health", _health, "exit 0 when the manager of this machine works")
    add("openapi", _openapi, "print the API's description")
    add("settings", _settings, "print the settings in force, without secrets")
    database = add("db", _database, "create, migrate or reset the database")
    database.add_argument("what", choices=["create", "migrate", "reset"])
    _add_key_arguments(add("key", _key, "make, list, rotate or revoke API keys"))
    backup = add("backup", _backup, "write the database and every workspace into one file")
    backup.add_argument("file", type=Path, help="a new tar file; it holds secrets")
    restore = add("restore", _restore, "load a backup into an empty database and machine; no manager may run")
    restore.add_argument("file", type=Path, help="what `backup` wrote")
    restore.add_argument(
        "--embedded", action="store_true", help="into the quick start's own PostgreSQL, started for it"
    )
    _add_republish_arguments(add("republish", _republish, "publish stored events on NATS again, for who lost them"))
    uninstall = add("uninstall", _uninstall, "say what would be removed; with --yes, remove it; no manager may run")
    uninstall.add_argument("--yes", action="store_true", help="really remove it")
    uninstall.add_argument("--data", action="store_true", help="also workspaces, database and files")
    return parser


def _add_key_arguments(key: argparse.ArgumentParser) -> None:
    key.add_argument("what", choices=["create", "list", "rotate", "revoke"])
    key.add_argument("--name", default="unnamed", help="whose key it is")
    key.add_argument("--role", choices=["admin", "client", "readonly"], default="client")
    key.add_argument("--user", metavar="USER_ID", help="the user that a new client key is of")
    key.add_argument("--act-as", action="store_true", help="let a new client key act for every user that it names")
    key.add_argument("--expires-in-days", type=float, metavar="DAYS", help="when a new key ends; default: never")
    key.add_argument("--id", default="", help="the key to rotate or revoke")
    key.add_argument(
        "--former-for-hours", type=float, default=1, metavar="HOURS", help="how long a rotated key's former text works"
    )


def _add_republish_arguments(republish: argparse.ArgumentParser) -> None:
    which = republish.add_mutually_exclusive_group(required=True)
    which.add_argument("--session", type=UUID, metavar="ID", help="the events of one session")
    which.add_argument("--since", type=_moment, metavar="TIME", help="events from then on, as 2026-01-31T12:00:00Z")
    republish.add_argument("--until", type=_moment, metavar="TIME", help="only events before this time")
    republish.add_argument("--after", metavar="CURSOR", help="continue after the cursor that was printed last")
    republish.add_argument("--dry-run", action="store_true", help="only count them")


def _moment(text: str) -> datetime:
    """Return the moment of a text. Raises ValueError; ArgumentTypeError without a time zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no time zone: add Z, or +01:00")
    return moment


def _quickstart(_: argparse.Namespace, settings: Settings) -> int:
    from jelmore.embedded.quickstart import run

    return asyncio.run(run(settings))


def _serve(_: argparse.Namespace, settings: Settings) -> int:
    from jelmore import preload
    from jelmore.api.routes import all_routes
    from jelmore.serve import serve
    from jelmore_protocol.building import build_models

    all_routes()  # else each forked manager builds them, when the first request arrives
    build_models()
    return preload.run(lambda: _reported(lambda: serve(settings)))


def _migrate(_: argparse.Namespace, settings: Settings) -> int:
    from jelmore.drivers.migrations import create_database, migrate

    async def both() -> None:
        url = settings.database_url.get_secret_value()
        await create_database(url)
        await migrate(url)

    asyncio.run(both())
    return 0


def _database(chosen: argparse.Namespace, settings: Settings) -> int:
    from jelmore.drivers import migrations

    acts: dict[str, Callable[[str], Coroutine[Any, Any, object]]]
    acts = {"create": migrations.create_database, "migrate": migrations.migrate, "reset": migrations.reset}
    asyncio.run(acts[chosen.what](settings.database_url.get_secret_value()))
    return 0


def _health(_: argparse.Namespace, settings: Settings) -> int:
    from jelmore.serve import ask_health

    report = asyncio.run(ask_health(settings))
    print(json.dumps(report))  # noqa: T201
    return 0 if report.get("status") in {"ok", "degraded"} else 1


def _openapi(_: argparse.Namespace, settings: Settings) -> int:
    from jelmore.api.openapi import openapi_text
    from jelmore.bootstrap import make_app

    print(openapi_text(make_app(settings)), end="")  # noqa: T201
    return 0


def _settings(_: argparse.Namespace, settings: Settings) -> int:
    for name, value in sorted(settings.model_dump().items()):
        print(f"{name} = {value}")  # noqa: T201
    return 0


def _key(chosen: argparse.Namespace, settings: Settings) -> int:
    from jelmore.keys_command import run

    text, status = asyncio.run(run(chosen, settings))
    print(text)  # noqa: T201
    return status


def _run_long(work: Coroutine[Any, Any, None]) -> None:
    """Run a command that removes what it made when it is ended: by SIGTERM and a closed terminal as by Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
            signal.signal(number, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    asyncio.run(work)


def _backup(chosen: argparse.Namespace, settings: Settings) -> int:
    from jelmore.backup_command import backup

    _run_long(backup(settings, chosen.file, print))
    return 0


def _restore(chosen: argparse.Namespace, settings: Settings) -> int:
    from jelmore.backup_command import restore

    _run_long(restore(settings, chosen.file, print, embedded=chosen.embedded))
    return 0


def _republish(chosen: argparse.Namespace, settings: Settings) -> int:
    from jelmore.republish_command import run

    asyncio.run(run(chosen, settings, print))
    return 0


def _uninstall(chosen: argparse.Namespace, settings: Settings) -> int:
    from jelmore.backup_command import uninstall

    asyncio.run(uninstall(settings, print, really=chosen.yes, data=chosen.data))
    if not chosen.yes:
        print("nothing was removed; add --yes to remove it")  # noqa: T201
    return 0


_BESIDE_A_QUICK_START: Final[frozenset[Command]] = frozenset({_health, _key, _backup, _restore, _republish, _uninstall})


if __name__ == "__main__":
    sys.exit(main())
