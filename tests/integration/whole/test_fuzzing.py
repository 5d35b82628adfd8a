"""Every operation of the served description, with generated data: no 5xx, and no answer that it does not describe."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.integration.whole.conftest import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
ENDLESS = ("stream", "stream_events")
STOPPING = (
    *("drain", "delete_session", "erase_session", "delete_webhook", "revoke_key"),
    *("restart_session", "resume_session"),
)
"""They would end what the other operations are tried on; they have tests of their own."""


def fuzz(running: LocalStack, config: Path, *without: str, examples: int) -> None:
    """Run Schemathesis, with the same data every time; fail with its report."""
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        "--config-file",
        str(config),
        "run",
        f"{running.url}/openapi.json",
        *("--header", f"X-API-Key: {running.api_key}", "--checks", CHECKS, "--phases", "fuzzing", "--no-color"),
        *("--max-examples", str(examples), "--generation-deterministic", "--continue-on-failure", "--workers", "1"),
        *("--request-timeout", "60", "--suppress-health-check", "all"),
        *(word for name in (*ENDLESS, *without) for word in ("--exclude-operation-id", name)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=running.folder)
    report = done.stdout + done.stderr
    assert done.returncode == 0, report[report.find("FAILURES") :][:8000]
    assert "Tested: " in report, report[-2000:]


def undo_settings(http: httpx.Client) -> None:
    """Go back to the configured settings, which the fuzzing may have changed."""
    undone = http.patch("/api/v1/admin/settings", json={"max_sessions": None, "log_level": None})
    assert undone.status_code == 200, undone.text


def test_no_operation_fails_on_strange_data(running: LocalStack) -> None:
    config = running.folder / "strange.toml"
    config.write_text("")
    fuzz(running, config, "drain", examples=3)
    with running.client() as http:
        undo_settings(http)


def test_no_operation_fails_on_a_session_that_exists(running: LocalStack) -> None:
    with running.client() as http:
        session = http.post("/api/v1/sessions", json={"query": "demo> say hello"})
        webhook = http.post("/api/v1/webhooks", json={"url": "http://127.0.0.1:9/hook", "enabled": False})
        assert (session.status_code, webhook.status_code) == (201, 201)
        config = running.folder / "existing.toml"
        config.write_text(
            f'[parameters]\nsession_id = "{session.json()["id"]}"\nwebhook_id = "{webhook.json()["id"]}"\n'
        )
        fuzz(running, config, *STOPPING, examples=3)
        undo_settings(http)
        assert http.get("/health").json()["status"] == "ok"
