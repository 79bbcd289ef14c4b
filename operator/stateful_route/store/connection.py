"""One connection layer for a single server, Sentinel and Redis Cluster: URLs, deadlines, and typed errors."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from redis import exceptions as rx
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from stateful_route.domain.errors import (
    AuthenticationFailed,
    InvalidArgument,
    StatefulRouteError,
    StoreRejected,
    StoreUnavailable,
)
from stateful_route.store.packing import pack_in_c
from stateful_route.store.scripts import Call

SCHEMES = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel")
DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379

UNLIMITED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How patient a client is; times are seconds."""

    timeout_seconds: float = 2.0
    """For connecting, and for each reply."""
    max_connections: int = 32
    """Per server; a call waits for a free one. On a Cluster they are not limited (redis-py would fail the call)."""


class Store:
    """A Redis or Valkey: one server, a Sentinel set or a Cluster, behind the same few calls.

    Waiting for a free connection, connecting and each reply end within the options' timeout. Nothing is retried here:
    whoever knows that a repeat is harmless does it.
    """

    def __init__(self, client: "Redis | RedisCluster", *, cluster: bool, label: str) -> None:
        self._client: Any = client
        self.cluster = cluster
        self.label = label
        """The URL without its password, for logs and messages."""

    @classmethod
    def from_url(cls, url: str, options: StoreOptions | None = None) -> Self:
        """A store for the URL; connects at the first call.

        ``redis://``, ``rediss://``, ``unix://``, ``redis+cluster://host:port,…`` and
        ``redis+sentinel://host:port,…/service`` (``rediss+…`` for TLS).

        Raises:
            InvalidArgument: a scheme or form that is none of these; the message has no password in it.
        """
        options = options or StoreOptions()
        label = redacted(url)
        common: dict[str, Any] = {
            "socket_timeout": options.timeout_seconds,
            "socket_connect_timeout": options.timeout_seconds,
            "protocol": 2,
            "encoding_errors": "surrogateescape",
            "retry": Retry(NoBackoff(), 0),
        }
        scheme = url.partition("://")[0]
        limits = {"max_connections": options.max_connections, "timeout": options.timeout_seconds}
        try:
            if scheme in {"redis", "rediss", "unix"}:
                pool: Any = BlockingConnectionPool.from_url(url, **limits, **common)
                pack_in_c(pool)
                pool.make_connection()  # without connecting: an option that redis-py does not know is found here
                return cls(Redis.from_pool(pool), cluster=False, label=label)
            if scheme in {"redis+cluster", "rediss+cluster"}:
                return cls(_cluster(url, common), cluster=True, label=label)
            if scheme in {"redis+sentinel", "rediss+sentinel"}:
                return cls(_sentinel(url, limits | common), cluster=False, label=label)
        except (ValueError, TypeError) as error:
            why = (
                str(error)
                if isinstance(error, _UrlError)
                else "look at its host, port and options, %-encode its password"
            )
            raise InvalidArgument(f"the store's URL {label!r} is not valid: {why}") from None
        raise InvalidArgument(
            f"the store's URL {label!r} must begin with one of: " + ", ".join(f"{s}://" for s in SCHEMES)
        )

    @property
    def publish(self) -> str:
        """The command by which scripts wake callers: a Cluster keeps channels in their slot."""
        return "SPUBLISH" if self.cluster else "PUBLISH"

    async def run(self, call: Call) -> Any:
        """Run one script; send its text when the server does not have it (a restart or failover loses scripts).

        Raises:
            StoreUnavailable, StoreRejected: see there.
        """
        keys, args = call.keys, call.args
        with translated(self.label), heeding_cancellation():
            await self._slots_known()
            try:
                return await self._client.execute_command("EVALSHA", call.script.sha, len(keys), *keys, *args)
            except rx.NoScriptError:
                return await self._client.execute_command("EVAL", call.script.source, len(keys), *keys, *args)

    async def run_many(self, calls: Sequence[Call]) -> list[Any]:
        """Run many scripts in one round trip (one per node of a Cluster); each reply is a value, or the error it got.

        Raises:
            StoreUnavailable: the connection broke; some of them may have run.
        """
        replies = await self.pipeline([("EVALSHA", c.script.sha, len(c.keys), *c.keys, *c.args) for c in calls])
        missing = [place for place, reply in enumerate(replies) if isinstance(reply, rx.NoScriptError)]
        if missing:
            sent: set[str] = set()
            repeats: list[tuple[Any, ...]] = []
            for place in missing:
                c = calls[place]
                first = self.cluster or c.script.sha not in sent
                sent.add(c.script.sha)
                how = ("EVAL", c.script.source) if first else ("EVALSHA", c.script.sha)
                repeats.append((*how, len(c.keys), *c.keys, *c.args))
            for place, reply in zip(missing, await self.pipeline(repeats), strict=True):
                replies[place] = reply
        return [as_ours(reply, self.label) if isinstance(reply, Exception) else reply for reply in replies]

    async def pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands in one round trip; each reply is a value or redis-py's error for it."""
        if not commands:
            return []
        with translated(self.label), heeding_cancellation():
            await self._slots_known()
            pipeline = self._client.pipeline() if self.cluster else self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, (rx.ConnectionError, rx.TimeoutError)):
                raise as_ours(reply, self.label)
        return replies

    async def command(self, *words: Any) -> Any:
        """One plain command; errors as with `run`."""
        with translated(self.label), heeding_cancellation():
            await self._slots_known()
            return await self._client.execute_command(*words)

    def scan(self, pattern: str, count: int) -> Any:
        """An async iterator over the keys (bytes) that match a glob pattern, on all primaries."""
        return self._client.scan_iter(match=pattern, count=count)

    async def close(self) -> None:
        """Close all connections; the store can be used again afterwards."""
        await self._client.aclose()

    async def _slots_known(self) -> None:
        if self.cluster:  # redis-py sends a first command that comes before it has asked for the slots to any node
            await self._client.initialize()


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


