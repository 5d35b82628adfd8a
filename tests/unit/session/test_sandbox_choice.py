"""What a profile chooses for its sandboxes: read from the file, kept by a session, never asked for."""

from pathlib import Path
from typing import Any

import pytest

from jelmore.drivers.skill_folders import SkillFolders
from jelmore.session.errors import InvalidRequestError, RefusedError
from jelmore.session.profiles import Profile
from jelmore.session.sandbox_choice import AS_ALL, SandboxChoice, choice_of, read_choice


def test_a_session_keeps_what_its_profile_chose() -> None:
    chosen = read_choice({"image": "jelmore/runner:build", "skills_dir": "review", "runtime": "runsc"})
    assert choice_of(Profile("review", sandbox=chosen).snapshot()) == chosen
    assert "sandbox" not in Profile("plain").snapshot()
    assert choice_of({}) == choice_of({"sandbox": {"added_later": 1}}) == AS_ALL


@pytest.mark.parametrize(
    "table",
    [
        {"image": 3},
        {"image": "-v /:/host"},
        {"image": "a b"},
        {"skills_dir": "../secrets"},
        {"skills_dir": ".."},
        {"skills_dir": "a/b"},
        {"skills_dir": "/etc"},
        {"runtime": "/usr/bin/runsc"},
        {"runtime": True},
    ],
)
def test_what_is_no_name_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{next(iter(table))}: "):
        read_choice(table)


def test_the_folder_of_the_profile_comes_before_that_of_the_deployment() -> None:
    folders = SkillFolders(Path("/all"), Path("/profiles"))
    assert folders.of(AS_ALL) == Path("/all")
    assert folders.of(SandboxChoice(skills_dir="review")) == Path("/profiles/review")
    with pytest.raises(RefusedError, match="JELMORE_PROFILE_SKILLS_DIR"):
        SkillFolders(Path("/all")).of(SandboxChoice(skills_dir="review"))
