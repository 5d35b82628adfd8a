"""What an agent leaves in its workspace cannot end its session, lead the supervisor astray or fill the disk."""

from tests.support.stack_client import Api, eventually, tool_answers

MIB = 2**20


async def test_a_name_that_is_not_utf_8_ends_nothing(quick_api: Api) -> None:
    made = await quick_api.create(allowed_tools=["Bash"])
    result = await quick_api.ask(made["id"], "demo> run touch \"$(printf 'a\\377')\"; sleep 3; echo done")
    assert "done" in result["result"]
    again = await quick_api.ask(made["id"], "demo> say still here")
    assert again["result"].endswith("still here")
    assert (await quick_api.get(made["id"]))["generation"] == 1


async def test_links_and_fifos_in_git_publish_nothing_and_block_nothing(quick_api: Api) -> None:
    made = await quick_api.create(allowed_tools=["Bash"])
    script = (
        "git init -q r && cd r && git commit -q --allow-empty -m one && sleep 2"
        " && rm .git/HEAD && ln -s /session/state/journal.jsonl .git/HEAD && sleep 2"
        " && rm .git/HEAD && mkfifo .git/HEAD && ln -s /dev/zero .git/packed-refs && sleep 2"
        " && rm .git/HEAD .git/packed-refs && echo ref: refs/heads/main >.git/HEAD"
        " && git commit -q --allow-empty -m two && sleep 3; echo done"
    )
    assert "done" in (await quick_api.ask(made["id"], f"demo> run {script}"))["result"]

    async def operations() -> list[str]:
        output = await quick_api.all(made["id"], "output")
        notes = [event["data"] for event in output if event["kind"] == "git_activity"]
        assert all(note["head"] is None or len(note["head"]) == 40 for note in notes)
        return [note["op"] for note in notes]

    async def both() -> bool:
        return (await operations()).count("commit") >= 2

    await eventually(both, seconds=20, what=lambda: "both commits")


async def test_an_orphaned_writer_is_ended_near_the_limit(quick_api: Api) -> None:
    made = await quick_api.create(limits={"workspace_bytes": "64m"}, allowed_tools=["Bash"])
    write = "dd if=/dev/zero of=/session/workspace/grow.$i bs=1M count=1 status=none"
    grow = f"for i in $(seq 2000); do {write}; sleep 0.05; done"
    await quick_api.ask(made["id"], f"demo> run nohup sh -c '{grow}' >/dev/null 2>&1 & echo started")

    async def ended() -> bool:
        output = await quick_api.all(made["id"], "output")
        return any("were ended" in str(event["data"]) for event in output if event["kind"] == "error")

    await eventually(ended, seconds=90, what=lambda: "the end of the writer")
    seen = await quick_api.get(made["id"])
    assert seen["status"] in {"waiting_input", "idle"}
    assert seen["resources"]["workspace_bytes"] is None or seen["resources"]["workspace_bytes"] < 200 * MIB


async def test_the_agent_gives_way_to_its_supervisor(quick_api: Api) -> None:
    made = await quick_api.create(allowed_tools=["Bash"])
    await quick_api.ask(made["id"], "demo> run cat /proc/self/oom_score_adj; nice")
    (answer,) = tool_answers(await quick_api.all(made["id"], "output"))
    assert answer.split() == ["1000", "5"]
