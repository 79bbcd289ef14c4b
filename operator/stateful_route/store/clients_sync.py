"""The synchronous twin of `clients`, written by hand."""

import logging
import socket
import threading
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Any
from weakref import WeakSet

from redis import BlockingConnectionPool, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry

from stateful_route.domain.trust import Due, Trust
from stateful_route.store.failures import FAILURES
from stateful_route.store.marks import nothing_sent
from stateful_route.store.runtime_sync import Aside, heeding_deadline, remaining
from stateful_route.store.sockets import NotPrimary
from stateful_route.store.sockets_sync import telling

TRIES = 5
"""How many nodes redis-py asks for its commands, at most: some may be gone."""

NOT_HERE = {"max_connections"}
"""Settings of the asynchronous client that redis-py's synchronous one does not know as such."""


log = logging.getLogger(__name__)

LOOK_WAIT_SECONDS = 0.5
"""So long a process that was idle waits for the word of Sentinels, or of the address itself, before it goes on."""


class Pool(BlockingConnectionPool):
    """Connections to one primary; who waits in vain for a free one that is sound has sent nothing."""

    def __init__(self, *, trust: Trust, **settings: Any) -> None:
        """``trust``: in its connections (of `sockets_sync.introduced`); ``settings``: of redis-py's pool."""
        super().__init__(**settings)  # type: ignore[no-untyped-call]
        self._trust = trust
        self._generation = trust.generation
        self._apart: WeakSet[Any] = WeakSet()
        self._look = Aside("look")
        self._sentinels = settings.get("sentinels")
        self._judging = threading.Lock()

    @property
    def timeout(self) -> float:
        """How long somebody waits for a free connection: at most until the deadline around the call."""
        return remaining(self._timeout)

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._timeout = seconds

    def apart(self) -> Any:
        """A connection that no call is given, not connected yet; it is closed when another server has taken over."""
        connection = self.connection_class(**self.connection_kwargs)
        self._apart.add(connection)
        return connection

    def doubt(self) -> None:
        """A server has said that it is not the primary: connect anew, wherever the address leads now."""
        with self._judging:
            self._trust.doubt()
            self._end_the_old()

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """A connection that is free, connected, and was seen to lead to a primary a moment ago."""
        with nothing_sent():
            connection = super().get_connection(*args, **options)  # type: ignore[no-untyped-call]
            try:
                self._see(connection)
            except BaseException:
                self.release(connection)  # type: ignore[no-untyped-call]
                raise
            return connection

    def _see(self, connection: Any) -> None:
        """See that it leads to a primary, or connect anew."""
        with self._judging:
            look = self._trust.look_is_due(monotonic())
        if look:
            self._look.start(self._take_a_look)
        if connection.standing is not None and self._trust.look_is_overdue(monotonic()):
            self._look.wait(LOOK_WAIT_SECONDS)
            if self._trust.look_is_overdue(monotonic()):
                self._trust.excuse(monotonic())
        with self._judging:
            due = self._trust.due(connection.standing, monotonic())
        if due is Due.ASK:
            try:
                connection.see_primary()
                connection.standing = connection.standing._replace(seen=monotonic())
            except NotPrimary:
                self.doubt()
                due = Due.RENEW
            except FAILURES:  # it was lost while nobody used it
                due = Due.RENEW
        if due is Due.RENEW:
            connection.disconnect()
            connection.connect()
        if connection.standing is None:
            with self._judging:
                connection.standing = self._trust.met(connection.server, monotonic())
                self._end_the_old()

    def _take_a_look(self) -> None:
        """See who stands behind the address now; where that cannot be seen, what is connected is used on."""
        try:
            if self._sentinels is None:
                self._meet()
            else:
                before = self._sentinels.last
                if self._sentinels.primary() != before:
                    self.doubt()
                else:
                    self._trust.confirm(monotonic())
        except FAILURES as error:
            log.debug("the store's address could not be looked at: %s", error)

    def _meet(self) -> None:
        connection = self.connection_class(**self.connection_kwargs)
        try:
            connection.connect()
            with self._judging:
                self._trust.met(connection.server, monotonic())
                self._end_the_old()
        finally:
            connection.disconnect()

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close all connections."""
        if self._sentinels is not None:
            self._sentinels.close()
        super().disconnect(inuse_connections)

    def _end_the_old(self) -> None:
        """Close what listens on connections of an earlier generation; those that are lent out are seen to later."""
        if self._generation != self._trust.generation:
            self._generation = self._trust.generation
            for connection in list(self._apart):
                end = connection._get_socket()  # noqa: SLF001  whoever reads from it is told that it has ended
                if end is not None:
                    try:
                        end.shutdown(socket.SHUT_RDWR)
                    except OSError:  # it was closed meanwhile
                        continue


class NodePool:
    """A node of a Cluster, behind a pool's two calls."""

    def __init__(self, client: Any, node: Any) -> None:
        """``client``: what `cluster_client` gave; ``node``: one of its nodes."""
        self._pool = client.get_redis_connection(node).connection_pool

    def get_connection(self) -> Any:
        """A connection that is free, connected and, if it was idle for long, has answered a PING."""
        with nothing_sent():
            return _healthy(self._pool.get_connection(), self._pool)

    def release(self, connection: Any) -> None:
        """Others may have it."""
        self._pool.release(connection)

    def doubt(self) -> None:
        """Who has the node's slots is asked elsewhere."""


