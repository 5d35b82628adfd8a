"""What a tool would do, as a person sees it; the agent chooses every path and text."""

from pathlib import Path

import pytest

from jelmore_runner.previews import MAX_CHARACTERS, preview_of


def diff(tool: str, folder: Path, **given: object) -> str | None:
    preview = preview_of(tool, given, [folder])
    assert preview is None or preview.kind == "diff"
    return preview.text if preview is not None else None


def test_commands_plans_and_addresses_are_shown_as_they_are(tmp_path: Path) -> None:
    given = {"command": "ls", "plan": "1. go", "url": "http://x"}
    kinds = [preview_of(tool, given, [tmp_path]) for tool in ("Bash", "ExitPlanMode", "WebFetch")]
    assert [(each.kind, each.text) for each in kinds if each] == [
        ("command", "ls"),
        ("plan", "1. go"),
        ("url", "http://x"),
    ]
    assert preview_of("Task", given, [tmp_path]) is None
    assert preview_of("Bash", {"command": 7}, [tmp_path]) is None


def test_a_long_text_is_cut_and_says_so(tmp_path: Path) -> None:
    preview = preview_of("Bash", {"command": "x" * (MAX_CHARACTERS + 1)}, [tmp_path])
    assert preview is not None
    assert (len(preview.text), preview.truncated) == (MAX_CHARACTERS, True)


def test_an_edit_shows_its_place_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("\n".join(f"line {number}" for number in range(1, 21)))
    text = diff("Edit", tmp_path, file_path=str(file), old_string="line 10\n", new_string="ten\n")
    assert text == "@@ -7,7 +7,7 @@\n line 7\n line 8\n line 9\n-line 10\n+ten\n line 11\n line 12\n line 13"


def test_two_changes_far_apart_are_two_hunks(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a\n" * 3 + "b\n" * 20 + "a\n")
    text = diff("Edit", tmp_path, file_path=str(file), old_string="a", new_string="c", replace_all=True)
    assert text is not None
    assert [line for line in text.split("\n") if line.startswith("@@")] == ["@@ -1,6 +1,6 @@", "@@ -21,4 +21,4 @@"]


def test_a_new_file_is_all_added_and_an_old_one_compared(tmp_path: Path) -> None:
    file = tmp_path / "new.txt"
    assert diff("Write", tmp_path, file_path=str(file), content="a\nb\n") == "@@ -1,0 +1,2 @@\n+a\n+b"
    file.write_text("a\nc\n")
    text = diff("Write", tmp_path, file_path=str(file), content="a\nb\n")
    assert text == "@@ -1,2 +1,2 @@\n a\n-c\n+b"


@pytest.mark.parametrize("kind", ["link", "outside", "climbing"])
def test_no_file_outside_of_the_session_is_read(tmp_path: Path, kind: str) -> None:
    secret, workspace = tmp_path / "secret", tmp_path / "workspace"
    workspace.mkdir()
    secret.write_text("the secret")
    (workspace / "link").symlink_to(secret)
    path = {"link": f"{workspace}/link", "outside": str(secret), "climbing": f"{workspace}/../secret"}[kind]
    text = diff("Write", workspace, file_path=path, content="x")
    assert text == "@@ -1,0 +1,1 @@\n+x"


def test_very_long_files_are_shown_without_comparing_them(tmp_path: Path) -> None:
    file = tmp_path / "big"
    file.write_text("".join(f"{number}\n" for number in range(5_000)))
    text = diff("Write", tmp_path, file_path=str(file), content="".join(f"x{number}\n" for number in range(5_000)))
    assert text is not None
    assert text.startswith("@@ -1,5000 +1,5000 @@\n-0\n-1\n")
