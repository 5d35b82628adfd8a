"""Archives: nothing leaves the folder, no bomb is unpacked, and what goes in comes out."""

import gzip
import io
import os
import posixpath
import stat
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jelmore_runner.workspace import archive_rules, archives, files
from jelmore_runner.workspace.answers import Answer, RefusedError
from jelmore_runner.workspace.archive_rules import Budget, check_link, name_of

ROOM = 10**9
_names = st.lists(st.sampled_from(["a", "b", "..", ".", "", "/", "\\", "c:", "é", "x" * 300]), max_size=8).map("/".join)


@given(_names)
def test_a_name_that_is_accepted_stays_below_the_folder(name: str) -> None:
    try:
        parts = name_of(name)
    except RefusedError:
        return
    assert os.path.normpath("/top/" + "/".join(parts)).startswith("/top")
    assert not {"", ".", ".."} & set(parts)


@given(_names, _names)
def test_a_link_that_is_accepted_leads_below_the_folder(name: str, target: str) -> None:
    try:
        parts = name_of(name)
        check_link(parts, target)
    except RefusedError:
        return
    reached = posixpath.normpath(posixpath.join("/top/" + "/".join(parts[:-1]), target))
    assert reached == "/top" or reached.startswith("/top/")


@given(st.lists(st.integers(0, 10**7), max_size=50), st.integers(1, 10**6))
def test_a_budget_never_lets_more_through_than_room_and_ratio(counts: list[int], received: int) -> None:
    budget, through = Budget(10**8), 0
    for count in counts:
        try:
            budget.content(count, received)
        except RefusedError:
            break
        through += count
    assert through <= max(archive_rules.RATIO_FREE_BYTES, received * archive_rules.MAX_RATIO)
    assert through <= 10**8


def _tar(*entries: tuple[str, Any], mode: Any = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as packed:
        for name, what in entries:
            info = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                info.size = len(what)
                packed.addfile(info, io.BytesIO(what))
            else:
                info.type, info.linkname = what
                packed.addfile(info)
    return buffer.getvalue()


def _extract(root: Path, content: bytes, form: str = "tar.gz", path: str = "", room: int = ROOM) -> None:
    asked = {"path": path, "form": form, "most_bytes": room}
    archives.extract(root, asked, io.BytesIO(content), Answer(io.BytesIO()))


@pytest.mark.parametrize(
    "entries",
    [
        [("../out", b"x")],
        [("/etc/out", b"x")],
        [("a/../../out", b"x")],
        [("l", (tarfile.SYMTYPE, "/etc")), ("l/x", b"x")],
        [("l", (tarfile.SYMTYPE, "../..")), ("l/x", b"x")],
        [("d", (tarfile.DIRTYPE, "")), ("d/l", (tarfile.SYMTYPE, "..")), ("d/l/x", b"through a link")],
        [("h", (tarfile.LNKTYPE, "/etc/passwd"))],
        [("null", (tarfile.CHRTYPE, ""))],
        [("pipe", (tarfile.FIFOTYPE, ""))],
    ],
)
def test_a_hostile_archive_is_refused_and_leaves_nothing(tmp_path: Path, entries: Any) -> None:
    root = tmp_path / "workspace"
    root.mkdir()
    with pytest.raises(RefusedError):
        _extract(root, _tar(("good", b"good"), *entries))
    assert list(root.iterdir()) == []
    assert [each.name for each in tmp_path.iterdir()] == ["workspace"]


def test_an_archive_is_not_extracted_through_a_link_of_the_workspace(tmp_path: Path) -> None:
    root, outside = tmp_path / "workspace", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "l").symlink_to(outside)
    for path, name in (("l", "x"), ("", "l/x")):
        with pytest.raises(RefusedError):
            _extract(root, _tar((name, b"x")), path=path)
    assert list(outside.iterdir()) == []
    assert [each.name for each in root.iterdir()] == ["l"]


