"""Commands about a session's files: cp and files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jelmore_client.cli import local_git
from jelmore_client.cli.app import FAILED, OK, UNKNOWN, USAGE, AsJson, command, connect, find
from jelmore_client.cli.printing import print_json, print_table, say, some
from jelmore_client.cli.progress import working
from jelmore_client.errors import NotFoundError

if TYPE_CHECKING:
    from tarfile import TarInfo

    from jelmore_client import Session

Place = Annotated[str, typer.Argument(help="A local path, or SESSION:PATH below the workspace.")]


@command("files")
def files(
    place: Annotated[str, typer.Argument(metavar="SESSION[:PATH]", help="A folder of the workspace.")],
    *,
    as_json: AsJson = False,
) -> int:
    """List a folder of a session's workspace."""
    reference, _, path = place.partition(":")
    with connect() as client:
        entries = list(find(client, reference).files.list(path))
    if as_json:
        for each in entries:
            print_json(each.model_dump(mode="json"))
    else:
        signs = {"directory": "/", "link": "@"}
        rows = [
            (f"{each.name}{signs.get(each.type, '')}", "" if each.size is None else f"{each.size:,}")
            for each in entries
        ]
        print_table(("NAME", "BYTES"), rows)
    return OK


@command("cp")
def cp(source: Place, target: Place, *, as_json: AsJson = False) -> int:
    """Copy a file or a folder into a session's workspace, or out of it.

    A folder goes into a target that exists, and otherwise becomes the target, as with 'cp -r'. With FOLDER/. its
    content is copied.
    """
    inward, outward = _remote(target), _remote(source)
    if (inward is None) == (outward is None):
        say("error: one of both is SESSION:PATH, the other a local path")
        return USAGE
    with connect() as client:
        if inward is not None:
            code = _copy_in(find(client, inward[0]), source, inward[1])
        else:
            reference, path = outward or ("", "")
            code = _copy_out(find(client, reference), path, Path(target))
    if as_json and code == OK:
        print_json({"source": source, "target": target})
    return code


def _remote(place: str) -> tuple[str, str] | None:
    """Return session and path of `SESSION:PATH`; None for a local path, which may be written as `./a:b`."""
    reference, separator, path = place.partition(":")
    return (reference, path) if separator and "/" not in reference and reference else None


def _spreads(source: str) -> bool:
    """Return whether a folder is named as FOLDER/. or ., which is its content and not itself."""
    return source.rpartition("/")[2] == "."


def _copy_in(session: "Session", given: str, path: str) -> int:
    import tarfile
    import tempfile

    source = Path(given)
    if not source.exists():
        say(f"error: there is no {source}")
        return UNKNOWN
    kind = _kind_of(session, path)
    if source.is_file():
        name = f"{path.rstrip('/')}/{source.name}".lstrip("/") if kind == "directory" or path.endswith("/") else path
        with working(f"uploading {source}") as report:
            session.files.upload(source, name, progress=report)
        return OK
    if kind not in {None, "directory"}:
        say(f"error: {path} of the workspace is no folder")
        return FAILED
    if kind == "directory" and not _spreads(given):
        path = f"{path.rstrip('/')}/{source.resolve().name}".lstrip("/")
        if _kind_of(session, path) not in {None, "directory"}:
            say(f"error: {path} of the workspace is no folder")
            return FAILED
    with tempfile.NamedTemporaryFile(suffix=".tar.gz") as packed:
        with (
            working(f"packing {source}"),
            tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive,
        ):
            left: list[str] = []
            archive.add(source.resolve(), arcname=".", filter=lambda entry: _taken(entry, left))
        packed.flush()
        if left:
            say(f"not copied, because a workspace takes no links that lead out of it and no devices: {some(left)}")
        with working(f"uploading {source}") as report:
            session.files.upload(Path(packed.name), path, extract="tar.gz", progress=report)
    return OK


def _taken(entry: "TarInfo", left: list[str]) -> "TarInfo | None":
    """Return an entry that a workspace takes; None for another one, whose name is added to `left`."""
    name = entry.name.removeprefix("./")
    outside = entry.issym() and local_git.leads_out(name, entry.linkname)
    if not outside and (entry.isfile() or entry.isdir() or entry.issym() or entry.islnk()):
        return entry
    left.append(name)
    return None


def _kind_of(session: "Session", path: str) -> str | None:
    """Return what is at a path of the workspace, None when nothing is. A link to a folder is a link."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if not parts:
        return "directory"
    try:
        entries = session.files.list("/".join(parts[:-1]))
        return next((each.type for each in entries if each.name == parts[-1]), None)
    except NotFoundError:
        return None


def _copy_out(session: "Session", path: str, target: Path) -> int:
    import tarfile
    import tempfile

    kind, clean = _kind_of(session, path), "/".join(part for part in path.split("/") if part not in {"", "."})
    if kind is None:
        say(f"error: the workspace has no {clean}")
        return UNKNOWN
    name = clean.rpartition("/")[2]
    if kind != "directory":
        with working(f"downloading {clean}") as report:
            session.files.download(clean, target / name if target.is_dir() else target, progress=report)
        return OK
    if name and target.is_dir() and not _spreads(path):
        target = target / name
    if target.exists() and not target.is_dir():
        say(f"error: {target} is no folder")
        return FAILED
    with tempfile.NamedTemporaryFile(suffix=".tar.gz") as packed:
        with working(f"downloading {clean or 'the workspace'}") as report:
            session.files.download(clean, Path(packed.name), archive="tar.gz", progress=report)
        target.mkdir(parents=True, exist_ok=True)
        with tarfile.open(packed.name) as archive:
            archive.extractall(target, filter="data")  # no absolute paths, no links that lead out, no devices
    return OK
