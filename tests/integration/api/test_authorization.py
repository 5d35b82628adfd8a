"""Who may do what over HTTP: strangers, keys of each role, and tokens of one session."""

from jelmore.ports import Role
from tests.integration.api.talking import UNKNOWN
from tests.integration.api.world import World


async def test_nothing_is_open_to_strangers(api: World) -> None:
    json_type = {"Content-Type": "application/json"}
    async with api.client("") as http:
        for method, path in [
            ("GET", "/api/v1/sessions"),
            ("POST", "/api/v1/sessions"),
            ("GET", f"/api/v1/sessions/{UNKNOWN}"),
            ("GET", f"/api/v1/sessions/{UNKNOWN}/stream"),
            ("POST", "/api/cleanup"),
            ("POST", "/api/v1/cleanup"),
            ("GET", "/metrics"),
        ]:
            answer = await http.request(method, path, content=b"{bad json", headers=json_type)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), path
            assert answer.headers["www-authenticate"].startswith("Bearer")
            wrong = await http.request(method, path, headers={"Authorization": "Bearer jlm_wrong"})
            assert wrong.status_code == 401


async def test_a_key_may_come_as_a_bearer_too(api: World) -> None:
    async with api.client("") as http:
        answer = await http.get("/api/v1/sessions", headers={"Authorization": f"bearer {api.keys[Role.CLIENT]}"})
    assert answer.status_code == 200


async def test_clients_see_their_own_and_readers_change_nothing(api: World) -> None:
    async with (
        api.client(api.keys[Role.CLIENT]) as mine,
        api.client(api.other_key) as other,
        api.client(api.keys[Role.READONLY]) as reader,
    ):
        url = (await mine.post("/api/v1/sessions")).headers["location"]
        assert (await mine.get(url)).status_code == 200
        assert (await reader.get(url)).status_code == 200
        for method, path in [("GET", ""), ("DELETE", ""), ("GET", "/stream"), ("GET", "/output"), ("POST", "/token")]:
            assert (await other.request(method, url + path)).status_code == 404
        assert (await other.get("/api/v1/sessions")).json() == []
        assert (await reader.delete(url)).status_code == 403
        assert (await reader.post("/api/v1/sessions")).status_code == 403
        for http in (mine, reader):
            assert (await http.post("/api/cleanup")).json()["code"] == "forbidden"
        assert (await mine.get("/metrics")).status_code == 403
        assert (await reader.get("/metrics")).status_code == 200


async def test_a_session_token_opens_its_own_session_and_only_what_it_says(api: World) -> None:
    async with api.client() as http, api.client("") as bearer:
        first = (await http.post("/api/v1/sessions")).json()
        second = (await http.post("/api/v1/sessions")).json()
        own = f"/api/v1/sessions/{first['id']}"
        bearer.headers["Authorization"] = f"Bearer {first['token']}"
        assert (await bearer.get(own)).status_code == 200
        assert (await bearer.post(f"{own}/input", json={"input": "x"})).status_code == 202
        assert (await bearer.get(f"/api/v1/sessions/{second['id']}")).status_code == 403
        assert (await bearer.get("/api/v1/sessions")).status_code == 403
        assert (await bearer.delete(own)).status_code == 403
        assert (await bearer.post(f"{own}/token")).status_code == 403
        looking = (await http.post(f"{own}/token", json={"scopes": ["read"]})).json()["token"]
        bearer.headers["Authorization"] = f"Bearer {looking}"
        assert (await bearer.get(own)).status_code == 200
        assert (await bearer.post(f"{own}/input", json={"input": "x"})).status_code == 403
        bearer.headers["Authorization"] = f"Bearer {looking[:-4]}AAAA"
        assert (await bearer.get(own)).status_code == 401
