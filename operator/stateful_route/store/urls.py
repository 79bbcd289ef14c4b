"""URLs of stores: what is in one, and how it is shown."""

import re
from itertools import takewhile
from typing import Any, NamedTuple
from urllib.parse import unquote

from stateful_route.domain.address import is_ipv6
from stateful_route.store.credentials import FILES, with_files
from stateful_route.store.url_settings import (
    UrlError,
    begins_with_a_setting,
    decoded,
    has_setting,
    is_cluster,
    is_sentinel,
    is_tls,
    read_settings,
    sentinel_arguments,
    shown_settings,
)

__all__ = [
    "DEFAULT_PORT",
    "DEFAULT_SENTINEL_PORT",
    "SCHEMES",
    "UrlError",
    "UrlParts",
    "reads_login",
    "redacted",
    "url_parts",
]

SCHEMES = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel")
DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379
MAX_PORT = 65535

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_PARTS = re.compile(r"(?P<front>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?P<fragment>#.*)?", re.DOTALL)
_HOST = re.compile(r"(?P<name>\[[\w:.%-]+\]|[\w.%~-]*)(?::(?P<port>[0-9]{0,5}))?")
_BARE_IPV6 = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(%[\w.%-]+)?(:[0-9]+)?")
"""What may be meant for an IPv6 address without brackets, perhaps with a port behind it."""
_HIDDEN = "***"


class UrlParts(NamedTuple):
    """A store's URL, taken apart.

    Attributes:
        hosts: Name and port of each; none for ``unix://``.
        path: Without the slashes around it; that of a socket as it is. A database in it is in ``query`` too,
            if there is one server.
        login: ``username`` and ``password``, or a ``credential_provider`` that reads files, and ``ssl``, as redis-py's
            clients take them; empty: none of these.
        query: The other settings, each as its type, for redis-py's clients.
        sentinel: How Sentinels themselves are reached, for redis-py's client of one: ``username``, ``password``,
            ``ssl``, ``ssl_ca_certs`` …; empty: without a login and without TLS.
    """

    hosts: list[tuple[str, int]]
    path: str
    login: dict[str, Any]
    query: dict[str, Any]
    sentinel: dict[str, Any]


def url_parts(url: str, default_port: int) -> UrlParts:
    """Take apart the URL of a store.

    Args:
        url: With one of the `SCHEMES`.
        default_port: Of hosts without one.

    Raises:
        UrlError: a host, port, path or setting that is none, in words that have no value of a setting in them.
    """
    scheme, _, rest = url.strip().partition("://")
    front, path, query, fragment = _split(rest)
    if "@" in path + query + fragment:
        raise UrlError(
            "there is an @ behind the host: in a password write / as %2F, ? as %3F and # as %23, elsewhere @ as %40"
        )
    if fragment:
        raise UrlError("a # is written as %23")
    login_text, at, hosts_text = front.rpartition("@")
    settings = read_settings(query, scheme)
    sentinel = sentinel_arguments(settings, tls=is_tls(scheme)) if is_sentinel(scheme) else {}
    login = _login(login_text, settings) if at else {}
    login |= {name: settings.pop(name) for name in (*FILES, *FILES.values()) if name in settings}
    login = with_files(login)
    if is_tls(scheme):
        login["ssl"] = True
    settings = {name: value for name, value in settings.items() if not name.startswith("sentinel_")}
    hosts = _hosts(scheme, hosts_text, default_port)
    return UrlParts(hosts, _path(scheme, decoded(path, unquote), settings), login, settings, sentinel)


def reads_login(url: str) -> bool:
    """Whether a user or password is read from a file of this machine; False, too, for what is no valid URL.

    Whoever can name both a file and a host is sent the file's content.
    """
    try:
        parts = url_parts(url, DEFAULT_PORT)
    except ValueError:
        return False
    return any("credential_provider" in arguments for arguments in (parts.login, parts.sentinel))


def redacted(url: str) -> str:
    """A URL as messages show it, whether it is a valid one or not.

    No password is in it, no value of a setting that may be a secret, and nothing that would be a part of one if a
    character of a password was not %-encoded.
    """
    scheme, slashes, rest = url.strip().partition("://")
    if not slashes or not _SCHEME.fullmatch(scheme):
        return _HIDDEN if url.strip() else ""
    front, path, query, fragment = _split(rest)
    behind = rest[len(front) :]
    if "@" in path or ("@" in behind and not begins_with_a_setting(query)):  # a character of the password cuts it
        user = _shown_login(front.partition("@")[0])
        where = _HIDDEN if "@" in front or "=" in behind else _shown_hosts(behind.rpartition("@")[2])
        return f"{scheme}://{user}@{where}"
    login, at, hosts = front.rpartition("@")
    elsewhere = has_setting(query, "password") or has_setting(query, FILES["password"])
    who = f"{_shown_login(login, password_elsewhere=elsewhere) if login else ''}{at}"
    where = _shown_hosts(hosts, ports="@" not in behind) + _shown_path(scheme, path)
    settings = f"?{shown_settings(query)}" if query else ""
    return f"{scheme}://{who}{where}{settings}{'#' + _HIDDEN if fragment else ''}"


