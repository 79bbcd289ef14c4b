"""One connection layer for a single server, Sentinel and Redis Cluster: deadlines, and typed errors."""

import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, Self

from redis import exceptions as rx
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from stateful_route.domain.errors import InvalidArgument, StatefulRouteError, StoreUnavailable
from stateful_route.domain.meter import COMMAND, READ, UNMETERED, WRITE, Meter
from stateful_route.domain.option_checks import check_age, check_count, check_kind, check_period
from stateful_route.domain.trust import Trust
from stateful_route.store.clients import (
    NodePool,
    Pool,
    cluster_client,
    discover,
    is_ready,
    known_places,
    own_connection,
)
from stateful_route.store.discovery import SENTINEL_LOOK_SECONDS, Asking, Seeds, Sentinels, led
from stateful_route.store.failures import FAILURES, as_ours, raise_broken, translated
from stateful_route.store.metering import metered, note_trip, operation_of
from stateful_route.store.packing import packing
from stateful_route.store.pipelining import Pipelining, exchange
from stateful_route.store.runtime import Aside, Lock, deadline, heeding_cancellation, heeding_deadline, together
from stateful_route.store.scripts import Call
from stateful_route.store.sockets import WRONG_SERVER, introduced, is_wrong_server, telling
from stateful_route.store.urls import DEFAULT_PORT, DEFAULT_SENTINEL_PORT, SCHEMES, UrlError, redacted, url_parts

UNLIMITED = 2**31 - 1

REDIRECTIONS = (rx.MovedError, rx.AskError)
STALE = (rx.ConnectionError, rx.TimeoutError, rx.ClusterDownError, rx.RedisClusterException, OSError, *WRONG_SERVER)
"""What a node answers, or fails to, when somebody else may have its slots by now."""

SLOTS_SECONDS = 0.1
"""The Cluster is not asked more often who has which slots: a node that stays away fails its own calls alone."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How patient a client is; times are seconds."""

    timeout_seconds: float = 2.0
    """For connecting, and for each reply."""
    health_check_seconds: int = 30
    """A Cluster's connection that was idle for longer is asked first whether it is still there."""
    role_check_seconds: float = 1.0
    """Elsewhere a connection that was not seen to lead to a primary for so long is asked first for its role: the server
    may have become a replica, or a firewall may have lost the connection."""
    look_seconds: float = 10.0
    """And so often a look is taken at who stands behind the address (a name, a virtual IP), by a new connection: if it
    is another server than before, all older connections are given up. Sentinels are asked every second."""
    max_connections: int = 32
    """Per server; a call waits for a free one. On a Cluster they are not limited (redis-py would fail the call)."""
    deadline_seconds: float = 3.0
    """For one script, and for a whole call of `StatefulExecutor` with its repeats."""
    retries: int = 3
    """How often such a call is repeated at most, where a repeat is harmless."""

    def __post_init__(self) -> None:
        """See that each can be.

        Raises:
            InvalidArgument: one is of another type, or out of its range.
        """
        for name in ("timeout_seconds", "deadline_seconds"):
            check_period(getattr(self, name), name)
        for name in ("health_check_seconds", "role_check_seconds", "look_seconds"):
            check_age(getattr(self, name), name)
        check_count(self.max_connections, "max_connections", 1)
        check_count(self.retries, "retries", 0)


