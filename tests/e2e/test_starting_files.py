"""A session in a real container begins with the files of its create: the agent has them in its first turn."""

from tests.support.stack_client import SESSIONS, Api, eventually, tool_answers


async def test_the_first_turn_has_the_files_of_the_create(quick_api: Api) -> None:
    body = '{"query": "demo> run cat src/hello && stat -c %U src src/hello && echo more >> src/hello && ls -A", '
    body += '"allowed_tools": ["Bash"]}'
    parts: list[tuple[str, tuple[str | None, str | bytes, str]]] = [
        ("session", (None, body, "application/json")),
        ("files", ("src/hello", b"hello\n", "text/plain")),
    ]
    answer = await quick_api.http.post(SESSIONS, files=parts)
    assert answer.status_code == 201, answer.text
    session_id = answer.json()["id"]

    async def answered() -> bool:
        return bool(tool_answers(await quick_api.all(session_id, "output")))

    await eventually(answered, seconds=60, what=lambda: "the first turn")
    said = tool_answers(await quick_api.all(session_id, "output"))[0]
    assert said.startswith("hello\nagent\nagent\n"), said
    assert "jelmore-upload" not in said
    content = await quick_api.http.get(f"{SESSIONS}/{session_id}/files/src/hello")
    assert content.text == "hello\nmore\n"

    refused = await quick_api.http.post(SESSIONS, files=[("files", ("../out", b"x"))])
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "files"), refused.text
