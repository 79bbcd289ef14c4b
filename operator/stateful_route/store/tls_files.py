"""Which setting of a URL names what TLS cannot use: OpenSSL's own errors name no file."""

import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a connection's TLS reads from files, or from texts in the URL; None: there is none.

    Attributes:
        certfile: Path of the client's certificate.
        keyfile: Path of its key.
        password: The key's.
        ca_certs: Path of the authorities' certificates.
        ca_data: Their text.
        own: Those of these settings that the URL has for Sentinels alone, as ``sentinel_ssl_certfile`` ….
    """

    certfile: str | None
    keyfile: str | None
    password: str | None = field(repr=False)
    ca_certs: str | None
    ca_data: str | bytes | None
    own: Collection[str] = ()


def tls_files(connection: Any, own: Collection[str] = ()) -> TlsFiles | None:
    """Those of one of redis-py's connections, asynchronous or synchronous; None: it is one without TLS."""
    if (context := getattr(connection, "ssl_context", None)) is not None:
        return TlsFiles(context.certfile, context.keyfile, context.password, context.ca_certs, context.ca_data, own)
    if not hasattr(connection, "certificate_password"):
        return None
    password = connection.certificate_password
    return TlsFiles(connection.certfile, connection.keyfile, password, connection.ca_certs, connection.ca_data, own)


def faulty_setting(tls: TlsFiles) -> str:
    """The setting whose file or text TLS cannot use, as the URL has it; empty: all of them can be used by now."""
    name = _faulty(tls)
    names = (name, "ssl_password") if name == "ssl_keyfile" and tls.password else (name,)
    return " or ".join(f"sentinel_{each}" if each in tls.own else each for each in names)


def _faulty(tls: TlsFiles) -> str:
    for name, path in (("ssl_certfile", tls.certfile), ("ssl_keyfile", tls.keyfile), ("ssl_ca_certs", tls.ca_certs)):
        if path and not _is_readable(path):
            return name
    context = ssl.create_default_context()
    if (certfile := tls.certfile) is not None:
        if not _can(lambda: context.load_verify_locations(cafile=certfile)):
            return "ssl_certfile"
        password = tls.password or ""  # None would have OpenSSL ask at the terminal
        if not _can(lambda: context.load_cert_chain(certfile, tls.keyfile, password)):
            return "ssl_keyfile" if tls.keyfile else "ssl_certfile"
    if tls.ca_certs and not _can(lambda: context.load_verify_locations(cafile=tls.ca_certs)):
        return "ssl_ca_certs"
    if tls.ca_data and not _can(lambda: context.load_verify_locations(cadata=tls.ca_data)):
        return "ssl_ca_data"
    return ""


def _is_readable(path: str) -> bool:
    try:
        with Path(path).open("rb"):
            return True
    except OSError:
        return False


def _can(load: Callable[[], None]) -> bool:
    try:
        load()
    except (OSError, ValueError):  # OpenSSL's are OSErrors
        return False
    return True
