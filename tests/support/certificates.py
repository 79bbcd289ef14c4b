"""Certificates for servers on this machine, made by openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority and a server's certificate that it has signed, as files."""

    ca: Path
    certificate: Path
    key: Path


def openssl(words: str, folder: Path) -> None:
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True, timeout=30)


def authority(folder: Path) -> Authority:
    """For 127.0.0.1, valid for a day."""
    folder.mkdir()
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    may_sign = "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign"
    openssl(f"req -x509 -days 1 -subj /CN=test-ca {key} {may_sign} -keyout ca.key -out ca.pem", folder)
    openssl(f"req -subj /CN=127.0.0.1 {key} -keyout server.key -out server.csr", folder)
    signed = "-CA ca.pem -CAkey ca.key -CAcreateserial -extfile names"
    openssl(f"x509 -req -days 1 -in server.csr {signed} -out server.pem", folder)
    return Authority(folder / "ca.pem", folder / "server.pem", folder / "server.key")
