"""Inputs of content blocks over HTTP and WebSocket, as the manager takes them."""

import json

from tests.integration.api.world import World, frame

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
BLOCKS = [{"type": "text", "text": "what is this?"}, IMAGE]


async def test_content_blocks_are_taken_over_rest_and_websocket(api: World) -> None:
    async with api.client() as http:
        made = (await http.post("/api/v1/sessions")).json()
        url = f"/api/v1/sessions/{made['id']}"
        sent = await http.post(f"{url}/input", json={"input": BLOCKS, "id": "one"})
        assert sent.status_code == 202, sent.text
        headers = {"additional_headers": {"Authorization": f"Bearer {made['token']}"}}
        async with api.connect(f"{url}/stream", **headers) as connection:
            await connection.send(json.dumps({"type": "input", "input": BLOCKS, "id": "two", "expand": True}))
            while (await frame(connection)).get("id") != "two":
                pass
        inputs = [each["data"] for each in (await http.get(f"{url}/output?kind=input")).json()]
        assert [each["id"] for each in inputs] == ["one", "two"]
        assert {each["input"] for each in inputs} == {"what is this?\n[image]"}
        assert [each["expand"] for each in inputs] == [False, True]
        messages = (await http.get(f"{url}/messages")).json()
        shown = next(each for each in messages if each["input_id"] == "one")
        assert [block["type"] for block in shown["blocks"]] == ["text", "image"]


async def test_bad_blocks_are_refused_by_place(api: World) -> None:
    async with api.client() as http:
        url = f"/api/v1/sessions/{(await http.post('/api/v1/sessions')).json()['id']}"
        for wrong in ([], [{"type": "video"}], [{"type": "text", "text": " "}], [{**IMAGE, "alt": "x"}]):
            refused = await http.post(f"{url}/input", json={"input": wrong})
            assert refused.status_code == 422, wrong
            assert "input" in refused.text
        long = [{"type": "text", "text": "x" * 600_000}] * 2
        assert (await http.post(f"{url}/input", json={"input": long})).status_code == 413


async def test_an_attachment_is_given_back_and_never_shown_as_a_page(api: World) -> None:
    async with api.client() as http:
        made = (await http.post("/api/v1/sessions")).json()
        runner = await api.runner(made["id"])
        runner.attachments["a" * 64] = b"<script>"
        url = f"/api/v1/sessions/{made['id']}/attachments"
        found = await http.get(f"{url}/{'a' * 64}")
        assert (found.status_code, found.content) == (200, b"<script>")
        assert found.headers["content-disposition"] == "attachment"
        assert found.headers["content-type"] == "application/octet-stream"
        assert (await http.get(f"{url}/{'b' * 64}")).status_code == 404
        assert (await http.get(f"{url}/nonsense")).status_code == 422
