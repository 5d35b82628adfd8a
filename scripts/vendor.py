"""Vendor the dashboard's browser libraries: fetch, verify, write. `--check` only compares files with the lock, offline.

`web/vendor/lock.json` names each package with its version, the integrity that npm publishes, its licence, and the files
taken from it with the SHA-256 of what is committed. Imports by package name become imports by path, so that the page
needs no import map.
"""

import base64
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

VENDOR: Final = Path(__file__).resolve().parent.parent / "session-manager/src/jelmore/web/vendor"
LOCK: Final = VENDOR / "lock.json"
_IMPORT: Final = re.compile(rb'(\bfrom\s*|\bimport\s*)(["\'])([@a-z][^"\']*)\2')


def main() -> int:
    """Write or compare. Returns the exit status."""
    lock: list[dict[str, Any]] = json.loads(LOCK.read_text())
    if "--check" in sys.argv[1:]:
        return _check(lock)
    targets = {package["as"]: file["to"] for package in lock for file in package["files"] if file.get("main")}
    targets |= {file["as"]: file["to"] for package in lock for file in package["files"] if "as" in file}
    with tempfile.TemporaryDirectory() as folder:
        for package in lock:
            _vendor(package, targets, Path(folder))
    LOCK.write_text(json.dumps(lock, indent=2) + "\n")
    return _check(lock)


def _vendor(package: dict[str, Any], targets: dict[str, str], folder: Path) -> None:
    spec = f"{package['name']}@{package['version']}"
    packed = subprocess.run(
        ["npm", "pack", "--silent", "--pack-destination", str(folder), spec],
        check=True, text=True, capture_output=True, timeout=120,
    )  # fmt: skip
    archive = folder / packed.stdout.strip().splitlines()[-1]
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    found = f"sha512-{digest}"
    if package.setdefault("integrity", found) != found:
        raise SystemExit(f"{spec}: the archive is {found}, the lock says {package['integrity']}")
    with tarfile.open(archive) as tar:
        for file in package["files"]:
            member = tar.extractfile(f"package/{file['from']}")
            if member is None:
                raise SystemExit(f"{spec}: has no {file['from']}")
            content = _rewritten(member.read(), targets)
            target = VENDOR / file["to"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            file["sha256"] = hashlib.sha256(content).hexdigest()


def _rewritten(content: bytes, targets: dict[str, str]) -> bytes:
    def path(match: re.Match[bytes]) -> bytes:
        name = match[3].decode()
        if name not in targets:
            raise SystemExit(f"imports {name}, which the lock does not have")
        return match[1] + match[2] + f"./{targets[name]}".encode() + match[2]

    content = re.sub(rb"\n?//# sourceMappingURL=\S*\s*$", b"\n", content)
    return _IMPORT.sub(path, content)


def _check(lock: list[dict[str, Any]]) -> int:
    wanted = {file["to"]: file["sha256"] for package in lock for file in package["files"]}
    there = {
        str(path.relative_to(VENDOR)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path != LOCK
    }
    wrong = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
    for name in wrong:
        print(f"web/vendor/{name} is not what its lock says; run 'make vendor'", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
