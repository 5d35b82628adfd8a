"""Package managers in a sandbox, against a host on this machine that is plain files.

Its address is none of loopback, to which Go and Java never use a proxy.

The lean image has apt, and yarn and pnpm by npm. An image with the Debian packages cargo, golang-go, maven and
gradle has the others: JELMORE_RUNNER_PACKAGES adds them to an image, and JELMORE_RUNNER_IMAGE names it for this test.
"""

import functools
import http.server
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.e2e.test_network import Draining, run
from tests.support.package_hosts import (
    crate_registry,
    debian_repository,
    go_module_proxy,
    maven_repository,
    npm_registry,
)
from tests.support.stack import Stack
from tests.support.stack_client import Api
from tests.support.stack_fixtures import running
from tests.support.stack_quickstart import QuickStart

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(300)]

APT: Final = (
    "mkdir -p a/lists/partial a/archives/partial && touch a/status"
    " && echo 'deb [trusted=yes] http://{host}/deb/ ./' >a/sources.list"
    ' && o="-o Dir::Etc::sourcelist=$PWD/a/sources.list -o Dir::Etc::sourceparts=- -o Dir::State=$PWD/a'
    ' -o Dir::State::status=$PWD/a/status -o Dir::Cache=$PWD/a"'
    " && apt-get $o update -qq && cd a && apt-get $o download -qq tiny && dpkg-deb --field tiny_1.0_all.deb Package"
)
CARGO: Final = (
    "mkdir -p c/src c/.cargo && cd c && touch src/lib.rs && export CARGO_HOME=$PWD/home"
    " && printf '[registries.here]\\nindex = \"sparse+http://{host}/crates/index/\"\\n' >.cargo/config.toml"
    ' && printf \'[package]\\nname = "mine"\\nversion = "0.1.0"\\n[dependencies]\\n'
    'tiny = {{ version = "1", registry = "here" }}\\n\' >Cargo.toml'
    " && cargo fetch -q && ls home/registry/src/*/"
)
GO: Final = (
    "mkdir -p g && cd g && export GOPROXY=http://{host}/go GOSUMDB=off GOPATH=$PWD/p GOFLAGS='-mod=mod -modcacherw'"
    " && printf 'module mine.example/mine\\n\\ngo 1.18\\n\\nrequire mod.example/tiny v1.0.0\\n' >go.mod"
    " && go mod download mod.example/tiny && ls p/pkg/mod/mod.example"
)
MAVEN: Final = (
    "mkdir -p m && cd m && printf '<settings><mirrors><mirror><id>here</id><mirrorOf>*</mirrorOf>"
    "<url>http://{host}/maven/</url></mirror></mirrors></settings>' >settings.xml"
    " && printf '<project><modelVersion>4.0.0</modelVersion><parent><groupId>example</groupId>"
    "<artifactId>parent</artifactId><version>1.0</version><relativePath/></parent>"
    "<artifactId>mine</artifactId><packaging>pom</packaging></project>' >pom.xml"
    " && mvn -q -B -s settings.xml -Dmaven.repo.local=$PWD/r validate && ls r/example"
)
GRADLE: Final = (
    "mkdir -p j && cd j && export GRADLE_USER_HOME=$PWD/h && touch settings.gradle && printf '%s\\n'"
    " 'repositories {{ maven {{ url \"http://{host}/maven/\" }} }}' 'configurations {{ tiny }}'"
    " 'dependencies {{ tiny \"example:tiny:1.0\" }}'"
    " 'task build {{ doLast {{ println configurations.tiny.files*.name[0] }} }}' >build.gradle"
    " && gradle --no-daemon --quiet build 2>&1"
)
JAVA: Final = (
    "printf '%s\\n' 'import java.net.URI; import java.net.http.*; class Get {{ public static void main(String[] a)"
    " throws Exception {{ var got = HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(a[0])).build(),"
    ' HttpResponse.BodyHandlers.ofString()); System.out.println(got.statusCode() + " " + got.body().length()); }} }}\''
    " >Get.java && java Get.java http://{host}/maven/example/tiny/1.0/tiny-1.0.jar.sha1"
)
"""Java's own client, which Maven 4 uses in place of Apache's."""

