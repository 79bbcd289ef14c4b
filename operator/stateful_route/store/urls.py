"""URLs of stores: what is in one, and how it is shown."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.connection import URL_QUERY_ARGUMENT_PARSERS

SCHEMES = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel")
DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379


def redacted(url: str) -> str:
    """The URL (or a message with one in it) without its password."""
    url = re.sub(r"([?&][^=&#]*pass[^=&#]*=)[^&#\s]*", r"\1***", url, flags=re.IGNORECASE)
    head, at, tail = url.rpartition("@")
    if not at:
        return url
    before, slashes, login = head.partition("://")
    if not slashes:
        before, login = "", head
    user = login.partition(":")[0]
    return f"{before}{slashes}{user}:***@{tail}" if ":" in login else f"{before}{slashes}{login}@{tail}"


class UrlError(ValueError):
    """Our own complaint: other errors of a URL's parser may quote a part of its password."""


class UrlParts(NamedTuple):
    """A URL with several hosts, taken apart.

    Attributes:
        hosts: Name and port of each.
        path: Without the slashes around it.
        login: User, password and TLS, as redis-py's clients take them; empty: none of these.
        query: Options for redis-py's clients.
    """

    hosts: list[tuple[str, int]]
    path: str
    login: dict[str, Any]
    query: dict[str, Any]


def url_parts(url: str, default_port: int) -> UrlParts:
    """Take apart the URL of a Cluster or of Sentinels.

    Raises:
        UrlError: a host is missing.
        ValueError: a port or an option is none.
    """
    split = urlsplit(url)
    login_text, _, hosts_text = split.netloc.rpartition("@")
    user, _, password = login_text.partition(":")
    login: dict[str, Any] = {}
    if login_text:
        login = {"username": unquote(user) or None, "password": unquote(password) or None}
    if url.startswith("rediss"):
        login["ssl"] = True
    hosts = []
    for host_text in hosts_text.split(","):
        host, colon, port = host_text.strip().rpartition(":")
        name, number = (host, port) if colon and port.isdigit() else (host_text.strip(), str(default_port))
        if not name:
            raise UrlError("a host is missing")
        hosts.append((name.strip("[]"), int(number)))
    return UrlParts(hosts, split.path.strip("/"), login, _options(split.query))


def _options(query: str) -> dict[str, Any]:
    """As redis-py reads them in the URL of one server."""
    parsers: Mapping[str, Callable[[str], Any]] = URL_QUERY_ARGUMENT_PARSERS  # type: ignore[assignment]
    return {name: parsers.get(name, str)(value) for name, value in parse_qsl(query)}
