"""A Docker engine on TCP with the certificates of `scripts/engine-certificates`."""

import asyncio
import datetime as dt
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from jelmore.drivers.docker_engine import DockerEngine, EngineAddress, EngineError
from jelmore.drivers.docker_sandboxes import DockerSandboxes
from jelmore.drivers.paths import RunPaths
from jelmore.session.errors import DependencyError, RefusedError
from jelmore_engine_proxy.policy import Policy
from jelmore_engine_proxy.proxy import EngineProxy
from jelmore_engine_proxy.settings import Settings as ProxySettings
from jelmore_engine_proxy.settings import own_seccomp
from tests.support.engine_relay import ENGINE_SOCKET, RUNNER_IMAGE
from tests.support.stack import ROOT
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.docker]

READY_S: Final = 30.0


def _made(folder: Path, *names: str) -> Path:
    subprocess.run([ROOT / "scripts/engine-certificates", folder, *names], check=True, capture_output=True, timeout=30)
    return folder


@pytest.fixture(scope="module")
def certificates() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="jm-"))
    yield _made(made, "127.0.0.1")
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def dockerd(certificates: Path) -> Iterator[str]:
    """A second engine of this machine, without images. Its address.

    Its network is a namespace of its own: in this one, it would change the bridge and packet filter of the first.
    The socket is opened here and handed over, so it stays in the network of this process.
    """
    folder, tls = Path(tempfile.mkdtemp(prefix="jm-")), certificates / "server"
    listener = socket.create_server(("127.0.0.1", 0))
    command = ["dockerd", "--host=fd://", "--storage-driver=vfs", "--bridge=none", "--iptables=false"]
    command += ["--ip-forward=false", "--tlsverify", f"--tlscacert={tls}/ca.pem", f"--tlscert={tls}/cert.pem"]
    command += [f"--tlskey={tls}/key.pem", f"--data-root={folder}/data", f"--exec-root={folder}/exec"]
    command += [f"--pidfile={folder}/pid"]
    hand_over = f'exec 3<&{listener.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec unshare --net "$@"'
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["bash", "-c", hand_over, "bash", *command],
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[listener.fileno()],
        )
    try:
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


async def _version(address: EngineAddress) -> str:
    engine = DockerEngine(address)
    try:
        return str((await engine.call("GET", "version", within_s=5))["ApiVersion"])
    finally:
        await engine.close()


async def _ready(address: EngineAddress) -> None:
    async def answers() -> bool:
        try:
            return bool(await _version(address))
        except DependencyError:
            return False

    await until(answers, seconds=READY_S)


async def test_an_engine_on_tcp_is_reached_with_the_client_s_certificate_and_not_without(
    dockerd: str, certificates: Path, tmp_path: Path
) -> None:
    await _ready(EngineAddress(dockerd, tls=certificates / "client"))
    foreign = _made(tmp_path / "foreign", "127.0.0.1")
    mixed = tmp_path / "mixed"  # trusts the engine, and shows a certificate of another authority
    shutil.copytree(foreign / "client", mixed)
    shutil.copy(certificates / "ca" / "ca.pem", mixed / "ca.pem")
    as_server = tmp_path / "as-server"  # a certificate of this authority that is not for clients
    shutil.copytree(certificates / "server", as_server)
    expired = tmp_path / "expired"
    shutil.copytree(certificates / "client", expired)
    _expire(certificates / "ca", expired)
    for tls in (None, foreign / "client", mixed, as_server, expired):
        with pytest.raises((DependencyError, EngineError)):
            await _version(EngineAddress(dockerd, tls=tls))
    with pytest.raises(DependencyError):  # the name is not in the engine's certificate
        await _version(EngineAddress(dockerd.replace("127.0.0.1", "localhost"), tls=certificates / "client"))


def _expire(authority: Path, folder: Path) -> None:
    """Replace the client's certificate by one of the same authority that was valid until yesterday."""
    ca = x509.load_pem_x509_certificate((authority / "ca.pem").read_bytes())
    ca_key = serialization.load_pem_private_key((authority / "key.pem").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "expired")]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=2))
        .not_valid_after(now - dt.timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    pem = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, pem, serialization.NoEncryption()))


@pytest.fixture
async def before_the_engine(certificates: Path) -> AsyncIterator[str]:
    """The engine of these tests, with its image, behind the server's certificate. Its address."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "server/ca.pem"))
    context.load_cert_chain(certificates / "server/cert.pem", certificates / "server/key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    copies = set[asyncio.Task[None]]()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(str(ENGINE_SOCKET))
        for source, target in ((reader, back), (there, writer)):
            copies.add(asyncio.create_task(_copy(source, target), name="tls to the engine"))

    server = await asyncio.start_server(join, "127.0.0.1", 0, ssl=context)
    yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for copy in copies:
        copy.cancel()
    await asyncio.gather(*copies, return_exceptions=True)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    except OSError:
        pass
    finally:
        target.close()


@pytest.mark.parametrize("proxied", [False, True])
async def test_sandboxes_are_checked_over_tls_directly_and_through_the_proxy(
    before_the_engine: str, certificates: Path, tmp_path: Path, *, proxied: bool
) -> None:
    address, image = EngineAddress(before_the_engine, tls=certificates / "client"), RUNNER_IMAGE
    policy = Policy("tls", tmp_path, frozenset({image}), own_seccomp())
    proxy = EngineProxy(ProxySettings(tmp_path / "p.sock", before_the_engine, certificates / "client", policy))
    if proxied:
        await proxy.open()
        address = EngineAddress(f"unix://{tmp_path}/p.sock")
    sandboxes = DockerSandboxes(address, image=image, instance="tls", paths=RunPaths(tmp_path))
    await sandboxes.check()
    assert await sandboxes.found() == []
    await sandboxes.close()
    await proxy.close()


def test_certificates_are_renewed_under_the_same_authority_and_keys_stay_private(tmp_path: Path) -> None:
    first = _made(tmp_path / "made", "engine.example.net", "10.0.0.7", "fd00::7")
    before = {path: path.read_bytes() for path in first.rglob("*.pem")}
    _made(first, "engine.example.net")
    changed = {str(path.relative_to(first)) for path, data in before.items() if path.read_bytes() != data}
    assert changed == {f"{side}/{name}.pem" for side in ("server", "client") for name in ("cert", "key")}
    for path in first.rglob("key.pem"):
        assert path.stat().st_mode & 0o007 == 0
    renewed = x509.load_pem_x509_certificate((first / "server/cert.pem").read_bytes())
    names = renewed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["engine.example.net"]
    for bad in ("a,DNS:b", "*", "a b", "-x"):
        done = subprocess.run(
            [ROOT / "scripts/engine-certificates", tmp_path / "bad", bad], check=False, capture_output=True, text=True
        )
        assert (done.returncode, "neither a host name nor an address" in done.stderr) == (1, True)
    assert [each.name for each in tmp_path.iterdir()] == ["made"]


async def test_missing_certificates_are_named() -> None:
    engine = DockerEngine(EngineAddress("tcp://127.0.0.1:1", tls=Path("/nonexistent")))
    with pytest.raises(RefusedError, match="DOCKER_CERT_PATH /nonexistent"):
        await engine.call("GET", "version")
