"""A fork is compared with and taken back to its own turns, by the real agent in a real workspace."""

import pytest

from tests.integration.whole.conftest import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SESSIONS = "/api/v1/sessions"


def test_a_fork_is_compared_and_rewound_by_its_own_turns(running: LocalStack) -> None:
    with running.client() as http:

        def ask(session_id: str, prompt: str) -> int:
            answer = http.post(f"{SESSIONS}/{session_id}/input?wait=60", json={"input": prompt})
            assert (answer.status_code, answer.json()["result"]["is_error"]) == (200, False), answer.text
            return int(answer.json()["seq"])

        def changed(session_id: str, **asked: object) -> list[tuple[str, str]]:
            answer = http.get(f"{SESSIONS}/{session_id}/diff", params=dict(asked))  # type: ignore[arg-type]
            assert answer.status_code == 200, answer.text
            return [(each["path"], each["status"]) for each in answer.json()["files"]]

        parent = http.post(SESSIONS, json={"allowed_tools": ["Bash"]}).json()["id"]
        ask(parent, "demo> run echo one > one")
        fork = http.post(f"{SESSIONS}/{parent}/fork").json()["id"]
        first = ask(fork, "demo> run echo two > two")
        second = ask(fork, "demo> run rm one && echo three > three")
        assert changed(fork, turn=first) == [("one", "deleted"), ("three", "added"), ("two", "added")]
        assert changed(fork, turn=second) == [("one", "deleted"), ("three", "added")]
        assert changed(fork, against="start") == changed(fork, turn=first)
        assert http.post(f"{SESSIONS}/{fork}/rewind", json={"to_seq": first}).status_code == 200
        names = [each["name"] for each in http.get(f"{SESSIONS}/{fork}/files/").json()["entries"]]
        assert names == ["one"], "as the fork began, with the parent's file"
        assert changed(parent, against="start") == [("one", "added")]
        for session_id in (parent, fork):
            assert http.delete(f"{SESSIONS}/{session_id}").status_code == 200


def test_a_fork_at_an_earlier_output_has_the_files_of_then(running: LocalStack) -> None:
    with running.client() as http:

        def ask(session_id: str, prompt: str) -> None:
            answer = http.post(f"{SESSIONS}/{session_id}/input?wait=60", json={"input": prompt})
            assert (answer.status_code, answer.json()["result"]["is_error"]) == (200, False), answer.text

        def files(session_id: str) -> dict[str, str]:
            listed = http.get(f"{SESSIONS}/{session_id}/files/").json()["entries"]
            return {
                each["name"]: http.get(f"{SESSIONS}/{session_id}/files/{each['name']}").text.strip() for each in listed
            }

        parent = http.post(SESSIONS, json={"allowed_tools": ["Bash"]}).json()["id"]
        for prompt in ("echo one > a", "echo two > a && echo two > b", "rm a"):
            ask(parent, f"demo> run {prompt}")
        ends = [each["seq"] for each in http.get(f"{SESSIONS}/{parent}/output?kind=turn_ended").json()]
        before = files(parent)
        found = {}
        for seq in ends:
            fork = http.post(f"{SESSIONS}/{parent}/fork", json={"at_seq": seq}).json()
            found[seq] = fork["forked_from"]["workspace"], files(fork["id"])
            assert http.delete(f"{SESSIONS}/{fork['id']}").status_code == 200
        assert list(found.values()) == [
            ("snapshot", {"a": "one"}),
            ("snapshot", {"a": "two", "b": "two"}),
            ("present", {"b": "two"}),
        ]
        assert files(parent) == before == {"b": "two"}
        assert http.delete(f"{SESSIONS}/{parent}").status_code == 200
