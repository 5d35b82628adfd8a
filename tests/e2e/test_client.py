"""The Python client against the whole system."""

import asyncio
import os
import re
import sys

from tests.support.stack import ROOT
from tests.support.stack_client import Api


async def test_the_example_of_the_documentation_runs(quick_api: Api) -> None:
    example = re.search(r"```python\n(.*?)```", (ROOT / "docs/client.md").read_text(), re.DOTALL)
    assert example is not None
    environment = {**os.environ, "JELMORE_URL": quick_api.stack.url, "JELMORE_API_KEY": quick_api.stack.api_key}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", example[1], env=environment, cwd="/", stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(90):
        printed = (await process.communicate())[0].decode()
    assert process.returncode == 0
    first, *events = printed.splitlines()
    assert first.startswith("[demo model] ")
    numbers = [int(line.split()[0]) for line in events]
    assert numbers == list(range(1, len(numbers) + 1))
    assert " turn_ended " in events[-1]
