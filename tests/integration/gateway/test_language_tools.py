"""Go, Maven and Gradle on this machine, with a session's proxy variables, over TLS with an authority of the test.

The hosts are plain files on loopback behind the proxy: that is all that a Go module proxy and a Maven repository are.
"""

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from jelmore_runner.egress import proxy_environment
from tests.integration.gateway.egress_world import World, internet, issue, server_context
from tests.integration.gateway.tools import TOOL_S, files, run, works
from tests.support.package_hosts import go_module_proxy, maven_repository, written

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@asynccontextmanager
async def host(tmp_path: Path, name: str, served: Path) -> AsyncIterator[tuple[World, Path]]:
    """Yield a proxy that lets a host pass which serves files over TLS, and the certificate of that host's authority."""
    certificate = issue(tmp_path, name)
    async with internet("custom", name) as world:
        world.internet.host(name)
        await world.serve(files(served), 443, tls=server_context(certificate))
        yield world, certificate[0]


@pytest.mark.skipif(not works(["go", "version"]), reason="go is not here (Debian: golang-go)")
async def test_go_downloads_a_module_where_the_host_is_allowed(tmp_path: Path) -> None:
    served, project = tmp_path / "served", tmp_path / "project"
    go_module_proxy(served)
    written(project / "go.mod", "module mine.example/mine\n\ngo 1.18\n\nrequire mod.example/tiny v1.0.0\n")
    async with host(tmp_path, "go.example", served) as (world, authority):
        settings = {
            "GOPROXY": "https://go.example",
            "GOSUMDB": "off",
            "GOFLAGS": "-mod=mod -modcacherw",
            "SSL_CERT_FILE": str(authority),
        }
        command = ["go", "mod", "download", "mod.example/tiny"]
        code, printed = await run(world, command, project, GOPATH=str(tmp_path / "first"), **settings)
        assert code == 0, printed
        assert (tmp_path / "first" / "pkg" / "mod" / "mod.example" / "tiny@v1.0.0" / "tiny.go").exists()
        assert world.records == []
        assert world.internet.lookups
        await world.settled(0)
        world.allow("none")
        code, printed = await run(world, command, project, GOPATH=str(tmp_path / "second"), **settings)
        assert code != 0
        assert "this session" in printed or "Forbidden" in printed or "network" in printed, printed
        assert set(world.reasons()) == {"no_network"}


def trusting(world: World, authority: Path) -> dict[str, str]:
    """Return the session's options of Java with an authority in addition, which its own images would have."""
    store = authority.with_name("trusted.p12")
    if not store.exists():
        words = ["-importcert", "-noprompt", "-alias", "test", "-storetype", "PKCS12", "-storepass", "changeit"]
        command = ["keytool", *words, "-keystore", str(store), "-file", str(authority)]
        subprocess.run(command, check=True, capture_output=True, timeout=TOOL_S)
    options = f"-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStorePassword=changeit"
    return {"JAVA_TOOL_OPTIONS": f"{proxy_environment(world.port)['JAVA_TOOL_OPTIONS']} {options}"}


@pytest.mark.skipif(not works(["mvn", "--version"]), reason="maven is not here (Debian: maven)")
async def test_maven_downloads_a_parent_and_a_library_where_the_host_is_allowed(tmp_path: Path) -> None:
    served, project = tmp_path / "served", tmp_path / "project"
    maven_repository(served)
    mirror = "<mirror><id>here</id><mirrorOf>*</mirrorOf><url>https://maven.example/</url></mirror>"
    written(project / "settings.xml", f"<settings><mirrors>{mirror}</mirrors></settings>")
    named = "<groupId>example</groupId><artifactId>{}</artifactId><version>1.0</version>"
    extension = f"<build><extensions><extension>{named.format('tiny')}</extension></extensions></build>"
    parent = f"<parent>{named.format('parent')}<relativePath/></parent>"
    written(
        project / "pom.xml",
        f"<project><modelVersion>4.0.0</modelVersion>{parent}<artifactId>mine</artifactId>"
        f"<packaging>pom</packaging>{extension}</project>",
    )

    def command(repository: str) -> list[str]:
        return ["mvn", "-B", "-s", "settings.xml", f"-Dmaven.repo.local={tmp_path / repository}", "validate"]

    async with host(tmp_path, "maven.example", served) as (world, authority):
        java = trusting(world, authority)
        code, printed = await run(world, command("first"), project, **java)
        assert code == 0, printed
        assert (tmp_path / "first" / "example" / "tiny" / "1.0" / "tiny-1.0.jar").stat().st_size > 0
        assert world.records == []
        assert set(world.internet.lookups) == {"maven.example"}
        await world.settled(0)
        world.allow("none")
        code, printed = await run(world, command("second"), project, **java)
        assert code != 0
        assert "403" in printed
        assert set(world.reasons()) == {"no_network"}


BUILD: Final = """
repositories { maven { url 'https://maven.example/' } }
configurations { tiny }
dependencies { tiny 'example:tiny:1.0' }
task fetch { doLast { configurations.tiny.files.each { println "got ${it.name}" } } }
"""


@pytest.mark.skipif(shutil.which("gradle") is None, reason="gradle is not here (Debian: gradle)")
async def test_gradle_downloads_a_library_where_the_host_is_allowed(tmp_path: Path) -> None:
    served, project = tmp_path / "served", tmp_path / "project"
    maven_repository(served)
    written(project / "build.gradle", BUILD)
    written(project / "settings.gradle", "rootProject.name = 'mine'\n")
    command = ["gradle", "--no-daemon", "--quiet", "fetch"]
    async with host(tmp_path, "maven.example", served) as (world, authority):
        java = trusting(world, authority)
        homes = [{"GRADLE_USER_HOME": str(tmp_path / name)} for name in ("first", "second")]
        code, printed = await run(world, command, project, **java, **homes[0])
        assert code == 0, printed
        assert "got tiny-1.0.jar" in printed
        assert world.records == []
        assert set(world.internet.lookups) == {"maven.example"}
        await world.settled(0)
        world.allow("none")
        code, printed = await run(world, command, project, **java, **homes[1])
        assert code != 0
        assert "403" in printed
        assert set(world.reasons()) == {"no_network"}
