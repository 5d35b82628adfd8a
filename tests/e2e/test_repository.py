"""A session in a real container starts with a repository of a git host that wants a password, and pushes to it."""

import base64
import json
import subprocess
from pathlib import Path

from tests.e2e.test_isolation import found_inside
from tests.support.git_server import BASIC, USER_AND_PASSWORD, git_server
from tests.support.stack import Stack, inspect
from tests.support.stack_client import SESSIONS, Api, eventually, tool_answers

ROUTE = "/api/v1/admin/routes/git/team"
IDENTITY = "git -c user.name=p -c user.email=p@example.org"


WRONG = base64.b64encode(b"bot:guessed").decode()


async def test_the_agent_works_on_the_repository_that_the_create_named(
    quick_api: Api, quickstart: Stack, tmp_path: Path
) -> None:
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
            allowed_tools=["Bash", "Write"],
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
        await pushes(quick_api, session["id"], tmp_path / "private" / "project.git")
        await holds_no_credential(quick_api, quickstart, session["id"])
        assert (await http.delete(ROUTE)).status_code == 204


async def pushes(api: Api, session_id: str, origin: Path) -> None:
    """Commit what the agent changed; push it with a wrong credential, to a forbidden branch, and as it should be."""
    await api.ask(session_id, "demo> write notes.txt done by the agent")
    committed = await api.post(session_id, "/commit", {"message": "Add notes"})
    assert committed.status_code == 200, committed.text
    value = await api.http.put("/api/v1/credentials/wrong", json={"value": WRONG})
    url = (await api.get(session_id))["repository"]["url"]
    route = {"url": url.removesuffix("/project.git"), "credential": "wrong", "prefix": "Basic ", "private": True}
    made = await api.http.put(ROUTE.replace("team", "wrong"), json=route)
    assert (value.status_code, made.status_code) == (204, 200), made.text

    async def refused() -> bool:
        answer = await api.post(session_id, "/push", {"branch": "jelmore/notes", "credential": "wrong"})
        return answer.status_code == 422 and "the server refuses 'wrong'" in answer.json()["detail"]

    await eventually(refused, seconds=30, what=lambda: "a refusal that says why")
    forbidden = await api.post(session_id, "/push", {"branch": "trunk", "credential": "team"})
    assert (forbidden.status_code, forbidden.json()["errors"][0]["field"]) == (422, "branch"), forbidden.text
    pushed = await api.post(session_id, "/push", {"branch": "jelmore/notes", "credential": "team"})
    assert (pushed.status_code, pushed.json()["pushed"]) == (200, True), pushed.text
    found = subprocess.run(  # noqa: ASYNC221 - local, and short
        ["git", "show", "jelmore/notes:notes.txt"], check=True, cwd=origin, capture_output=True, text=True
    )
    assert found.stdout.strip() == "done by the agent"
    assert (await api.http.delete(ROUTE.replace("team", "wrong"))).status_code == 204


async def holds_no_credential(api: Api, stack: Stack, session_id: str) -> None:
    """Look for the credential where the agent or a reader could find it."""
    container = stack.container(session_id)
    # The search sees what is there. Root in the container would not: it may not read the agent's files.
    assert "/session/workspace/notes.txt" in found_inside(container, "done by the agent")
    noted = [await api.all(session_id, what) for what in ("output", "events")]
    shown = [
        json.dumps(noted),
        json.dumps(inspect(container)),
        stack.logs(),
        (await api.http.get("/api/v1/credentials")).text,
    ]
    for secret in (BASIC, USER_AND_PASSWORD.partition(":")[2]):
        assert found_inside(container, secret) == []
        assert not any(secret in each for each in shown)