def _split(rest: str) -> tuple[str, str, str, str]:
    """Login and hosts, path, query without its ``?``, fragment with its ``#``; empty where there is none."""
    parts = _PARTS.fullmatch(rest)
    assert parts is not None  # noqa: S101  it matches each text
    return parts["front"], parts["path"], parts["query"] or "", parts["fragment"] or ""


def _login(text: str, settings: dict[str, Any]) -> dict[str, Any]:
    user, _, password = text.partition(":")
    login = {"username": decoded(user, unquote) or None, "password": decoded(password, unquote) or None}
    for name, value in login.items():
        if value is None:
            continue
        if name in settings:
            raise UrlError(f"the {name} is given twice, before the host and as a setting")
        if FILES[name] in settings:
            raise UrlError(f"the {name} is given twice, before the host and by {FILES[name]}")
    return login


def _hosts(scheme: str, text: str, default_port: int) -> list[tuple[str, int]]:
    if scheme == "unix":
        if text:
            raise UrlError("the path of a socket begins behind three slashes: unix:///run/valkey/valkey.sock")
        return []
    several = is_cluster(scheme) or is_sentinel(scheme)
    texts = text.split(",")
    if len(texts) > 1 and not several:
        raise UrlError("several hosts are for redis+cluster:// and redis+sentinel:// alone")
    return [_host(one.strip(), default_port, "" if several else "localhost") for one in texts]


def _host(text: str, default_port: int, default_host: str) -> tuple[str, int]:
    parts = _HOST.fullmatch(text)
    if parts is None and _BARE_IPV6.fullmatch(text):
        raise UrlError("an IPv6 address stands in brackets: [fd00::5]:6379")
    if parts is None:
        raise UrlError(
            "the host and its port are not valid; if a password before them has one of @ : / ? #, it must be %-encoded"
        )
    name = decoded(parts["name"], unquote) or default_host
    port = int(parts["port"]) if parts["port"] else default_port
    if not name:
        raise UrlError("a host is missing")
    if not 0 < port <= MAX_PORT:
        raise UrlError(f"a port is a number from 1 to {MAX_PORT}")
    if name.startswith("["):
        if not is_ipv6(name[1:-1]):
            raise UrlError("what stands in brackets is no IPv6 address")
        return name[1:-1], port
    _check_name(name)
    return name, port


def _check_name(host: str) -> None:
    """See that it can be looked up at all: Python's own complaint would be no error of a connection."""
    try:
        host.encode("idna")
    except UnicodeError:
        raise UrlError("what should be the name of a host cannot be one") from None
    if any(character.isspace() or not character.isprintable() for character in host):
        raise UrlError("what should be the name of a host cannot be one")


def _path(scheme: str, path: str, settings: dict[str, Any]) -> str:
    """The path that counts; a database in it becomes the setting ``db`` of one server."""
    if scheme == "unix":
        if not path.strip("/"):
            raise UrlError("the path of the socket is missing")
        return path
    path = path.strip("/")
    _, slash, database = path.partition("/") if is_sentinel(scheme) else ("", "", path)
    if database and not (database.isascii() and database.isdigit()):
        where = "the second slash" if slash else "the slash"
        raise UrlError(f"what follows {where} must be the number of a database")
    if database and is_cluster(scheme) and int(database):
        raise UrlError("a Cluster has the database 0 alone")
    if database and "db" in settings:
        raise UrlError("the database is given twice, behind the slash and as the setting db")
    if database and not (is_cluster(scheme) or is_sentinel(scheme)):
        settings["db"] = int(database)
    return path


def _shown_login(login: str, *, password_elsewhere: bool = False) -> str:
    user, colon, password = login.partition(":")
    if password:
        return f"{user}:{_HIDDEN}"
    return f"{user}{colon}" if password_elsewhere else _HIDDEN  # alone it may be a password in the user's place


def _shown_hosts(text: str, *, ports: bool = True) -> str:
    hosts = [one.strip() for one in text.split(",")]
    right = list(takewhile(_HOST.fullmatch, hosts))
    shown = [_shown_host(one, ports) for one in hosts[: len(right) + 1]]  # what follows a wrong one may belong to it
    return ",".join(shown)


def _shown_host(text: str, ports: bool) -> str:
    parts = _HOST.fullmatch(text)
    if parts is not None and (ports or not parts["port"]):
        return text
    name, colon, _ = text.partition(":")
    return f"{name}:{_HIDDEN}" if colon and _HOST.fullmatch(name) else _HIDDEN


def _shown_path(scheme: str, path: str) -> str:
    known = {"unix": r".*"}.get(scheme, r"/?[^/]*(/[0-9]*)?" if is_sentinel(scheme) else r"/*[0-9]*/*")
    return path if re.fullmatch(known, path, re.DOTALL) else f"/{_HIDDEN}"
