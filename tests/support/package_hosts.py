"""Folders that stand in for the hosts of package managers: each of them is plain files."""

import base64
import hashlib
import io
import json
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Final


def written(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def debian_repository(folder: Path) -> None:
    """Make a repository with one package, as apt wants it."""
    control = folder / "tiny" / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    about = (
        "Package: tiny\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: tiny\n"
    )
    control.write_text(about)
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", "tiny", "tiny.deb"], cwd=folder, check=True)
    package = (folder / "tiny.deb").read_bytes()
    digest = hashlib.sha256(package).hexdigest()
    (folder / "Packages").write_text(f"{about}Filename: ./tiny.deb\nSize: {len(package)}\nSHA256: {digest}\n")


def crate_registry(folder: Path, url: str) -> None:
    """Make a sparse registry with one crate, which is served under `url`."""
    with tarfile.open(folder / "tiny-1.0.0.crate", "w:gz") as crate:
        manifest = '[package]\nname = "tiny"\nversion = "1.0.0"\nedition = "2021"\n'
        for name, text in (("Cargo.toml", manifest), ("src/lib.rs", "pub fn tiny() {}\n")):
            entry = tarfile.TarInfo(f"tiny-1.0.0/{name}")
            entry.size = len(text)
            crate.addfile(entry, io.BytesIO(text.encode()))
    digest = hashlib.sha256((folder / "tiny-1.0.0.crate").read_bytes()).hexdigest()
    index = folder / "index"
    (index / "ti" / "ny").mkdir(parents=True)
    (index / "config.json").write_text(json.dumps({"dl": url + "/{crate}-{version}.crate"}))
    version = {"name": "tiny", "vers": "1.0.0", "deps": [], "cksum": digest, "features": {}, "yanked": False}
    (index / "ti" / "ny" / "tiny").write_text(json.dumps(version) + "\n")


def npm_registry(folder: Path, url: str) -> None:
    """Make a registry with one package, which is served under `url`."""
    package = {"name": "tiny", "version": "1.0.0"}
    with tarfile.open(folder / "tiny-1.0.0.tgz", "w:gz") as bundle:
        for name, text in (("package.json", json.dumps(package)), ("index.js", "console.log('tiny')")):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            bundle.addfile(entry, io.BytesIO(text.encode()))
    content = (folder / "tiny-1.0.0.tgz").read_bytes()
    dist = {
        "tarball": f"{url}/tiny-1.0.0.tgz",
        "shasum": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode(),
    }
    times = {"created": "2020-01-01T00:00:00.000Z", "1.0.0": "2020-01-01T00:00:00.000Z"}
    listing = {"name": "tiny", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {**package, "dist": dist}}}
    (folder / "tiny").write_text(json.dumps({**listing, "time": times}))


def go_module_proxy(folder: Path) -> None:
    """Make a module proxy with one module."""
    versions = folder / "mod.example" / "tiny" / "@v"
    module = "module mod.example/tiny\n\ngo 1.18\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("mod.example/tiny@v1.0.0/go.mod", module)
        bundle.writestr("mod.example/tiny@v1.0.0/tiny.go", 'package tiny\n\nconst Word = "tiny"\n')
    written(versions / "list", "v1.0.0\n")
    written(versions / "v1.0.0.info", json.dumps({"Version": "v1.0.0", "Time": "2020-01-01T00:00:00Z"}))
    written(versions / "v1.0.0.mod", module)
    written(versions / "v1.0.0.zip", archive.getvalue())


POM: Final = (
    "<project><modelVersion>4.0.0</modelVersion><groupId>{group}</groupId>"
    "<artifactId>{name}</artifactId><version>{version}</version><packaging>{packaging}</packaging></project>"
)


def maven_repository(folder: Path) -> None:
    """Make a repository with a parent and a library."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
    for group, name, version, packaging in (
        ("example", "parent", "1.0", "pom"),
        ("example", "tiny", "1.0", "jar"),
        ("org.codehaus.plexus", "plexus-utils", "1.1", "jar"),  # Maven wants it beside each extension
    ):
        at = folder / group.replace(".", "/") / name / version
        pom = POM.format(group=group, name=name, version=version, packaging=packaging).encode()
        for ending, content in {"pom": pom, **({"jar": archive.getvalue()} if packaging == "jar" else {})}.items():
            written(at / f"{name}-{version}.{ending}", content)
            written(at / f"{name}-{version}.{ending}.sha1", hashlib.sha1(content, usedforsecurity=False).hexdigest())
