# Generated from connection.py by tools/twins.py: change that one, then run: make twins
"""One connection layer for a single server, Sentinel and Redis Cluster: deadlines, and typed errors."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, Self

from redis import Redis
from redis import exceptions as rx
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from stateful_route.domain.errors import InvalidArgument, StatefulRouteError, StoreUnavailable
from stateful_route.domain.meter import COMMAND, READ, UNMETERED, WRITE, Meter
from stateful_route.domain.option_checks import check_kind
from stateful_route.domain.trust import Trust
from stateful_route.store.clients_sync import (
    NodePool,
    Pool,
    cluster_client,
    discover,
    is_ready,
    known_places,
    own_connection,
)
from stateful_route.store.connection import REDIRECTIONS, SLOTS_SECONDS, STALE, UNLIMITED, StoreOptions
from stateful_route.store.discovery import SENTINEL_LOOK_SECONDS
from stateful_route.store.discovery_sync import Asking, Seeds, Sentinels, led
from stateful_route.store.failures import FAILURES, as_ours, raise_broken, translated
from stateful_route.store.metering import metered, note_trip, operation_of
from stateful_route.store.packing import packing
from stateful_route.store.pipelining_sync import Pipelining, exchange
from stateful_route.store.runtime_sync import Aside, Lock, deadline, heeding_cancellation, heeding_deadline, together
from stateful_route.store.scripts import Call
from stateful_route.store.sockets import is_wrong_server
from stateful_route.store.sockets_sync import introduced, telling
from stateful_route.store.urls import DEFAULT_PORT, DEFAULT_SENTINEL_PORT, SCHEMES, UrlError, redacted, url_parts


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

    def run(self, call: Call) -> Any:
        """Run one script; send its text when the server does not have it (a restart or failover loses scripts).

        Calls that are made at the same time share round trips; each ends within the options' ``deadline_seconds``.

        Raises:
            StoreUnavailable, StoreRejected: see there.
        """
        node = None
        if self.cluster:
            with translated(self.label, writes=False):
                self._slots_known_in_time()
            node = self._node_of(call.keys[0])
        if node not in self._shared:
            self._shared[node] = Pipelining(
                lambda calls: Store.run_each(self, calls),
                self.options.deadline_seconds,
                lambda call, sent: self.late(writes=sent and call.script.writes),
            )
        return self._shared[node].run(call)

    def late(self, *, writes: bool, before: StatefulRouteError | None = None) -> StoreUnavailable:
        """The error of a call that has not ended within its deadline; ``before``: what an earlier attempt failed of."""
        self.meter.store_failed(WRITE if writes else READ, "late")
        why = "" if before is None else "; before: " + str(before).removeprefix(f"{self.label}: ")
        return StoreUnavailable(
            f"{self.label}: no answer within {self.promised_seconds:g} s{why}", maybe_written=writes
        )

    def run_many(self, calls: Sequence[Call]) -> list[Any]:
        """Run many scripts in one round trip (one per node of a Cluster); each reply is a value, or the error it got.

        Raises:
            StoreUnavailable: the connection broke; some of them may have run.
        """
        replies = self._metered_many(calls)
        raise_broken(replies, self.label)
        return self._ours(calls, replies)

    def run_each(self, calls: Sequence[Call]) -> list[Any]:
        """As `run_many`, but a connection that broke is the error of each call that it was to carry."""
        return self._ours(calls, self._metered_many(calls))

    def pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands in one round trip; each reply is a value or redis-py's error for it.

        Raises:
            StoreUnavailable: the connection broke.
        """
        began = monotonic()
        replies = self._exchange(commands)
        note_trip(self.meter, COMMAND, began, replies)
        raise_broken(replies, self.label)
        return replies

    def command(self, *words: Any) -> Any:
        """One plain command; errors as with `run`."""
        with metered(self.meter, COMMAND), translated(self.label), heeding_cancellation(), self._leaving_wrong_server():
            self._slots_known()
            return self._client.execute_command(*words)

    def ask(self, *words: Any) -> Any:
        """One command about the server itself, without a key; on a Cluster any of its primaries is asked."""
        with metered(self.meter, COMMAND), translated(self.label, writes=False), heeding_cancellation():
            self._slots_known()
            where = {"target_nodes": self._client.get_random_primary_node()} if self.cluster else {}
            reply = self._client.execute_command(*words, **where)
            return next(iter(reply.values())) if isinstance(reply, dict) else reply

    def nodes(self) -> list[str | None]:
        """The names of a Cluster's servers, its replicas too, for `ask_node`; elsewhere there is one, without a name.

        Raises:
            StoreUnavailable, StoreRejected: see there.
        """
        if not self.cluster:
            return [None]
        with translated(self.label, writes=False):
            self._slots_known_in_time()
        return sorted(node.name for node in self._client.get_nodes())

    def ask_node(self, node: str | None, *words: Any) -> Any:
        """As `ask`, one of the `nodes`; the reply as redis-py parses it."""
        with translated(self.label, writes=False), heeding_cancellation():
            where = {"target_nodes": self._client.get_node(node_name=node)} if self.cluster else {}
            return self._client.execute_command(*words, **where)

    def node_of(self, key: str) -> str | None:
        """The name of the Cluster's node that has the key's slot; None: there is one server, or nobody has it.

        Raises:
            StoreUnavailable, StoreRejected: see there.
        """
        if not self.cluster:
            return None
        with translated(self.label, writes=False):
            self._slots_known_in_time()
        return self._node_of(key)

    def own_connection(self, node: str | None) -> Any:
        """A connection that no call is given, not connected yet; ``node``: what `node_of` has said."""
        return own_connection(self._client, node)

    def doubt_slots(self) -> None:
        """Ask the Cluster anew who has which slots, before the next call."""
        self._doubts += 1

    def scan(self, pattern: str, count: int) -> Any:
        """An iterator over the keys (bytes) that match a glob pattern, on all primaries."""
        return self._client.scan_iter(match=pattern, count=count)

    def scan_pages(self, pattern: str, count: int) -> Iterator[list[bytes]]:
        """The keys that match a glob pattern, on all primaries: a list, often empty, for each ``count`` looked at.

        Raises:
            StoreUnavailable, StoreRejected: see there.
        """
        with translated(self.label, writes=False):
            self._slots_known()
            nodes = [{"target_nodes": node} for node in self._client.get_primaries()] if self.cluster else [{}]
        for node in nodes:
            cursor = 0
            while True:
                with metered(self.meter, COMMAND), translated(self.label, writes=False), heeding_cancellation():
                    words = ("SCAN", cursor, "MATCH", pattern, "COUNT", count)
                    reply = self._client.execute_command(*words, **node)
                cursor, keys = reply
                if isinstance(cursor, dict):  # on a Cluster: of each node that was asked
                    (cursor,) = cursor.values()
                yield keys
                if cursor == 0:
                    break

    def aside(self, name: str) -> Aside:
        """What does the work of that name in the background, once for all who need it; it ends with the store."""
        return self._asides.setdefault(name, Aside(name))

    def close(self) -> None:
        """Close all connections; the store can be used again afterwards."""
        while self._asides:
            self._asides.popitem()[1].stop()
        for pipelining in list(self._shared.values()):  # others may begin meanwhile
            pipelining.close()
        self._client.close()

    def _metered_many(self, calls: Sequence[Call]) -> list[Any]:
        began = monotonic()
        replies = self._run_many(calls)
        note_trip(self.meter, operation_of(calls), began, replies)
        return replies

    def _run_many(self, calls: Sequence[Call]) -> list[Any]:
        """As `run_each`, with redis-py's errors."""
        replies = self._exchange([c.words(("EVALSHA", c.script.sha), cluster=self.cluster) for c in calls])
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
            for place, reply in zip(missing, self._exchange(repeats), strict=True):
                replies[place] = reply
        return replies

    def _ours(self, calls: Sequence[Call], replies: Sequence[Any]) -> list[Any]:
        pairs = zip(calls, replies, strict=True)
        return [
            as_ours(reply, self.label, writes=call.script.writes) if isinstance(reply, Exception) else reply
            for call, reply in pairs
        ]

    def _exchange(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The replies to some commands, each a value or redis-py's error; whatever breaks, it raises none."""
        if not commands:
            return []
        with heeding_cancellation():
            if not self.cluster:
                return exchange(self._client.connection_pool, commands, self.options.timeout_seconds)
            return self._exchange_with_nodes(commands)

    def _exchange_with_nodes(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The same on a Cluster: each node by itself, so that one that is down fails no other's commands."""
        try:
            self._slots_known()
        except FAILURES as error:
            return [error] * len(commands)
        places: dict[str | None, list[int]] = {}
        for place, command in enumerate(commands):
            first_key = command[3 if command[0] in {"EVALSHA", "EVAL"} else 1]
            places.setdefault(self._node_of(first_key), []).append(place)
        trips = [self._trip(node, [commands[place] for place in group]) for node, group in places.items()]
        replies: list[Any] = [None] * len(commands)
        for group, answered in zip(places.values(), together(trips), strict=True):
            for place, reply in zip(group, answered, strict=True):
                replies[place] = reply
        redirected = [place for place, reply in enumerate(replies) if isinstance(reply, REDIRECTIONS)]
        for place, reply in zip(redirected, self._led([commands[p] for p in redirected]), strict=True):
            replies[place] = reply
        self._doubts += any(isinstance(reply, STALE) for reply in replies)
        return replies

    def _trip(self, node: str | None, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        known = self._client.get_node(node_name=node) if node else None
        if known is None:
            return self._led(commands)
        return exchange(NodePool(self._client, known), commands, self.options.timeout_seconds)

    def _led(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The replies, each from whichever node redis-py is led to: slots move."""
        if not commands:
            return []
        pipeline = self._client.pipeline()
        for command in commands:
            pipeline.execute_command(*command)
        try:
            replies: list[Any] = pipeline.execute(raise_on_error=False)
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

    def _slots_known_in_time(self) -> None:
        try:
            with deadline(self.options.deadline_seconds):
                self._slots_known()
        except TimeoutError:  # there are several nodes to ask, and none says anything
            raise self.late(writes=False) from None

    def _slots_known(self) -> None:
        if self.seeds is None or self._slots_are_known():
            return
        with self._finding:
            if self._slots_are_known():
                return
            doubts = self._doubts
            try:
                discover(self._client, self.seeds.best(known_places(self._client)))
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
