"""A profile with an image and a folder of skills of its own, in real containers."""

from collections.abc import AsyncIterator, Iterator
from typing import Final

import pytest
import pytest_asyncio

from jelmore.drivers.docker_options import DEFAULT_RUNTIME
from tests.support.engine_relay import OCI_RUNTIME, RUNNER_IMAGE
from tests.support.stack import Stack, docker, inspect
from tests.support.stack_client import SESSIONS, Api, Frame, tool_answers
from tests.support.stack_fixtures import running
from tests.support.stack_quickstart import QuickStart

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(300)]

SKILL: Final = "---\nname: {name}\ndescription: Does it.\n---\nDo it.\n"
SOURCE: Final = RUNNER_IMAGE


@pytest.fixture(scope="module")
def image(runner_image: None) -> Iterator[str]:
    """A name of the engine's for the image, which can be moved to another one."""
    name = "jelmore-e2e/profile-image:1"
    docker("tag", SOURCE, name)
    yield name
    docker("rmi", "--force", name)


@pytest.fixture(scope="module")
def served(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A quick start with a profile that has both."""
    folder = tmp_path_factory.mktemp("skills")
    for parent in (folder, *folder.parents):  # the agent in a container is another user
        if parent.is_relative_to("/tmp/pytest-of-root"):
            parent.chmod(0o755)
    for kind, name in (("all", "for-all"), ("profiles/review", "for-review")):
        (folder / kind / name).mkdir(parents=True)
        (folder / kind / name / "SKILL.md").write_text(SKILL.format(name=name))
    profiles = folder / "profiles.toml"
    profiles.write_text(
        f'[profiles.review]\nimage = "{image}"\nskills_dir = "review"\n[profiles.gone]\nimage = "gone:1"\n'
        '[profiles.elsewhere]\nruntime = "absent"\n'
    )
    settings = {
        "JELMORE_SKILLS_DIR": str(folder / "all"),
        "JELMORE_PROFILE_SKILLS_DIR": str(folder / "profiles"),
        "JELMORE_PROFILES": str(profiles),
    }
    yield from running(QuickStart(own_model=False, **settings))


@pytest_asyncio.fixture
async def api(served: Stack) -> AsyncIterator[Api]:
    calls = Api(served)
    yield calls
    await calls.close()


async def skills_of(api: Api, session: Frame) -> set[str]:
    """Return the skills that Claude Code names at its start."""
    await api.until(session["id"], status="waiting_input", waiting_for="prompt")
    events = await api.all(session["id"], "output")
    messages: list[Frame] = [each["data"]["message"] for each in events if each["kind"] == "message"]
    return set(next(each for each in messages if each.get("subtype") == "init")["skills"])


async def test_a_profile_has_its_own_skills_which_nobody_inside_can_change(api: Api, served: Stack) -> None:
    plain = await api.create("demo> say hello")
    review = await api.create("demo> say hello", profile="review", allowed_tools=["Bash"])
    assert {"for-all", "for-review"} & await skills_of(api, plain) == {"for-all"}
    assert {"for-all", "for-review"} & await skills_of(api, review) == {"for-review"}
    await api.ask(review["id"], "demo> run (touch /opt/skills/.claude/skills/mine) 2>&1; true")
    refused = tool_answers(await api.all(review["id"], "output"))[-1]
    # gVisor says first that the folder is another user's.
    assert "Read-only file system" in refused or (OCI_RUNTIME != DEFAULT_RUNTIME and "Permission denied" in refused)
    images = [inspect(served.container(each["id"]))["Config"]["Image"] for each in (plain, review)]
    assert images == [SOURCE, "jelmore-e2e/profile-image:1"]


async def test_a_live_session_takes_up_a_new_image_at_its_next_start(api: Api, served: Stack, image: str) -> None:
    session = await api.create("demo> say hello", profile="review")
    await api.until(session["id"], status="waiting_input", waiting_for="prompt")
    before = inspect(served.container(session["id"]))["Image"]
    scratch = docker("create", SOURCE).strip()
    try:
        docker("commit", "--change", "LABEL jelmore.e2e=newer", scratch, image)
    finally:
        docker("rm", scratch)
    await api.ask(session["id"], "demo> say still here")
    assert inspect(served.container(session["id"]))["Image"] == before, "what runs is not replaced"
    timing = {"idle_after_s": 1, "hibernate_after_s": 1}
    assert (await api.http.patch(f"{SESSIONS}/{session['id']}", json=timing)).status_code == 200
    await api.until(session["id"], presence="hibernated")
    await api.ask(session["id"], "demo> say again")
    after = inspect(served.container(session["id"]))
    assert after["Image"] != before
    assert after["Config"]["Labels"]["jelmore.e2e"] == "newer"


async def test_an_image_that_is_not_here_is_named_at_the_create_and_no_request_chooses_one(api: Api) -> None:
    refused = await api.http.post(SESSIONS, json={"profile": "gone"})
    assert refused.status_code >= 400
    assert "gone:1" in refused.text or "image" in refused.text, refused.text
    refused = await api.http.post(SESSIONS, json={"profile": "elsewhere"})
    assert refused.status_code >= 400
    assert "session's profile (absent): the engine has no runtime 'absent', only " in refused.text
    unknown = await api.http.post(SESSIONS, json={"image": "jelmore/runner:latest"})
    assert unknown.status_code == 422
