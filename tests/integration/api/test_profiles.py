"""Profiles and options of the agent over HTTP."""

from tests.integration.api.world import World


async def test_a_create_has_a_profile_and_options(api: World) -> None:
    api.profiles_file.write_text(
        '[profiles.small]\ndescription = "d"\nfixed = { effort = "low" }\n[profiles.small.ceiling]\nmax_turns = 5\n'
    )
    await api.profiles.load()
    async with api.client() as http:
        listed = (await http.get("/api/v1/profiles")).json()
        assert [each["name"] for each in listed["profiles"]] == ["default", "small"]
        assert (listed["error"], listed["file"]) == (None, str(api.profiles_file))
        body = {"profile": "small", "tools": ["Read"], "env": {"CI": "1"}, "cwd": "src"}
        made = await http.post("/api/v1/sessions", json=body)
        assert made.status_code == 201, made.text
        shown = made.json()
        assert (shown["profile"], shown["max_turns"]) == ("small", 5)
        assert shown["options"] == {"effort": "low", "tools": ["Read"], "env": ["CI"], "cwd": "src"}
        for wrong, field in (
            ({"profile": "small", "effort": "high"}, "effort"),
            ({"profile": "small", "max_turns": 6}, "max_turns"),
            ({"profile": "none"}, "profile"),
            ({"env": {"SECRET": "x"}}, "env"),
            ({"env": {"PATH": "x"}}, "PATH"),
            ({"cwd": "../up"}, "cwd"),
            ({"add_dirs": ["/etc"]}, "add_dirs"),
            ({"repository_hooks": True}, "repository_hooks"),
            ({"setup": {"run": "x", "file": "y"}}, "run or file"),
            ({"setup": {}}, "run or file"),
            ({"setup": {"run": "x" * 16_385}}, "run"),
            ({"setup": {"run": "a\x00b"}}, "setup: must not contain the character NUL"),
            ({"setup": {"file": "../up"}}, "file"),
            ({"setup": "make"}, "setup"),
            ({"thinking": {"type": "enabled"}}, "budget_tokens"),
        ):
            refused = await http.post("/api/v1/sessions", json=wrong)
            assert refused.status_code == 422, wrong
            assert field in refused.text
        changed = await http.patch(made.headers["location"], json={"disallowed_tools": ["Bash"]})
        assert changed.status_code == 200, changed.text
        assert changed.json()["restarted_for"] == ["disallowed_tools"]
        assert (await http.patch(made.headers["location"], json={"effort": "max"})).status_code == 422
        commands = await http.get(f"{made.headers['location']}/commands")
        assert [each["name"] for each in commands.json()["commands"]] == ["compact"]
        api.profiles_file.write_text("nonsense")
        await api.profiles.reload_if_changed()
        listed = (await http.get("/api/v1/profiles")).json()
        assert "is not TOML" in listed["error"]["message"]
        assert [each["name"] for each in listed["profiles"]] == ["default", "small"]


async def test_a_setup_of_a_create_or_its_profile_reaches_the_runner_at_each_start(api: World) -> None:
    api.profiles_file.write_text(
        '[profiles.built]\nfixed = { setup = { file = ".jelmore/setup.sh" } }\n[profiles.none.ceiling]\nsetup = false\n'
    )
    await api.profiles.load()
    async with api.client() as http:
        made = await http.post("/api/v1/sessions", json={"setup": {"run": "npm ci"}})
        assert made.status_code == 201, made.text
        assert made.json()["options"] == {"setup": {"run": "npm ci"}}
        init = (await api.runner(made.json()["id"])).init
        assert init is not None
        assert init.setup is not None
        assert (init.setup.run, init.setup.file, init.setup.within_s) == ("npm ci", None, 600)
        assert init.requires == ["setup"], "a runner that knows no setup must not begin without it"
        of_profile = await http.post("/api/v1/sessions", json={"profile": "built"})
        init = (await api.runner(of_profile.json()["id"])).init
        assert init is not None
        assert init.setup is not None
        assert init.setup.file == ".jelmore/setup.sh"
        plain = (await http.post("/api/v1/sessions", json={})).json()
        init = (await api.runner(plain["id"])).init
        assert init is not None
        assert (init.setup, init.requires) == (None, [])
        refused = await http.post("/api/v1/sessions", json={"profile": "none", "setup": {"run": "npm ci"}})
        assert (refused.status_code, "setup: is not allowed" in refused.text) == (422, True)
        changed = await http.patch(made.headers["location"], json={"setup": {"run": "make"}})
        assert changed.status_code == 422, "a setup runs before the first turn only"
