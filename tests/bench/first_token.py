"""From nothing to the first word of an answer: a new session of the warm pool, beside `claude -p` on the host."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Final

import httpx
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, StreamEvent

from tests.bench.listening import Listener, own_socket
from tests.bench.table import Row
from tests.bench.world import World
from tests.support.stack import free_port
from tests.support.stack_client import is_result, is_text_delta

_PROMPT: Final = "demo> say hello"
_MOST_S: Final = 60
_LINE_BYTES: Final = 4 * 1024 * 1024
_TARGET: Final = 0.25


async def first_token(world: World) -> list[Row]:
    """Create with a prompt until the first word at the session's WebSocket; in turn with the program by hand."""
    session: list[float] = []
    again: list[float] = []
    by_hand: list[float] = []
    alone: list[float] = []
    async with demo_model() as url:
        async for _ in world.each("first token"):
            by_hand.append(await _claude_s(url) * 1000)
            alone.append(await _alone_s(url) * 1000)
            await world.pool_filled()
            first_s, second_s = await _session_s(world)
            session.append(first_s * 1000)
            again.append(second_s * 1000)
    ratios = [ours / theirs for ours, theirs in zip(session, by_hand, strict=True)]
    floors = [ours / theirs for ours, theirs in zip(alone, by_hand, strict=True)]
    return [
        Row("nothing → first word, warm", "ms", session, by_hand, "claude -p on the host"),
        Row("nothing → first word, warm", "ms", session, alone, "Claude Code alone, its second turn"),
        Row("… as a share of claude -p", "ratio", ratios, floors, "the same of Claude Code alone", limit=_TARGET),
        Row("a prompt to that session → first word", "ms", again, by_hand, "claude -p on the host"),
    ]


async def _session_s(world: World) -> tuple[float, float]:
    """Return the seconds from nothing to the first word, and from a second prompt to its first word."""
    began = time.perf_counter()
    created = await world.create(_PROMPT, limits={})
    listener = Listener()
    reading = asyncio.create_task(own_socket(created)(listener), name="first token")
    try:
        await listener.until(is_text_delta)
        first_s = time.perf_counter() - began
        await listener.until(is_result)
        seen, began = len(listener.received), time.perf_counter()
        await world.api.post(created["id"], "/input", {"input": _PROMPT})
        await listener.until(is_text_delta, since=seen)
        return first_s, time.perf_counter() - began
    finally:
        reading.cancel()
        await world.api.delete(created["id"])


async def _alone_s(url: str) -> float:
    """Return the seconds from a prompt to its first word, of a process without Jelmore that has had a turn."""
    with tempfile.TemporaryDirectory(prefix="jb", ignore_cleanup_errors=True) as home:
        options = ClaudeAgentOptions(
            cwd=home,
            setting_sources=[],
            system_prompt={"type": "preset", "preset": "claude_code"},
            include_partial_messages=True,
            env={
                "HOME": home,
                "CLAUDE_CONFIG_DIR": f"{home}/.claude",
                "ANTHROPIC_BASE_URL": url,
                "ANTHROPIC_API_KEY": "none",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            },
        )
        async with asyncio.timeout(_MOST_S):
            client = ClaudeSDKClient(options)
            try:
                await client.connect()
                await _first_word_s(client)
                return await _first_word_s(client)
            finally:
                await client.disconnect()


async def _first_word_s(client: ClaudeSDKClient) -> float:
    began, word_s = time.perf_counter(), 0.0
    await client.query(_PROMPT)
    async for message in client.receive_response():
        event = message.event if isinstance(message, StreamEvent) else {}
        if not word_s and event.get("delta", {}).get("type") == "text_delta":
            word_s = time.perf_counter() - began
    return word_s


async def _claude_s(url: str) -> float:
    """Run the Claude Code of the SDK with the same prompt until its first word."""
    words = ("-p", _PROMPT, "--output-format", "stream-json", "--verbose", "--include-partial-messages")
    with tempfile.TemporaryDirectory(prefix="jb", ignore_cleanup_errors=True) as home:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": "none",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            str(files("claude_agent_sdk").joinpath("_bundled/claude")),
            *words,
            cwd=home,
            env=environment,
            limit=_LINE_BYTES,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_MOST_S):
                assert process.stdout is not None
                async for line in process.stdout:
                    if b'"text_delta"' in line:
                        return time.perf_counter() - began
            raise RuntimeError("claude -p said nothing")
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@asynccontextmanager
async def demo_model() -> AsyncIterator[str]:
    """The demo model on a port: `claude` by itself uses no socket."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "jelmore_demo", "--listen", f"tcp:127.0.0.1:{port}"
    )
    try:
        async with asyncio.timeout(_MOST_S), httpx.AsyncClient(trust_env=False) as client:
            while True:
                try:
                    await client.get(f"http://127.0.0.1:{port}/")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()
