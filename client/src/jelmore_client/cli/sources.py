"""What `jelmore run --repo` takes along, and what a session remembers of it."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from jelmore_client.cli import local_git
from jelmore_client.cli.contexts import ContextError
from jelmore_client.cli.printing import say, short, some
from jelmore_client.cli.progress import working
from jelmore_client.errors import JelmoreError

if TYPE_CHECKING:
    from jelmore_client import Session, SessionInfo

_LOCAL_REPOSITORY: Final = "local_repository"
"""The name in a session's metadata of the commits that it was given: `start`, and `base` below uncommitted changes."""

Repo = Annotated[
    str | None,
    typer.Option(
        metavar="URL|FOLDER",
        help="Start from a git repository: an https:// URL, which the server fetches, or a local folder, such as '.'. "
        "Of a folder, the whole repository around it goes along with its history; uncommitted and new files, but not "
        "ignored ones, go as one commit on top of HEAD. When the command ends, the agent's work comes back as the "
        "branch 'jelmore/' and the end of the session's id. Your branch, index and files do not change; remotes, "
        "configuration and hooks stay here.",
    ),
]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--file",
        metavar="PATH",
        help="Begin with this local file or folder in the workspace; may be given several times. A relative path is "
        "kept, of another one only the name.",
    ),
]
Ref = Annotated[str | None, typer.Option(help="With a URL: a branch, a tag or a whole commit id.")]
Depth = Annotated[int | None, typer.Option(min=1, help="With a URL: fetch only so many commits of history.")]
Credential = Annotated[str | None, typer.Option(help="With a URL: the name of the server's credential for it.")]


@dataclass(frozen=True, slots=True)
class Source:
    """What a session starts from. `options` are of the create; `local` is to be uploaded before the first prompt."""

    options: dict[str, Any]
    local: local_git.Snapshot | None = None


def source_of(repo: str | None, ref: str | None, depth: int | None, credential: str | None) -> Source:
    """Return what the flags of `run` ask for. Raises ContextError for flags that do not fit, LocalGitError."""
    more = {"ref": ref, "depth": depth, "credential": credential}
    given = {name: value for name, value in more.items() if value is not None}
    names = ", ".join(f"--{name}" for name in given)
    if repo is None:
        if given:
            raise ContextError(f"{names}: only with --repo URL")
        return Source({})
    if "://" in repo:
        return Source({"repository": {"url": repo, **given}})
    if given:
        raise ContextError(f"{names}: only with an https:// URL; a local folder is copied unchanged")
    local = local_git.snapshot(Path(repo))
    return Source({"metadata": {_LOCAL_REPOSITORY: {"start": local.start, "base": local.base}}}, local)


def upload(session: "Session", local: local_git.Snapshot) -> None:
    """Bring a local repository into the workspace; end the session when that fails. Raises JelmoreError."""
    try:
        changes = "" if local.start == local.base else " and the uncommitted changes"
        say(f"taking {local.top} along: {local.branch} at {local.base[:12]}{changes} …")
        if (local.top / ".gitmodules").exists():
            say("submodules stay here: their folders are empty in the session")
        if local.nested:
            say(f"repositories inside of it stay here: {some(local.nested)}")
        with ExitStack() as stack:
            with working("packing the repository"):
                packed = stack.enter_context(local_git.packed(local))
            if packed.links:
                say(f"links that lead out of the repository stay here: {some(packed.links)}")
            with working("uploading the repository") as report:
                session.files.upload(packed.archive, "", extract="tar.gz", progress=report)
    except BaseException:
        try:
            session.end()
            say(f"session {short(session.id)} is ended, because the repository did not arrive")
        except JelmoreError:
            say(f"session {session.id} could not be ended; 'jelmore rm {session.id}' ends it")
        raise


def hint(session: "Session") -> str:
    """Return how to see and fetch what a session made of its repository."""
    name = short(session.id)
    return f"'jelmore diff {name} --against start' shows its changes, 'jelmore pull {name}' fetches them as a branch"


def taken(info: "SessionInfo") -> dict[str, str]:
    """Return the commits that the session was given by `run --repo FOLDER`; empty when it was not."""
    found = info.metadata.get(_LOCAL_REPOSITORY)
    return {name: str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def start_of(info: "SessionInfo") -> str | None:
    """Return the commit that the session's repository began with, None when nobody noted it."""
    return info.repository.commit if info.repository is not None else taken(info).get("start")
