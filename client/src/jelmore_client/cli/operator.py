"""Commands for whoever runs the server: cleanup, profiles, and the server's own backup, restore and uninstall."""

import sys
from typing import Annotated, Final

import typer

from jelmore_client.cli import completing
from jelmore_client.cli.app import OK, AsJson, command, connect
from jelmore_client.cli.printing import print_json, print_table, say
from jelmore_client.cli.progress import working

_ENTRY: Final = ("kind", "name", "action", "why")
_PASSED_ON: Final = {"allow_extra_args": True, "ignore_unknown_options": True}


@command("cleanup")
def cleanup(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be removed.")] = False,
    as_json: AsJson = False,
) -> int:
    """Remove containers, volumes and routes that no session owns; needs an admin key."""
    with connect() as client, working("looking for what no session owns", line=False):
        report = client.admin.cleanup(dry_run=dry_run)
    if as_json:
        print_json(report.model_dump(mode="json"))
        return OK
    if entries := report.entries:
        names = [name for name in _ENTRY if any(name in entry for entry in entries)]
        rows = [[str(entry.get(name) or "-") for name in names] for entry in entries]
        print_table([name.upper() for name in names], rows)
    for reason in report.skipped:
        say(f"not looked at: {reason}")
    removed = sum(report.removed.values())
    say("nothing was removed: this was a dry run" if dry_run else f"{removed} removed")
    return OK


@command("profiles")
def profiles(*, as_json: AsJson = False) -> int:
    """List the profiles that a session may be created with."""
    with connect() as client:
        found = client.profiles()
    if as_json:
        for each in found.profiles:
            print_json(each.model_dump(mode="json"))
    else:
        rows = [(each.name, each.description or "-", ", ".join(sorted(each.fixed)) or "-") for each in found.profiles]
        print_table(("NAME", "DESCRIPTION", "FIXED"), rows)
    if found.error:
        say(f"the file of profiles is not in force: {found.error.get('message')}")
    return OK


def _server_command(name: str, text: str) -> None:
    """Register a command that is the server's own; its options are those of the server."""

    @command(name, context_settings={**_PASSED_ON, "help_option_names": []}, help=text)
    def run(context: typer.Context) -> int:
        from jelmore_client.cli import run_server

        return run_server([name, *context.args])

    run.__doc__ = text


_server_command("backup", "Write the database and every workspace into one FILE, on the server's machine.")
_server_command("restore", "Load a backup FILE into an empty database and machine; on the server's machine.")
_server_command("uninstall", "Say what would be removed from the server's machine; --yes removes it.")


@command("completion")
def completion(
    shell: Annotated[
        str, typer.Argument(help="bash, zsh or fish", autocompletion=completing.words("bash", "zsh", "fish"))
    ],
) -> int:
    """Print the completion script of a shell; put its output where that shell reads it."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # it is imported there

    if shell not in {"bash", "zsh", "fish"}:
        raise typer.BadParameter("must be bash, zsh or fish", param_hint="SHELL")
    sys.stdout.write(get_completion_script(prog_name="jelmore", complete_var="_JELMORE_COMPLETE", shell=shell) + "\n")
    return OK
