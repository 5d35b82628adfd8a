"""The deployment's folder of skills, in the agent of each session."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.support.stack import Stack
from tests.support.stack_client import Api, Frame, tool_answers
from tests.support.stack_fixtures import running
from tests.support.stack_quickstart import QuickStart

SKILL = "---\nname: count-sheep\ndescription: Counts sheep.\n---\nCount them one by one.\n"


@pytest.fixture(scope="module", params=["docker", "local"])
def skilled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A quick start with a folder of skills."""
    runtime: str = request.param
    if runtime == "docker":
        request.getfixturevalue("runner_image")
    folder = tmp_path_factory.mktemp("skills")
    for parent in (folder, *folder.parents):  # the agent in a container is another user
        if parent.is_relative_to("/tmp/pytest-of-root"):
            parent.chmod(0o755)
    (folder / "count-sheep").mkdir()
    (folder / "count-sheep" / "SKILL.md").write_text(SKILL)
    (folder / "count-sheep" / "SKILL.md").chmod(0o666)  # only the mount keeps the agent from writing
    yield from running(QuickStart(JELMORE_RUNTIME=runtime, JELMORE_SKILLS_DIR=str(folder), JELMORE_MAX_SESSIONS="2"))


@pytest_asyncio.fixture
async def api(skilled: Stack) -> AsyncIterator[Api]:
    calls = Api(skilled)
    yield calls
    await calls.close()


async def test_every_session_has_the_deployments_skills_and_a_container_cannot_change_them(
    api: Api, skilled: Stack
) -> None:
    session = await api.create("demo> say hello", allowed_tools=["Bash"])
    await api.until(session["id"], status="waiting_input", waiting_for="prompt")
    events = await api.all(session["id"], "output")
    messages: list[Frame] = [each["data"]["message"] for each in events if each["kind"] == "message"]
    said = next(each for each in messages if each.get("subtype") == "init")
    assert "count-sheep" in said["skills"]
    commands = (await api.get(session["id"], "/commands"))["commands"]
    assert "count-sheep" in {each["name"] for each in commands}
    if not skilled.containers():
        return
    skill = "/opt/skills/.claude/skills/count-sheep/SKILL.md"
    program = f"f = open('{skill}'); print(f.read()); open('{skill}', 'a')"
    await api.ask(session["id"], f'demo> run python3 -c "{program}" 2>&1; true')
    printed = tool_answers(await api.all(session["id"], "output"))[-1]
    assert "Count them one by one." in printed
    assert "OSError: [Errno 30] Read-only file system" in printed
