"""An engine behind TLS with client certificates, as `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` describe it."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jelmore.drivers.docker_engine import DockerEngine, EngineAddress
from jelmore.session.errors import DependencyError, RefusedError

pytestmark = pytest.mark.integration

VERSION = b'{"ApiVersion":"1.41","MinAPIVersion":"1.12"}'


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificates(folder: Path) -> None:
    """Write an authority and one certificate that serves both ends."""
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "cert")}
    for name, key in keys.items():
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name("ca"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            # What Python 3.13 asks of a chain.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys["ca"].public_key()), critical=False)
            .add_extension(_usage(signs=name == "ca"), critical=True)
        )
        signed = builder.sign(keys["ca"], hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    secret = keys["cert"].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(secret)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


async def _engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request with the engine's version."""
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(VERSION)}\r\n\r\n"
            writer.write(head.encode() + VERSION)
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()


async def test_an_engine_is_reached_by_tls_with_a_certificate_and_not_without(tmp_path: Path) -> None:
    _certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(_engine, "127.0.0.1", 0, ssl=context)
    async with server:
        host = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        secure = DockerEngine(EngineAddress(host, tls=tmp_path))
        assert (await secure.call("GET", "version"))["ApiVersion"] == "1.41"
        await secure.close()
        plain = DockerEngine(EngineAddress(host))
        with pytest.raises(DependencyError):
            await plain.call("GET", "version", within_s=5)
        await plain.close()


async def test_missing_certificates_are_named() -> None:
    engine = DockerEngine(EngineAddress("tcp://127.0.0.1:1", tls=Path("/nonexistent")))
    with pytest.raises(RefusedError, match="DOCKER_CERT_PATH /nonexistent"):
        await engine.call("GET", "version")