YARN: Final = (
    "npm install -g --silent --no-audit --no-fund {packed}/yarn.tgz && mkdir y && cd y && echo '{{}}' >package.json"
    " && yarn add tiny --silent --registry http://{host}/npm/ --non-interactive --no-lockfile && node node_modules/tiny"
)
PNPM: Final = (
    "npm install -g --silent --no-audit --no-fund {packed}/pnpm.tgz && mkdir p && cd p && echo '{{}}' >package.json"
    " && pnpm add tiny --silent --registry http://{host}/npm/ && node node_modules/tiny"
)
TOOLS: Final = {
    "apt-get": (APT, "tiny"),
    "cargo": (CARGO, "tiny-1.0.0"),
    "go": (GO, "tiny@v1.0.0"),
    "mvn": (MAVEN, "parent"),
    "gradle": (GRADLE, "tiny-1.0.jar"),
    "java": (JAVA, "200 40"),
    "yarn": (YARN, "tiny"),
    "pnpm": (PNPM, "tiny"),
}
PACKED: Final = {"yarn": "yarn@1.22.22", "pnpm": "pnpm@10.12.1"}


@pytest.fixture(scope="module")
def address() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))  # sends nothing; the kernel chooses the address
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(asking.getsockname()[0])


@pytest.fixture(scope="module")
def allowing(runner_image: None, address: str) -> Iterator[Stack]:
    """A quick start whose sessions may reach this machine, where they list it."""
    settings = {"JELMORE_EGRESS_ALLOWED_NETWORKS": f"{address}/32"}
    if image := os.environ.get("JELMORE_RUNNER_IMAGE"):
        settings["JELMORE_RUNNER_IMAGE"] = image
    yield from running(QuickStart(own_model=False, **settings))


@pytest_asyncio.fixture
async def api(allowing: Stack) -> AsyncIterator[Api]:
    calls = Api(allowing)
    yield calls
    await calls.close()


@pytest.fixture(scope="module")
def hosted(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A host with a Debian repository, and registries of crates, npm packages and Go modules, as HOST:PORT."""
    folder = tmp_path_factory.mktemp("host")
    handler = functools.partial(Draining, directory=str(folder))
    with http.server.ThreadingHTTPServer((address, 0), handler) as server:
        authority = f"{address}:{server.server_port}"
        for name in ("deb", "crates", "npm", "go", "maven"):
            (folder / name).mkdir()
        if shutil.which("dpkg-deb"):
            debian_repository(folder / "deb")
        crate_registry(folder / "crates", f"http://{authority}/crates")
        npm_registry(folder / "npm", f"http://{authority}/npm")
        go_module_proxy(folder / "go")
        maven_repository(folder / "maven")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield authority, folder
        server.shutdown()
        thread.join()


def pack(package: str, folder: Path, name: str) -> None:
    """Put a package manager's own package on the host. Skips the test where it cannot be fetched."""
    if (folder / name).exists():
        return
    if shutil.which("npm") is None:
        pytest.skip("npm is not here to fetch the package manager")
    command = ["npm", "pack", "--silent", package]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        pytest.skip(f"{package} cannot be fetched here")
    (folder / done.stdout.split()[-1]).rename(folder / name)


@pytest.mark.parametrize("tool", TOOLS)
async def test_a_package_manager_in_a_sandbox_installs_where_the_policy_allows_the_host(
    api: Api, hosted: tuple[str, Path], tool: str
) -> None:
    host, folder = hosted
    if tool == "apt-get" and not (folder / "deb" / "Packages").exists():
        pytest.skip("dpkg-deb is not here to make a package")
    if tool in PACKED:
        pack(PACKED[tool], folder, f"{tool}.tgz")
    session = await api.create(allowed_tools=["Bash"], network={"mode": "custom", "allow": [host]})
    if tool not in PACKED and not (await run(api, session, f"command -v {tool}")).startswith("/"):
        pytest.skip(f"the image has no {tool}")
    command, expected = TOOLS[tool]
    printed = await run(api, session, command.format(host=host, packed=f"http://{host}"))
    assert printed.endswith(expected), printed
