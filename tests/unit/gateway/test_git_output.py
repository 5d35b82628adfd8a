"""What a git command prints is bounded, and a command that prints too much leaves nothing open."""

import asyncio

from jelmore_gateway import repositories


async def test_a_command_that_prints_without_end_is_ended_and_its_pipe_closed() -> None:
    process = await asyncio.create_subprocess_exec("yes", stdout=asyncio.subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await repositories._text_of(process, process.stdout) is None
        assert await process.wait() == -9
    assert process.stdout.at_eof()
