"""A session in a real container starts with a repository of a git host that wants a password."""

import subprocess
from pathlib import Path

from tests.support.git_server import BASIC, git_server
from tests.support.stack_client import SESSIONS, Api, eventually, tool_answers

ROUTE = "/api/v1/admin/routes/git/team"
IDENTITY = "git -c user.name=p -c user.email=p@example.org"


async def test_the_agent_works_on_the_repository_that_the_create_named(quick_api: Api, tmp_path: Path) -> None:
    made = "mkdir -p private && cd private && git init -q -b trunk work && cd work && echo hello > README && git add ."
    made += f" && {IDENTITY} commit -q -m one && cd .. && git clone -q --bare work project.git"
    subprocess.run(made, shell=True, check=True, cwd=tmp_path)  # noqa: ASYNC221 - before anything runs beside it
    async with git_server(tmp_path) as server:
        http, url = quick_api.http, f"{server.url}/private/project.git"
        value = await http.put("/api/v1/credentials/team", json={"value": BASIC})
        assert value.status_code == 204, value.text
        route = {"url": f"{server.url}/private", "credential": "team", "prefix": "Basic ", "private": True}
        assert (await http.put(ROUTE, json=route)).status_code == 200

        async def reached() -> bool:
            body = {"repository": {"url": url, "credential": "team", "ref": "absent"}}
            answer = await http.post(SESSIONS, json=body)
            return bool(answer.json().get("errors", [{}])[0].get("field") == "repository.ref")

        await eventually(reached, seconds=30, what=lambda: "the route at the gateway")
        session = await quick_api.create(
            "demo> run cat README && stat -c %U README .git/HEAD && git status --porcelain --branch && git config -l",
            allowed_tools=["Bash"],
            repository={"url": url, "credential": "team"},
        )
        assert session["repository"]["branch"] == "trunk"

        async def answered() -> bool:
            return bool(tool_answers(await quick_api.all(session["id"], "output")))

        await eventually(answered, seconds=60, what=lambda: "the first turn")
        said = tool_answers(await quick_api.all(session["id"], "output"))[0]
        assert said.startswith("hello\nagent\nagent\n## trunk...origin/trunk\n"), said
        assert "extraheader" not in said.lower()
        assert BASIC not in said
        assert (await http.delete(ROUTE)).status_code == 204
