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


KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"


def authority(folder: Path) -> Authority:
    """For 127.0.0.1, valid for a day."""
    folder.mkdir()
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    may_sign = "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign"
    openssl(f"req -x509 -days 1 -subj /CN=test-ca {KEY} {may_sign} -keyout ca.key -out ca.pem", folder)
    made = Authority(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    renew(made)
    return made


def renew(files: Authority) -> None:
    """Another key for the server, and a certificate for it of the same authority, in the same files."""
    folder = files.ca.parent
    openssl(f"req -subj /CN=127.0.0.1 {KEY} -keyout server.key -out server.csr", folder)
    signed = "-CA ca.pem -CAkey ca.key -CAcreateserial -extfile names"
    openssl(f"x509 -req -days 1 -in server.csr {signed} -out server.pem", folder)
