"""Which images the profiles allow, while their file changes."""

from pathlib import Path
from typing import Any

import pytest

from jelmore_engine_proxy.profile_images import MAX_BYTES, ProfileImages, images_in


@pytest.mark.parametrize(
    ("content", "images"),
    [
        ({}, set()),
        ({"profiles": {"a": {"image": "x:1"}, "b": {}, "c": {"image": "y:1"}}}, {"x:1", "y:1"}),
        ({"profiles": {"a": {"image": ""}, "b": {"image": ["z"]}, "c": "z"}}, set()),
        ({"profiles": "z"}, set()),
        ({"image": "z"}, set()),
    ],
)
def test_the_images_of_all_profiles_are_allowed(content: dict[str, Any], images: set[str]) -> None:
    assert images_in(content) == images


def test_a_changed_file_is_read_again_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    images = ProfileImages(file)
    assert images.now() == set()
    file.write_text('[profiles.a]\nimage = "x:1"\n')
    assert images.now() == {"x:1"}
    for bad in ("[profiles", "#" * (MAX_BYTES + 1)):
        file.write_text(bad)
        assert images.now() == {"x:1"}
    file.unlink()
    assert images.now() == {"x:1"}
    (tmp_path / "new").write_text('[profiles.a]\nimage = "y:1"\n')
    (tmp_path / "new").replace(file)
    assert images.now() == {"y:1"}


def test_without_a_file_there_are_none() -> None:
    assert ProfileImages(None).now() == set()
