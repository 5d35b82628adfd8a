"""`python -m tests.support.record_client_hellos`: keep the first bytes that TLS clients on this machine send.

They are the fixtures of `tests/unit/gateway/test_client_hello.py`, which needs none of these programs.
"""

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from jelmore_gateway.egress.client_hello import read_client_hello

FOLDER: Final = Path(__file__).resolve().parents[1] / "recordings" / "client_hellos"
NAME: Final = "example.org"
_WAIT_S: Final = 60.0
POLICY: Final = Path("/etc/chromium/policies/managed/jelmore.json")
"""What the image of sandboxes has, so that Chromium offers no encrypted ClientHello."""

_NODE: Final = "require('tls').connect({host:'127.0.0.1',port:%d,servername:'example.org'}).on('error',()=>{})"
_GO: Final = """package main
import "crypto/tls"
func main() { tls.Dial("tcp", "127.0.0.1:%d", &tls.Config{ServerName: "example.org"}) }
"""
_JAVA: Final = """import javax.net.ssl.*;
public class Hello { public static void main(String[] a) throws Exception {
  SSLSocket s = (SSLSocket) SSLSocketFactory.getDefault().createSocket("127.0.0.1", %d);
  SSLParameters p = s.getSSLParameters(); p.setServerNames(java.util.List.of(new SNIHostName("example.org")));
  s.setSSLParameters(p); s.startHandshake(); } }
"""


def commands(port: int, folder: Path) -> Mapping[str, list[str]]:
    """Return a command for each client that connects to a port of this machine and asks for example.org."""
    (folder / "hello.go").write_text(_GO % port)
    (folder / "Hello.java").write_text(_JAVA % port)
    url = f"https://{NAME}:{port}/"
    chromium = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'chromium'}"]
    rules = f"--host-resolver-rules=MAP {NAME} 127.0.0.1"
    return {
        "openssl": ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", NAME],
        "curl": ["curl", "--noproxy", "*", "--resolve", f"{NAME}:{port}:127.0.0.1", url],
        "gnutls": ["gnutls-cli", "--insecure", "--sni-hostname", NAME, "-p", str(port), "127.0.0.1"],
        "node": ["node", "-e", _NODE % port],
        "go": ["go", "run", str(folder / "hello.go")],
        "java": ["java", str(folder / "Hello.java")],
        f"chromium{'-with-policy' * POLICY.exists()}": ["chromium", *chromium, rules, "--dump-dom", url],
    }


def recorded(name: str) -> bytes:
    """Run one client and return the first bytes that it sends: exactly its ClientHello. Raises OSError, ValueError."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_WAIT_S)
        command = commands(server.getsockname()[1], Path(folder))[name]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder
        ) as client:
            try:
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(_WAIT_S)
                    data = b""
                    while isinstance(read_client_hello(data), int):
                        piece = connection.recv(65536)
                        if not piece:
                            raise ConnectionError(f"{name} closed after {len(data)} bytes")
                        data += piece
                    return data
            finally:
                client.kill()


def main() -> None:
    """Record each client that is here."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, command in commands(1, Path(tempfile.mkdtemp())).items():
        if shutil.which(command[0]) is None:
            print(f"{name}: {command[0]} is not here", file=sys.stderr)
            continue
        hello = recorded(name)
        (FOLDER / f"{name}.bin").write_bytes(hello)
        print(f"{name}: {len(hello)} bytes, {read_client_hello(hello)}", file=sys.stderr)


if __name__ == "__main__":
    main()
