"""The synchronous twin of `clients`, written by hand."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from redis import BlockingConnectionPool, RedisCluster
from redis.cluster import ClusterNode

from stateful_route.store.sockets import nothing_sent

NOT_HERE = {"max_connections"}
"""Settings of the asynchronous client that redis-py's synchronous one does not know as such."""


class Pool(BlockingConnectionPool):
    """Connections to one server; who waits in vain for a free one that is sound has sent nothing."""

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """A connection that is free, connected and, if it was idle for long, has answered a PING."""
        with nothing_sent():
            connection = super().get_connection(*args, **options)  # type: ignore[no-untyped-call]
            return _healthy(connection, self)


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
        pool = client.connection_pool
    else:
        pool = client.get_redis_connection(client.get_node(node_name=node)).connection_pool
    return pool.connection_class(**pool.connection_kwargs)


def rediscover(client: Any) -> None:
    """Ask the Cluster anew who has which slots."""
    with nothing_sent():
        client.nodes_manager.initialize()


def cluster_client(hosts: Sequence[tuple[str, int]], settings: Mapping[str, Any]) -> Any:
    """A client that connects when it is told to ``initialize()``."""
    return _LateCluster(hosts, {name: value for name, value in settings.items() if name not in NOT_HERE})


class _LateCluster:
    """Makes redis-py's client, which connects while it is made, once it is wanted; again after it was closed."""

    def __init__(self, hosts: Sequence[tuple[str, int]], settings: Mapping[str, Any]) -> None:
        self._hosts = hosts
        self._settings = settings
        self._making = threading.Lock()
        self._client: Any = None

    def initialize(self) -> None:
        with self._making:
            if self._client is None:
                nodes = [ClusterNode(host, port) for host, port in self._hosts]  # type: ignore[no-untyped-call]
                client = RedisCluster(startup_nodes=nodes, **self._settings)
                self._client = client

    def close(self) -> None:
        with self._making:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def __getattr__(self, name: str) -> Any:
        self.initialize()
        return getattr(self._client, name)