class Store:
    """A Redis or Valkey: one server, a Sentinel set or a Cluster, behind the same few calls.

    Waiting for a free connection, connecting and each reply end within the options' timeout. Nothing is retried here:
    whoever knows that a repeat is harmless does it (`PatientStore` does).
    """

    def __init__(
        self,
        client: "Redis | RedisCluster",
        *,
        label: str,
        options: StoreOptions | None = None,
        seeds: Seeds | None = None,
    ) -> None:
        self._client: Any = client
        self.seeds = seeds
        """Whom to ask for a Cluster's slots; None: it is no Cluster."""
        self.label = label
        """The URL without its password, for logs and messages."""
        self.options = options or StoreOptions()
        self.promised_seconds = self.options.deadline_seconds
        """What a caller has been promised, of which a part may have passed before a call is made here."""
        self.meter: Meter = UNMETERED
        """Hears of every round trip, and of the links that are moved here."""
        self._doubts = 0
        """How often a node of the Cluster has failed: who has its slots is to be asked anew."""
        self._settled = 0
        """So many of them are settled."""
        self._settled_at = -math.inf
        self._finding = Lock()
        self._shared: dict[str | None, Pipelining] = {}
        self._asides: dict[str, Aside] = {}
        """By the name of the node, on a Cluster: one that is slow or down holds up no other's calls."""

    @classmethod
    def from_url(cls, url: str, options: StoreOptions | None = None) -> Self:
        """A store for the URL; connects at the first call.

        ``redis://``, ``rediss://``, ``unix://``, ``redis+cluster://host:port,…`` and
        ``redis+sentinel://host:port,…/service`` (``rediss+…`` for TLS).

        Raises:
            InvalidArgument: a scheme or form that is none of these, or options that are no `StoreOptions`; the message
                has no password in it.
        """
        check_kind(options, StoreOptions)
        options = options or StoreOptions()
        label = redacted(url)
        common: dict[str, Any] = {
            "socket_timeout": options.timeout_seconds,
            "socket_connect_timeout": options.timeout_seconds,
            "protocol": 2,
            "health_check_interval": options.health_check_seconds,
            "encoding_errors": "surrogateescape",
            "retry": Retry(NoBackoff(), 0),
        }
        url = url.strip()
        scheme = url.partition("://")[0]
        limits = {"max_connections": options.max_connections, "timeout": options.timeout_seconds}
        try:
            if scheme in {"redis", "rediss", "unix"}:
                return cls(_single(url, limits | common, options), label=label, options=options)
            if scheme in {"redis+cluster", "rediss+cluster"}:
                client, seeds = _cluster(url, common)
                return cls(client, label=label, options=options, seeds=seeds)
            if scheme in {"redis+sentinel", "rediss+sentinel"}:
                return cls(_sentinel(url, limits, common, options), label=label, options=options)
        except (ValueError, TypeError) as error:
            ours = error if isinstance(error, UrlError) else None
            why = ours or "look at its host, port and settings, %-encode its password"
            raise InvalidArgument(f"the store's URL {label!r} is not valid: {why}") from ours
        raise InvalidArgument(
            f"the store's URL {label!r} must begin with one of: " + ", ".join(f"{s}://" for s in SCHEMES)
        )

    @property
    def cluster(self) -> bool:
        """Whether it is a Redis Cluster."""
        return self.seeds is not None

    @property
    def publish(self) -> str:
        """The command by which scripts wake callers: a Cluster keeps channels in their slot."""
        return "SPUBLISH" if self.cluster else "PUBLISH"

    async def run(self, call: Call) -> Any:
        """Run one script; send its text when the server does not have it (a restart or failover loses scripts).

        Calls that are made at the same time share round trips; each ends within the options' ``deadline_seconds``.

        Raises:
            StoreUnavailable, StoreRejected: see there.
        """
        node = None
        if self.cluster:
            with translated(self.label, writes=False):
                await self._slots_known_in_time()
            node = self._node_of(call.keys[0])
        if node not in self._shared:
            self._shared[node] = Pipelining(
                lambda calls: Store.run_each(self, calls),
                self.options.deadline_seconds,
                lambda call, sent: self.late(writes=sent and call.script.writes),
            )
        return await self._shared[node].run(call)

    def late(self, *, writes: bool, before: StatefulRouteError | None = None) -> StoreUnavailable:
        """The error of a call that has not ended within its deadline; ``before``: what an earlier attempt failed of."""
        self.meter.store_failed(WRITE if writes else READ, "late")
        why = "" if before is None else "; before: " + str(before).removeprefix(f"{self.label}: ")
        return StoreUnavailable(
            f"{self.label}: no answer within {self.promised_seconds:g} s{why}", maybe_written=writes
        )

    async def run_many(self, calls: Sequence[Call]) -> list[Any]:
        """Run many scripts in one round trip (one per node of a Cluster); each reply is a value, or the error it got.

        Raises:
            StoreUnavailable: the connection broke; some of them may have run.
        """
        replies = await self._metered_many(calls)
        raise_broken(replies, self.label)
        return self._ours(calls, replies)

    async def run_each(self, calls: Sequence[Call]) -> list[Any]:
        """As `run_many`, but a connection that broke is the error of each call that it was to carry."""
        return self._ours(calls, await self._metered_many(calls))

    async def pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands in one round trip; each reply is a value or redis-py's error for it.

        Raises:
            StoreUnavailable: the connection broke.
        """
        began = monotonic()
        replies = await self._exchange(commands)
        note_trip(self.meter, COMMAND, began, replies)
        raise_broken(replies, self.label)
        return replies

    async def command(self, *words: Any) -> Any:
        """One plain command; errors as with `run`."""
        with metered(self.meter, COMMAND), translated(self.label), heeding_cancellation(), self._leaving_wrong_server():
            await self._slots_known()
            return await self._client.execute_command(*words)

    async def ask(self, *words: Any) -> Any:
        """One command about the server itself, without a key; on a Cluster any of its primaries is asked."""
        with metered(self.meter, COMMAND), translated(self.label, writes=False), heeding_cancellation():
            await self._slots_known()
            where = {"target_nodes": self._client.get_random_primary_node()} if self.cluster else {}
            reply = await self._client.execute_command(*words, **where)
            return next(iter(reply.values())) if isinstance(reply, dict) else reply

    async def nodes(self) -> list[str | None]:
        """The names of a Cluster's servers, its replicas too, for `ask_node`; elsewhere there is one, without a name.

        Raises:
            StoreUnavailable, StoreRejected: see there.
        """
        if not self.cluster:
            return [None]
        with translated(self.label, writes=False):
            await self._slots_known_in_time()
        return sorted(node.name for node in self._client.get_nodes())

    async def ask_node(self, node: str | None, *words: Any) -> Any:
        """As `ask`, one of the `nodes`; the reply as redis-py parses it."""
        with translated(self.label, writes=False), heeding_cancellation():
            where = {"target_nodes": self._client.get_node(node_name=node)} if self.cluster else {}
            return await self._client.execute_command(*words, **where)

    async def node_of(self, key: str) -> str | None:
        """The name of the Cluster's node that has the key's slot; None: there is one server, or nobody has it.

        Raises:
            StoreUnavailable, StoreRejected: see there.
        """
        if not self.cluster:
            return None
        with translated(self.label, writes=False):
            await self._slots_known_in_time()
        return self._node_of(key)

    def own_connection(self, node: str | None) -> Any:
        """A connection that no call is given, not connected yet; ``node``: what `node_of` has said."""
        return own_connection(self._client, node)

    def doubt_slots(self) -> None:
        """Ask the Cluster anew who has which slots, before the next call."""
        self._doubts += 1

    def scan(self, pattern: str, count: int) -> Any:
        """An async iterator over the keys (bytes) that match a glob pattern, on all primaries."""
        return self._client.scan_iter(match=pattern, count=count)

    async def scan_pages(self, pattern: str, count: int) -> AsyncIterator[list[bytes]]:
        """The keys that match a glob pattern, on all primaries: a list, often empty, for each ``count`` looked at.

        Raises:
            StoreUnavailable, StoreRejected: see there.
        """
        with translated(self.label, writes=False):
            await self._slots_known()
            nodes = [{"target_nodes": node} for node in self._client.get_primaries()] if self.cluster else [{}]
        for node in nodes:
            cursor = 0
            while True:
                with metered(self.meter, COMMAND), translated(self.label, writes=False), heeding_cancellation():
                    words = ("SCAN", cursor, "MATCH", pattern, "COUNT", count)
                    reply = await self._client.execute_command(*words, **node)
                cursor, keys = reply
                if isinstance(cursor, dict):  # on a Cluster: of each node that was asked
                    (cursor,) = cursor.values()
                yield keys
                if cursor == 0:
                    break

    def aside(self, name: str) -> Aside:
        """What does the work of that name in the background, once for all who need it; it ends with the store."""
        return self._asides.setdefault(name, Aside(name))

    async def close(self) -> None:
        """Close all connections; the store can be used again afterwards."""
        while self._asides:
            await self._asides.popitem()[1].stop()
        for pipelining in list(self._shared.values()):  # others may begin meanwhile
            await pipelining.close()
        await self._client.aclose()

    async def _metered_many(self, calls: Sequence[Call]) -> list[Any]:
        began = monotonic()
        replies = await self._run_many(calls)
        note_trip(self.meter, operation_of(calls), began, replies)
        return replies

    async def _run_many(self, calls: Sequence[Call]) -> list[Any]:
        """As `run_each`, with redis-py's errors."""
        replies = await self._exchange([c.words(("EVALSHA", c.script.sha), cluster=self.cluster) for c in calls])
        for whole in (self.cluster, True):  # again, where the scripts were flushed between two commands of the trip
            missing = [place for place, reply in enumerate(replies) if isinstance(reply, rx.NoScriptError)]
            if not missing:
                break
            sent: set[str] = set()
            repeats: list[tuple[Any, ...]] = []
            for place in missing:
                c = calls[place]
                how = ("EVALSHA", c.script.sha) if c.script.sha in sent and not whole else ("EVAL", c.script.source)
                sent.add(c.script.sha)
                repeats.append(c.words(how, cluster=self.cluster))
            for place, reply in zip(missing, await self._exchange(repeats), strict=True):
                replies[place] = reply
        return replies

    def _ours(self, calls: Sequence[Call], replies: Sequence[Any]) -> list[Any]:
        pairs = zip(calls, replies, strict=True)
        return [
            as_ours(reply, self.label, writes=call.script.writes) if isinstance(reply, Exception) else reply
            for call, reply in pairs
        ]

    async def _exchange(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The replies to some commands, each a value or redis-py's error; whatever breaks, it raises none."""
        if not commands:
            return []
        with heeding_cancellation():
            if not self.cluster:
                return await exchange(self._client.connection_pool, commands, self.options.timeout_seconds)
            return await self._exchange_with_nodes(commands)

    async def _exchange_with_nodes(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The same on a Cluster: each node by itself, so that one that is down fails no other's commands."""
        try:
            await self._slots_known()
        except FAILURES as error:
            return [error] * len(commands)
        places: dict[str | None, list[int]] = {}
        for place, command in enumerate(commands):
            first_key = command[3 if command[0] in {"EVALSHA", "EVAL"} else 1]
            places.setdefault(self._node_of(first_key), []).append(place)
        trips = [self._trip(node, [commands[place] for place in group]) for node, group in places.items()]
        replies: list[Any] = [None] * len(commands)
        for group, answered in zip(places.values(), await together(trips), strict=True):
            for place, reply in zip(group, answered, strict=True):
                replies[place] = reply
        redirected = [place for place, reply in enumerate(replies) if isinstance(reply, REDIRECTIONS)]
        for place, reply in zip(redirected, await self._led([commands[p] for p in redirected]), strict=True):
            replies[place] = reply
        self._doubts += any(isinstance(reply, STALE) for reply in replies)
        return replies

    async def _trip(self, node: str | None, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        known = self._client.get_node(node_name=node) if node else None
        if known is None:
            return await self._led(commands)
        return await exchange(NodePool(self._client, known), commands, self.options.timeout_seconds)

    async def _led(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The replies, each from whichever node redis-py is led to: slots move."""
        if not commands:
            return []
        pipeline = self._client.pipeline()
        for command in commands:
            pipeline.execute_command(*command)
        try:
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
        except FAILURES as error:
            return [error] * len(commands)
        return replies

    def _node_of(self, key: Any) -> str | None:
        """The name of the node that has the key's slot; None if none has: redis-py finds out then."""
        try:
            name: str = self._client.get_node_from_key(key).name
        except rx.RedisClusterException:
            return None
        return name

    async def _slots_known_in_time(self) -> None:
        try:
            async with deadline(self.options.deadline_seconds):
                await self._slots_known()
        except TimeoutError:  # there are several nodes to ask, and none says anything
            raise self.late(writes=False) from None

    async def _slots_known(self) -> None:
        if self.seeds is None or self._slots_are_known():
            return
        async with self._finding:
            if self._slots_are_known():
                return
            doubts = self._doubts
            try:
                await discover(self._client, await self.seeds.best(known_places(self._client)))
            except rx.RedisClusterException:  # who answers does not know all slots: what is known may still serve
                if not is_ready(self._client):
                    raise
            self._settled = doubts
            self._settled_at = monotonic()

    def _slots_are_known(self) -> bool:
        settled = self._doubts == self._settled or monotonic() < self._settled_at + SLOTS_SECONDS
        return settled and is_ready(self._client)

    @contextmanager
    def _leaving_wrong_server(self) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            if is_wrong_server(error):
                self._doubts += 1
                if not self.cluster:
                    self._client.connection_pool.doubt()
            raise


def _single(url: str, common: dict[str, Any], options: StoreOptions) -> Redis:
    parts = url_parts(url, DEFAULT_PORT)
    settings = {**common, **parts.login, **parts.query}
    kind: Any = SSLConnection if settings.pop("ssl", False) else Connection
    if parts.hosts:
        ((settings["host"], settings["port"]),) = parts.hosts
    else:
        kind, settings["path"] = UnixDomainSocketConnection, parts.path
    return _over(kind, settings, Trust(options.role_check_seconds, options.look_seconds))


def _over(kind: Any, settings: dict[str, Any], trust: Trust) -> Redis:
    """A client over a pool of connections to one primary."""
    connection_class = packing(introduced(telling(heeding_deadline(kind)), primary=True))
    pool: Any = Pool(trust=trust, connection_class=connection_class, **settings)
    pool.make_connection()  # without connecting: a setting that redis-py does not know is found here
    client: Redis = Redis.from_pool(pool)
    return client


def _cluster(url: str, common: dict[str, Any]) -> tuple[Any, Seeds]:
    parts = url_parts(url, DEFAULT_PORT)
    settings = {**common, **parts.login, **parts.query}
    client = cluster_client(
        parts.hosts,
        {
            **settings,
            "max_connections": UNLIMITED,
            "require_full_coverage": False,  # a node that is down takes away its own slots, and nobody else's
            "reinitialize_steps": 0,  # after so many MOVED redis-py would close all connections, under others' calls
        },
    )
    return client, Seeds(parts.hosts, Asking(settings))


def _sentinel(url: str, limits: dict[str, Any], common: dict[str, Any], options: StoreOptions) -> Redis:
    parts = url_parts(url, DEFAULT_SENTINEL_PORT)
    name, _, db = parts.path.partition("/")
    if not name:
        raise UrlError("the name of the service that Sentinel watches is missing (…/service)")
    settings = {"db": int(db or 0), **limits, **common, **parts.login, **parts.query}
    kind = led(SSLConnection if settings.pop("ssl", False) else Connection)
    own = {setting for setting, value in parts.sentinel.items() if parts.query.get(setting) != value}
    settings["sentinels"] = Sentinels(parts.hosts, name, Asking({**common, **parts.sentinel}, own))
    return _over(kind, settings, Trust(options.role_check_seconds, min(options.look_seconds, SENTINEL_LOOK_SECONDS)))