def _healthy(connection: Any, pool: Any) -> Any:
    try:
        connection.check_health()
    except BaseException:
        pool.release(connection)
        raise
    return connection


def own_connection(client: Any, node: str | None) -> Any:
    """A connection that no call is given, not connected yet: to the node of that name, or the one server (None)."""
    if node is None:
        return client.connection_pool.apart()
    pool = client.get_redis_connection(client.get_node(node_name=node)).connection_pool
    return pool.connection_class(**pool.connection_kwargs)


def is_ready(client: Any) -> bool:
    """Whether the Cluster's client has found out who has which slots, however long ago."""
    ready: bool = client.ready
    return ready


def known_places(client: Any) -> Iterable[tuple[str, int]]:
    """Host and port of the Cluster's nodes, as far as they are known."""
    return [(node.host, node.port) for node in list(client.nodes_manager.nodes_cache.values())] if client.ready else []


def discover(client: Any, place: tuple[str, int]) -> None:
    """Ask a node, at that host and port, who has which slots of the Cluster."""
    with nothing_sent():
        client.discover(place)


def cluster_client(_hosts: Iterable[tuple[str, int]], settings: Mapping[str, Any]) -> Any:
    """A client that connects when it is told to `discover`."""
    return _LateCluster({name: value for name, value in settings.items() if name not in NOT_HERE})


class _Cluster(RedisCluster):
    """redis-py's client; all connections to its nodes heed the deadline of a call, and mark their errors."""

    _changing = threading.Lock()

    def get_redis_connection(self, node: Any) -> Any:
        client = super().get_redis_connection(node)
        pool = client.connection_pool
        if not _is_changed(pool):
            with self._changing:
                if not _is_changed(pool):
                    pool.disconnect()  # what redis-py has used to find the slots
                    pool.reset()
                    pool.connection_class = telling(heeding_deadline(pool.connection_class))
        return client


def _is_changed(pool: Any) -> bool:
    return hasattr(pool.connection_class, "punctual")


class _LateCluster:
    """Makes redis-py's client, which connects while it is made, once it is wanted; again after it was closed."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._making = threading.Lock()
        self._client: Any = None

    @property
    def ready(self) -> bool:
        return self._client is not None

    def discover(self, place: tuple[str, int]) -> None:
        with self._making:
            node = ClusterNode(*place)  # type: ignore[no-untyped-call]
            if self._client is None:
                tries = Retry(NoBackoff(), TRIES)  # it asks any node for its commands: that may be gone
                settings = {**self._settings, "retry": tries}
                self._client = _Cluster(startup_nodes=[node], dynamic_startup_nodes=False, **settings)
                self._client.retry = self._settings["retry"]
            else:
                self._client.nodes_manager.startup_nodes = {node.name: node}
                self._client.nodes_manager.initialize()

    def close(self) -> None:
        with self._making:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)