def test_bombs_are_refused(tmp_path: Path) -> None:
    zeros = bytes(archive_rules.RATIO_FREE_BYTES + 10**6)
    with pytest.raises(RefusedError, match="200 times"):
        _extract(tmp_path, _tar(("zeros", zeros)))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros", zeros)
    with pytest.raises(RefusedError, match="200 times"):
        _extract(tmp_path, buffer.getvalue(), "zip")
    with pytest.raises(RefusedError, match="room"):
        _extract(tmp_path, _tar(("a", os.urandom(2000))), room=1000)
    assert list(tmp_path.iterdir()) == []


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "Budget", lambda most, **others: Budget(most, most_entries=10, **others))
    with pytest.raises(RefusedError, match="10 entries"):
        _extract(tmp_path, _tar(*((f"f{n}", b"") for n in range(11))))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["tar", "tar.gz", "zip"])
def test_what_goes_out_comes_in_again(tmp_path: Path, form: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    (one / "deep" / "er").mkdir(parents=True)
    (one / "deep" / "er" / "run").write_bytes(b"#!/bin/sh\n")
    (one / "deep" / "er" / "run").chmod(0o755)
    (one / "é").write_bytes(os.urandom(100_000))
    (one / "link").symlink_to("deep/er")
    os.mkfifo(one / "pipe")
    (two / "deep").mkdir(parents=True)
    (two / "deep" / "kept").write_text("kept")
    sink = io.BytesIO()
    archives.archive(one, {"path": "", "form": form}, Answer(sink))
    _extract(two, sink.getvalue().partition(b"\n")[2], form)
    assert (two / "é").read_bytes() == (one / "é").read_bytes()
    assert stat.S_IMODE((two / "deep" / "er" / "run").stat().st_mode) & 0o100
    assert (two / "link").readlink() == Path("deep/er")
    assert (two / "deep" / "kept").read_text() == "kept"
    assert not (two / "pipe").exists()
    assert not [each for each in two.iterdir() if each.name.startswith(files.TEMPORARY_PREFIX)]


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_leaves_nothing(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    root = tmp_path_factory.mktemp("garbage")
    for form in ("tar.gz", "zip"):
        with pytest.raises(RefusedError):
            _extract(root, content, form)
    assert list(root.iterdir()) == []


@contextmanager
def little_memory() -> Iterator[None]:
    """Fail when the block needs 20 MiB or more."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


def test_a_bomb_is_refused_in_little_memory_and_time(tmp_path: Path) -> None:
    content = _tar(("bomb", b"\0" * 200_000_000))
    assert len(content) < 300_000
    before = time.monotonic()
    with little_memory(), pytest.raises(RefusedError, match="200 times"):
        _extract(tmp_path, content)
    assert time.monotonic() - before < 20
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_long_header_is_refused_before_it_is_in_memory(tmp_path: Path, mode: Any) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode, format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("x")
        info.pax_headers = {"comment": "c" * 30_000_000}
        archive.addfile(info)
    content = packed.getvalue()
    with little_memory(), pytest.raises(RefusedError, match="bytes of header"):
        _extract(tmp_path, content, "tar.gz" if mode == "w:gz" else "tar")
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_name_counts_and_its_content_is_no_header(tmp_path: Path) -> None:
    _extract(tmp_path, _tar((".", b"x" * 6_000_000), ("f", b"1")))
    assert [each.name for each in tmp_path.iterdir()] == ["f"]
    with pytest.raises(RefusedError, match="room"):
        _extract(tmp_path, _tar((".", os.urandom(6_000_000))), room=1_000_000)


def test_a_gzip_of_several_members_and_zeros_behind_it_are_read(tmp_path: Path) -> None:
    whole = gzip.decompress(_tar(("a", b"1"), ("b", os.urandom(700_000)), ("c", b"3")))
    parts = [gzip.compress(whole[at : at + 100_000]) for at in range(0, len(whole), 100_000)]
    _extract(tmp_path, b"".join(parts) + bytes(1000))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "b", "c"]
    for broken in (b"".join(parts)[:-5000], parts[0][:-9]):
        with pytest.raises(RefusedError, match="cannot be read"):
            _extract(tmp_path, broken)
    for cut in (parts[0] + b"garbage" + parts[1], b"garbage"):
        with pytest.raises(RefusedError, match="not a gzip file"):
            _extract(tmp_path, cut)
