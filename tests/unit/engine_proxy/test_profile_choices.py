"""Which images and runtimes the profiles allow, while their file changes."""

from pathlib import Path
from typing import Any

import pytest

from jelmore_engine_proxy.profile_choices import MAX_BYTES, Choices, ProfileChoices, choices_in


@pytest.mark.parametrize("part", ["image", "runtime"])
@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({}, set()),
        ({"profiles": {"a": {"PART": "x:1"}, "b": {}, "c": {"PART": "y:1"}}}, {"x:1", "y:1"}),
        ({"profiles": {"a": {"PART": ""}, "b": {"PART": ["z"]}, "c": "z"}}, set()),
        ({"profiles": "z"}, set()),
        ({"PART": "z"}, set()),
    ],
)
def test_what_all_profiles_name_is_allowed(part: str, content: dict[str, Any], named: set[str]) -> None:
    def renamed(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {part if name == "PART" else name: renamed(each) for name, each in value.items()}

    found = choices_in(renamed(content))
    assert getattr(found, f"{part}s") == named
    assert not getattr(found, {"image": "runtimes", "runtime": "images"}[part])


def test_a_changed_file_is_read_again_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    choices = ProfileChoices(file)
    assert choices.now() == Choices()
    file.write_text('[profiles.a]\nimage = "x:1"\nruntime = "runsc"\n')
    first = Choices(frozenset({"x:1"}), frozenset({"runsc"}))
    assert choices.now() == first
    for bad in ("[profiles", "#" * (MAX_BYTES + 1)):
        file.write_text(bad)
        assert choices.now() == first
    file.unlink()
    assert choices.now() == first
    (tmp_path / "new").write_text('[profiles.a]\nimage = "y:1"\n')
    (tmp_path / "new").replace(file)
    assert choices.now() == Choices(frozenset({"y:1"}))


def test_without_a_file_there_are_none() -> None:
    assert ProfileChoices(None).now() == Choices()
