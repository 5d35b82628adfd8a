"""A session in its container is taken back: files, snapshots and transcript belong to the agent's user."""

from tests.support.stack_client import Api, tool_answers


async def test_a_session_is_taken_back_and_continues(api: Api) -> None:
    session_id = (await api.create(allowed_tools=["Bash"]))["id"]
    await api.ask(session_id, "demo> run echo first > one; say kept")
    await api.ask(session_id, "demo> run echo changed > one && echo new > two; say dropped")
    await api.until(session_id, status="waiting_input", waiting_for="prompt")
    prompts = [each["seq"] for each in await api.all(session_id, "output") if each["kind"] == "input"]
    diff = await api.get(session_id, "/diff", turn=prompts[1])
    assert [(each["path"], each["status"]) for each in diff["files"]] == [("one", "modified"), ("two", "added")]
    answer = await api.post(session_id, "/rewind", {"to_seq": prompts[1]})
    assert answer.status_code == 200, answer.text
    again = await api.post(session_id, "/rewind", {"to_seq": prompts[1]})
    assert again.json() == answer.json(), "it can be repeated"
    assert (await api.get(session_id, "/diff", turn=prompts[1]))["files"] == []
    await api.ask(session_id, "demo> run cat one && ls -A")
    output = await api.all(session_id, "output")
    assert tool_answers(output)[-1].split() == ["first", "one"]
    assert [each["data"] for each in output if each["kind"] == "error"] == []
    events = await api.all(session_id, "events")
    assert [each["payload"]["to_seq"] for each in events if each["event_type"] == "session.rewound"] == [prompts[1]]
