"""What became of a session's repository: diff and pull."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from jelmore_client.cli import local_git
from jelmore_client.cli.app import OK, AsJson, SessionRef, command, connect, find
from jelmore_client.cli.blocks import Block, printable
from jelmore_client.cli.contexts import ContextError
from jelmore_client.cli.local_git import LocalGitError
from jelmore_client.cli.local_lfs import without_content
from jelmore_client.cli.printing import Printer, print_json, say, short
from jelmore_client.cli.progress import working
from jelmore_client.cli.sources import hint, start_of, taken
from jelmore_client.errors import ConflictError

if TYPE_CHECKING:
    from jelmore_client import Session

_WORKS: Final = "active"
"""The status of a session with a turn that runs."""


@command("diff")
def diff(
    reference: SessionRef,
    *,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="start|COMMIT", help="The commit that the session started from, or another one; default: the last."
        ),
    ] = None,
    turn: Annotated[
        str | None,
        typer.Option(metavar="SEQ|ID", help="Compare with the workspace before this prompt; 'rewind' lists them."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Print what differs between a commit and a session's workspace, uncommitted and new files included."""
    if against is not None and turn is not None:
        raise typer.BadParameter("belongs to no comparison with a commit", param_hint="--turn")
    with connect() as client:
        session = find(client, reference)
        if against == "start":
            against = start_of(session.refresh())
            if against is None:
                raise LocalGitError(
                    "the session was not created with --repo, so it has no start; name a commit of its repository: "
                    f"jelmore diff {short(session.id)} --against COMMIT"
                )
        try:
            found = session.diff(against=against, turn=turn) if as_json else session.patch(against=against, turn=turn)
        except ConflictError as error:
            if turn is not None or against is not None:
                raise
            name = short(session.id)
            hint = (
                f"'jelmore rewind {name}' lists its prompts, 'jelmore diff {name} --turn SEQ' compares with before one"
            )
            raise LocalGitError(f"{error}\n{hint}") from None
    if not isinstance(found, bytes):
        print_json(found.model_dump(mode="json"))
        return OK
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(found)  # unchanged, for 'git apply'
    elif found:
        Printer().block(Block("diff", printable(found.decode("utf-8", "replace")).rstrip("\n")))
    return OK


@command("pull")
def pull(
    reference: SessionRef,
    branch: Annotated[str | None, typer.Argument(help="Default: jelmore/ and the end of the session's id.")] = None,
    *,
    message: Annotated[
        str | None, typer.Option("--commit", metavar="MESSAGE", help="First commit what the agent left uncommitted.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Fetch a session's commits into a branch of the local repository. Never overwrites commits of that branch."""
    top = local_git.top_of(Path.cwd())
    with connect() as client:
        session = find(client, reference)
        branch = branch or f"jelmore/{short(session.id)}"
        local_git.check_branch(top, branch)
        if message is not None:
            session.commit(message)
        left = _check_something_new(session)
        commit = _fetch(session, top, branch)
    print_json({"branch": branch, "commit": commit, "uncommitted": left}) if as_json else print(branch)  # noqa: T201
    say(f"{branch} is at {commit[:12]}; 'git log -p ..{branch}' shows it, 'git merge {branch}' takes it over")
    if left:
        say(f"{left} changed files are uncommitted and not in it; --commit MESSAGE commits them first")
    _say_what_lacks(session, top, commit)
    return OK


@command("push")
def push(
    reference: SessionRef,
    branch: Annotated[str | None, typer.Argument(help="Default: jelmore/ and the end of the session's id.")] = None,
    *,
    url: Annotated[str | None, typer.Option(help="Default: the repository that the session started from.")] = None,
    credential: Annotated[str | None, typer.Option(help="The name of the server's credential for it.")] = None,
    message: Annotated[
        str | None, typer.Option("--commit", metavar="MESSAGE", help="First commit what the agent left uncommitted.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Let the server push a session's commits to a branch of a git host, without force."""
    with connect() as client:
        session = find(client, reference)
        branch = branch or f"jelmore/{short(session.id)}"
        if message is not None:
            session.commit(message)
        try:
            done = session.push(branch, url=url, credential=credential)
        except ConflictError:
            if url is not None or session.refresh().repository is not None:
                raise
            raise ContextError(
                "the session did not start from a URL; say where to push to: --url https://HOST/PATH"
            ) from None
    if as_json:
        print_json(done.model_dump(mode="json"))
        return OK
    print(done.branch)  # noqa: T201 - the result
    say(f"{done.url}: {done.branch} {'is' if done.pushed else 'was already'} at {done.commit[:12]}")
    return OK


def bring_back(session: "Session", top: Path, message: str) -> None:
    """Commit what a session has changed, and fetch it into the branch `jelmore/` and the end of its id. May run twice.

    A session that still works, waits for an answer or has ended is left alone; what it has made can be fetched later.
    Raises LocalGitError, JelmoreError.
    """
    info = session.refresh()
    if info.ended or info.status == _WORKS or session.pending():
        say(hint(session))
        return
    branch = f"jelmore/{short(session.id)}"
    with working("fetching its work", line=False):
        if session.commit(message).commit == start_of(info):
            say("nothing has changed in the repository, so there is no branch")
            return
        commit = _fetch(session, top, branch)
    say(f"{branch} has its work, {commit[:12]}; 'git log -p ..{branch}' shows it, 'git merge {branch}' takes it over")
    _say_what_lacks(session, top, commit)


def _say_what_lacks(session: "Session", top: Path, commit: str) -> None:
    """Say which files of a pulled commit have their content in the session alone: LFS keeps it beside the history."""
    start = start_of(session.info)
    names = without_content(top, start, commit) if start is not None and local_git.knows(top, start) else []
    if names:
        say(
            f"only the session has the content of LFS files ({len(names)}, such as {printable(names[0])}); "
            f"to fetch it: mkdir -p .git/lfs && jelmore cp {short(session.id)}:.git/lfs/objects .git/lfs"
        )


def _check_something_new(session: "Session") -> int:
    """Return how many files are uncommitted. Raises LocalGitError when there is no commit since the start."""
    found = session.diff()
    name = short(session.id)
    if found.head is None or found.head == start_of(session.refresh()):
        if found.changed:
            raise LocalGitError(
                f"the session has {found.changed} changed files and no new commit: "
                f"'jelmore pull {name} --commit MESSAGE' commits and fetches them"
            )
        raise LocalGitError("the session has no new commit and no changed file: there is nothing to fetch")
    return found.changed


def _fetch(session: "Session", top: Path, branch: str) -> str:
    """Fetch the session's bundle, without the history that this repository has already. Returns the commit."""
    known = (start_of(session.info), taken(session.info).get("base"))
    against = next((each for each in known if each is not None and local_git.has(top, each)), None)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder, "session.bundle")
        session.bundle(bundle, against=against)
        return local_git.fetch(top, bundle, branch)