def as_ours(error: Exception, label: str) -> StatefulRouteError:
    """Our error for one of redis-py's; its message names the store, never a password."""
    if isinstance(error, rx.RedisClusterException) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # why no node could be asked for the slots
    text = str(error) or type(error).__name__
    if isinstance(error, (rx.AuthenticationError, rx.NoPermissionError, rx.AuthorizationError)) or text.startswith(
        ("NOAUTH", "WRONGPASS")
    ):
        return AuthenticationFailed(f"{label}: {text}")
    unavailable = (rx.ConnectionError, rx.TimeoutError, rx.BusyLoadingError, rx.ClusterError, rx.TryAgainError)
    if isinstance(error, (*unavailable, rx.RedisClusterException, OSError, TimeoutError)):
        return StoreUnavailable(f"{label}: {text}")
    return StoreRejected(f"{label}: {text}")


@contextmanager
def translated(label: str) -> Iterator[None]:
    """Turn redis-py's errors into ours, but for NOSCRIPT, which the callers above answer."""
    try:
        yield
    except rx.NoScriptError:
        raise
    except (rx.RedisError, rx.RedisClusterException, OSError) as error:
        raise as_ours(error, label) from error


@contextmanager
def heeding_cancellation() -> Iterator[None]:
    """End the task if it was cancelled meanwhile, although the calls within have gone through.

    `asyncio.wait_for`, by which redis-py sends, swallows a cancellation in Python 3.11 when the call that it wraps ends
    in the same turn of the loop; with long pipelines that is every other time, and a cancelled migration went on.
    """
    task = asyncio.current_task()
    asked = task.cancelling() if task else 0
    yield
    if task is not None and task.cancelling() > asked:
        raise asyncio.CancelledError


class _UrlError(ValueError):
    """Our own complaint: other errors of a URL's parser may quote a part of its password."""


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the primary that Sentinel names; waits for a free one."""


@dataclass(frozen=True, slots=True)
class _Parts:
    hosts: list[tuple[str, int]]
    path: str
    login: dict[str, Any]
    query: dict[str, str]


def _parts(url: str, default_port: int) -> _Parts:
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
            raise _UrlError("a host is missing")
        hosts.append((name.strip("[]"), int(number)))
    return _Parts(hosts, split.path.strip("/"), login, dict(parse_qsl(split.query)))


def _cluster(url: str, common: dict[str, Any]) -> RedisCluster:
    parts = _parts(url, DEFAULT_PORT)
    settings = {
        **common,
        **parts.login,
        "max_connections": UNLIMITED,
        "reinitialize_steps": 0,  # redis-py would close all connections after so many MOVED, under other tasks' calls
        **parts.query,
    }
    return RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in parts.hosts], **settings)


def _sentinel(url: str, common: dict[str, Any]) -> Redis:
    parts = _parts(url, DEFAULT_SENTINEL_PORT)
    name, _, db = parts.path.partition("/")
    if not name:
        raise _UrlError("the name of the service that Sentinel watches is missing (…/service)")
    patience = {name: common[name] for name in ("socket_timeout", "socket_connect_timeout", "protocol")}
    sentinel: Any = Sentinel(parts.hosts, sentinel_kwargs={**patience, "ssl": parts.login.get("ssl", False)})  # type: ignore[no-untyped-call]
    client: Redis = sentinel.master_for(
        name, connection_pool_class=_SentinelPool, db=int(db or 0), **common, **parts.login, **parts.query
    )
    pool: Any = client.connection_pool
    pool.make_connection()  # as above
    return client
