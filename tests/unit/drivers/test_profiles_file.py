"""The profiles file: what is wrong with it is said by name, and what was right before stays in force."""

import tomllib
from pathlib import Path

import pytest

from jelmore.api.profiles import check_fields, create_request
from jelmore.api.schemas import CreateBody
from jelmore.control.profiles import Profiles, parse
from jelmore.drivers.system_clock import SystemClock
from jelmore.drivers.toml_profiles import TomlProfiles
from jelmore.session.errors import InvalidRequestError, RefusedError

EXAMPLE = Path(__file__).parents[3] / "profiles" / "example.toml"
GOOD = '[profiles.small]\ndefaults = { model = "haiku" }\n[profiles.small.ceiling]\nmax_turns = 5\n'


def profiles(path: Path | None) -> Profiles:
    return Profiles(TomlProfiles(path), check_fields, SystemClock())


async def test_the_example_of_the_documentation_is_good() -> None:
    found = profiles(EXAMPLE)
    await found.load()
    assert [profile.name for profile in found.all] == ["default", "repositories", "review", "trusted"]
    request = create_request(CreateBody(profile="review"), found, None)
    assert (request.permission_mode, request.options["tools"]) == ("dontAsk", ["Read", "Glob", "Grep"])
    assert (request.max_turns, request.max_budget_usd) == (50, 2)
    request = create_request(CreateBody(profile="repositories"), found, None)
    assert request.options["setup"] == {"file": ".jelmore/setup.sh"}


async def test_without_a_file_there_is_one_profile() -> None:
    found = profiles(None)
    await found.load()
    assert [profile.name for profile in found.all] == ["default"]
    assert found.named(None).name == "default"
    assert found.file is None
    with pytest.raises(InvalidRequestError, match="profile: there is no 'other'; there are: default"):
        found.named("other")


async def test_a_changed_file_is_read_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "profiles.toml"
    path.write_text(GOOD)
    found = profiles(path)
    await found.load()
    await found.reload_if_changed()
    assert found.report()["error"] is None
    path.write_text(GOOD.replace("max_turns = 5", "max_turns = 50"))
    await found.reload_if_changed()
    assert found.named("small").ceiling.max_turns == 50
    path.write_text(GOOD.replace("max_turns = 5", 'max_turns = "many, many"'))
    await found.reload_if_changed()
    assert found.report()["error"] == "profiles.small.ceiling.max_turns: must be a number above 0"
    assert found.named("small").ceiling.max_turns == 50, "the old ones stay"
    path.unlink()
    await found.reload_if_changed()
    assert "No such file" in found.report()["error"]
    path.write_text(GOOD)
    await found.reload_if_changed()
    assert found.report()["error"] is None
    assert found.named("small").ceiling.max_turns == 5


async def test_a_manager_does_not_start_with_a_bad_file(tmp_path: Path) -> None:
    path = tmp_path / "profiles.toml"
    path.write_text("[profiles")
    with pytest.raises(RefusedError, match="is not TOML"):
        await profiles(path).load()


BAD = {
    "x = 1": "tables",
    "[profiles.a]\nlimit = 1": "profiles.a.limit: is unknown",
    "[profiles.a.defaults]\nmodle = 'x'": "profiles.a.defaults.modle: Extra inputs",
    "[profiles.a.defaults]\nmax_turns = 'x'": "profiles.a.defaults.max_turns: ",
    "[profiles.a.fixed]\nprofile = 'b'": "profiles.a.fixed.profile: cannot be set",
    "[profiles.a.ceiling]\nmodel = ['x']": "profiles.a.ceiling.model: is unknown",
    "[profiles.a.ceiling]\nmodels = 'x'": "profiles.a.ceiling.models: must be a list",
    "[profiles.a.ceiling]\nrepository_hooks = 1": "profiles.a.ceiling.repository_hooks: must be true or false",
    "[profiles.a]\ndescription = 1": "profiles.a.description: must be a text",
    "[profiles.a.defaults]\nmax_turns = 9\n[profiles.a.ceiling]\nmax_turns = 5": "profiles.a.ceiling: the profile's",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_file_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(tomllib.loads(text), check_fields)
    assert BAD[text] in str(caught.value)
