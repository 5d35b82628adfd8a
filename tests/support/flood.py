"""An attacker in a process of its own: `python -m tests.support.flood URL TOKEN SECONDS` keeps 30 WebSockets busy.

Each sends frames of 6 MiB with a token that may only read, and connects again as soon as it is disconnected. Prints how
many connections it made and how many bytes it sent.
"""

import asyncio
import sys
import time
from typing import Final

from websockets.asyncio.client import connect

_CONNECTIONS: Final = 30
_FRAME: Final = '{"type":"input","input":"' + "[]," * (2 * 1024 * 1024) + '"}'


async def flood(url: str, token: str, until_s: float) -> tuple[int, int]:
    """Return how many connections were made and how many bytes were handed over to them."""
    made = sent = 0
    while time.monotonic() < until_s:
        try:
            async with connect(
                url, additional_headers={"Authorization": f"Bearer {token}"}, compression=None, proxy=None
            ) as connection:
                made += 1
                while time.monotonic() < until_s:
                    await connection.send(_FRAME)
                    sent += len(_FRAME)
        except Exception:  # noqa: BLE001 - whatever ended the connection, an attacker connects again
            await asyncio.sleep(0.01)
    return made, sent


async def main(url: str, token: str, seconds: float) -> None:
    """Attack, then print the totals."""
    until_s = time.monotonic() + seconds
    totals = await asyncio.gather(*(flood(url, token, until_s) for _ in range(_CONNECTIONS)))
    print(sum(made for made, _ in totals), sum(sent for _, sent in totals))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
