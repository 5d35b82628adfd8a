"""What a git command prints and unpacks is bounded, and a command that prints too much leaves nothing open."""

import asyncio
import hashlib
import resource
import struct
import zlib
from pathlib import Path

from jelmore_gateway import repositories
from jelmore_gateway.repositories import _Git
from jelmore_gateway.repository_rules import Source, git_environment


async def test_a_command_that_prints_without_end_is_ended_and_its_pipe_closed() -> None:
    process = await asyncio.create_subprocess_exec("yes", stdout=asyncio.subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await repositories._text_of(process, process.stdout) is None
        assert await process.wait() == -9
    assert process.stdout.at_eof()


def varint(number: int) -> bytes:
    """Return a length as git's deltas have it."""
    made = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        made.append(low | (0x80 if number else 0))
        if not number:
            return bytes(made)


def bomb(size: int) -> bytes:
    """Return a bundle of few kilobytes whose second object unpacks to `size` bytes: copies of the first one."""
    base = b"\0" * 0x10000
    packed_base = bytes((0x80 | 3 << 4, 0x80, 0x20)) + zlib.compress(base)  # a blob of 65,536 bytes
    delta = varint(len(base)) + varint(size) + b"\x80" * (size // len(base))  # each copies all of it
    head = bytes((6 << 4 | len(delta) & 15 | 0x80,)) + varint(len(delta) >> 4)
    pack = b"PACK" + struct.pack(">II", 2, 2) + packed_base
    pack += head + distance(len(packed_base)) + zlib.compress(delta)
    return b"# v2 git bundle\n" + b"a" * 40 + b" HEAD\n\n" + pack + hashlib.sha1(pack, usedforsecurity=False).digest()


def distance(number: int) -> bytes:
    """Return how far back the base of a delta is, as a pack has it."""
    made = [number & 0x7F]
    while number := number >> 7:
        number -= 1
        made.append(0x80 | number & 0x7F)
    return bytes(reversed(made))


async def test_a_bundle_that_unpacks_to_far_more_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    environment = git_environment(Source("https://x.example/a", "https", "x.example", 443, None), ["192.0.2.1"], None)
    git = _Git(tmp_path, environment, None, [], 2**30)
    await git.run("init", "-q", "--template=", "-b", "main")
    (tmp_path / "small").write_bytes(bomb(0x10000 * 16))
    code, _, errors = await git.outcome("bundle", "unbundle", str(tmp_path / "small"))
    assert "memory" not in errors, "what is small is unpacked; that its commit is missing is another matter"
    (tmp_path / "large").write_bytes(bomb(6 * 2**30))
    assert (tmp_path / "large").stat().st_size < 2**20
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    code, _, errors = await git.outcome("bundle", "unbundle", str(tmp_path / "large"))
    assert code != 0
    assert "out of memory" in errors.lower(), errors
    grown = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - before
    assert grown * 1024 < 2 * 2**30


async def test_git_is_what_the_kernel_ends_first(tmp_path: Path) -> None:
    git = _Git(tmp_path, {"GIT_CONFIG_NOSYSTEM": "1"}, None, [], 2**30)
    shell = "alias.look=!cat /proc/self/oom_score_adj; ulimit -c"
    assert (await git.run("-c", shell, "look")).split() == ["1000", "0"]
