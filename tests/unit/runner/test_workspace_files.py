"""Files of the workspace: no link is followed, conditions hold, ranges are those of HTTP."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jelmore_runner.workspace import files
from jelmore_runner.workspace.answers import Answer, RefusedError
from jelmore_runner.workspace.ranges import matches, resolve


def _get(root: Path, path: str, **more: Any) -> tuple[dict[str, Any], bytes]:
    sink = io.BytesIO()
    files.get(root, {"path": path, **more}, Answer(sink))
    head, _, content = sink.getvalue().partition(b"\n")
    return json.loads(head), content


def _put(root: Path, path: str, content: bytes, **more: Any) -> dict[str, Any]:
    sink = io.BytesIO()
    files.put(root, {"path": path, "most_bytes": 1000, **more}, io.BytesIO(content), Answer(sink))
    head: dict[str, Any] = json.loads(sink.getvalue())
    return head


def _code(call: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(RefusedError) as refused:
        call(*arguments, **more)
    return refused.value.code


@given(st.binary(max_size=50), st.integers(0, 60) | st.none(), st.integers(0, 60) | st.none())
def test_a_range_is_what_http_says(content: bytes, first: int | None, last: int | None) -> None:
    span = resolve(first, last, len(content))
    end = None if last is None else last + 1
    wanted = content[len(content) - min(last or 0, len(content)) :] if first is None else content[first:end]
    assert (content[span.start : span.end] if span else b"") == wanted


def test_entity_tags() -> None:
    assert matches(['"a"', '"b"'], '"b"')
    assert matches(['W/"b"'], '"b"')
    assert matches(["*"], '"b"')
    assert not matches(["*"], None)
    assert not matches([], '"b"')


def test_a_file_is_written_read_and_deleted(tmp_path: Path) -> None:
    written = _put(tmp_path, "a/b", b"hello")
    assert written["created"]
    head, content = _get(tmp_path, "a/b", range=[1, 3])
    assert (content, head["range"], head["size"], head["etag"]) == (b"ell", [1, 3], 5, written["etag"])
    assert _get(tmp_path, "a/b", if_none_match=[written["etag"]])[0]["not_modified"]
    assert _get(tmp_path, "a/b", range=[9, None])[0]["unsatisfiable"]
    assert _get(tmp_path, "a/b", range=[1, 3], if_range='"old"')[1] == b"hello"
    assert _code(_put, tmp_path, "a/b", b"x", if_none_match=["*"]) == "precondition"
    assert _code(_put, tmp_path, "a/b", b"x", if_match=['"old"']) == "precondition"
    assert not _put(tmp_path, "a/b", b"again", if_match=[written["etag"]])["created"]
    assert _code(files.delete, tmp_path, {"path": "a"}, Answer(io.BytesIO())) == "not_empty"
    files.delete(tmp_path, {"path": "a", "recursive": True}, Answer(io.BytesIO()))
    assert _code(_get, tmp_path, "a/b") == "not_found"
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_room_or_end_is_not_there(tmp_path: Path) -> None:
    _put(tmp_path, "a", b"old")
    assert _code(_put, tmp_path, "a", b"x" * 1001) == "no_room"
    assert _code(_put, tmp_path, "a", b"12", length=3) == "incomplete"
    assert (tmp_path / "a").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "a/./b", "\0", "x" * 5000, "/".join("a" * 200)])
def test_a_path_that_leaves_the_workspace_is_refused(tmp_path: Path, path: str) -> None:
    assert _code(_get, tmp_path, path) == "invalid"
    assert _code(_put, tmp_path, path, b"") == "invalid"


def test_no_link_is_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "w", tmp_path / "secret"
    root.mkdir()
    outside.mkdir()
    (outside / "key").write_text("secret")
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "key")
    assert _code(_get, root, "file") == "is_link"
    assert _code(_get, root, "folder") == "is_link"
    assert _code(_get, root, "folder/key") == "is_link"
    assert _code(_put, root, "folder/key", b"x") == "is_link"
    assert _code(files.delete, root, {"path": "folder/key"}, Answer(io.BytesIO())) == "is_link"
    _put(root, "file", b"mine")  # the link is replaced, not what it leads to
    files.delete(root, {"path": "folder", "recursive": True}, Answer(io.BytesIO()))
    assert (outside / "key").read_text() == "secret"
    assert (root / "file").read_bytes() == b"mine"


def test_a_folder_is_listed_in_pages(tmp_path: Path) -> None:
    for name in ("c", "a", "b"):
        _put(tmp_path, name, b"1")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / ".jelmore-upload-1").touch()
    first = _get(tmp_path, "", limit=2)[0]
    assert [each["name"] for each in first["entries"]] == ["a", "b"]
    rest = _get(tmp_path, "", limit=2, after=first["next"])[0]
    assert [(each["name"], each["type"]) for each in rest["entries"]] == [("c", "file"), ("link", "link")]
    assert rest["entries"][1]["target"] == "/etc/passwd"
    assert rest["next"] is None


def test_names_that_are_no_text_are_reached_by_their_bytes(tmp_path: Path) -> None:
    names = [b"a", b"\xc3", b"\xff\xfe"]
    for name in names:
        _put(tmp_path, os.fsdecode(name), name)
    found: list[tuple[str, str | None]] = []
    after: str | None = ""
    for _ in names:
        head, _ = _get(tmp_path, "", limit=1, after=after)
        found += [(each["name"], each.get("encoded")) for each in head["entries"]]
        after = head["next"]
    assert found == [("a", None), ("\ufffd", "%C3"), ("\ufffd\ufffd", "%FF%FE")]
    assert after is None
    assert _get(tmp_path, os.fsdecode(names[2]))[1] == names[2]
    files.delete(tmp_path, {"path": os.fsdecode(names[2])}, Answer(io.BytesIO()))
    assert _code(files.delete, tmp_path, {"path": os.fsdecode(names[2])}, Answer(io.BytesIO())) == "not_found"


def test_what_ends_as_a_folder_is_not_written_as_a_file(tmp_path: Path) -> None:
    assert _code(_put, tmp_path, "name/", b"x") == "invalid"
    assert list(tmp_path.iterdir()) == []
