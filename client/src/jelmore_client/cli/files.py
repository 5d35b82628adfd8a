"""Commands about a session's files: cp and files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jelmore_client.cli.app import OK, UNKNOWN, USAGE, AsJson, command, connect, find
from jelmore_client.cli.printing import print_json, print_table, say
from jelmore_client.cli.progress import working

if TYPE_CHECKING:
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
    """Copy a file or a folder into a session's workspace, or out of it."""
    inward, outward = _remote(target), _remote(source)
    if (inward is None) == (outward is None):
        say("error: one of both is SESSION:PATH, the other a local path")
        return USAGE
    with connect() as client:
        if inward is not None:
            code = _copy_in(find(client, inward[0]), Path(source), inward[1])
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


def _copy_in(session: "Session", source: Path, path: str) -> int:
    import tarfile
    import tempfile

    if not source.exists():
        say(f"error: there is no {source}")
        return UNKNOWN
    if source.is_file():
        name = f"{path.rstrip('/')}/{source.name}".lstrip("/") if not path or path.endswith("/") else path
        with working(f"uploading {source}") as report:
            session.files.upload(source, name, progress=report)
        return OK
    with tempfile.NamedTemporaryFile(suffix=".tar.gz") as packed:
        with (
            working(f"packing {source}"),
            tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive,
        ):
            archive.add(source, arcname=".")
        packed.flush()
        with working(f"uploading {source}") as report:
            session.files.upload(Path(packed.name), path, extract="tar.gz", progress=report)
    return OK


def _copy_out(session: "Session", path: str, target: Path) -> int:
    import tarfile
    import tempfile

    clean = path.strip("/")
    parent, _, name = clean.rpartition("/")
    kind = (
        "directory" if not name else next((each.type for each in session.files.list(parent) if each.name == name), None)
    )
    if kind is None:
        say(f"error: the workspace has no {clean}")
        return UNKNOWN
    if kind != "directory":
        with working(f"downloading {clean}") as report:
            session.files.download(clean, target / name if target.is_dir() else target, progress=report)
        return OK
    with tempfile.NamedTemporaryFile(suffix=".tar.gz") as packed:
        with working(f"downloading {clean or 'the workspace'}") as report:
            session.files.download(clean, Path(packed.name), archive="tar.gz", progress=report)
        target.mkdir(parents=True, exist_ok=True)
        with tarfile.open(packed.name) as archive:
            archive.extractall(target, filter="data")  # no absolute paths, no links that lead out, no devices
    return OK
