"""Where redis-py's asynchronous and synchronous clients differ in more than words: pools, and a Redis Cluster's."""

from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.cluster import ClusterNode, RedisCluster

from stateful_route.store.packing import packing
from stateful_route.store.sockets import nothing_sent, telling


class Pool(BlockingConnectionPool):
    """Connections to one server; who waits in vain for a free one that is sound has sent nothing."""

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        """A connection that is free, connected and, if it was idle for long, has answered a PING."""
        with nothing_sent():
            free = bool(self.can_get_connection())  # redis-py gives the list itself, which is about to change
            connection = (  # redis-py takes a lock and a timer first, a third of a lone call's time
                self.get_available_connection()  # type: ignore[no-untyped-call]
                if free
                else await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]
            )
            try:
                if free:
                    await self.ensure_connection(connection)
                await connection.check_health()
            except BaseException:
                await self.release(connection)
                raise
            return connection


class NodePool:
    """A node of a Cluster, behind a pool's two calls."""

    def __init__(self, client: Any, node: Any) -> None:
        """``client``: what `cluster_client` gave; ``node``: one of its nodes."""
        del client
        self._node = node

    async def get_connection(self) -> Any:
        """A connection that is free, connected and, if it was idle for long, has answered a PING."""
        with nothing_sent():
            connection = self._node.acquire_connection()
            try:
                await self._node.disconnect_if_needed(connection)
                await connection.connect()
                await connection.check_health()
            except BaseException:
                self._node.release(connection)
                raise
            return connection

    async def release(self, connection: Any) -> None:
        """Others may have it."""
        self._node.release(connection)


def own_connection(client: Any, node: str | None) -> Any:
    """A connection that no call is given, not connected yet: to the node of that name, or the one server (None)."""
    if node is None:
        pool = client.connection_pool
        return pool.connection_class(**pool.connection_kwargs)
    found = client.get_node(node_name=node)
    return found.connection_class(**found.connection_kwargs)


async def rediscover(client: Any) -> None:
    """Ask the Cluster anew who has which slots."""
    with nothing_sent():
        await client.nodes_manager.initialize()


def cluster_client(hosts: Sequence[tuple[str, int]], settings: Mapping[str, Any]) -> Any:
    """A client that connects when it is told to ``initialize()``, or at its first command."""
    client: Any = RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in hosts], **settings)
    connection_class = packing(telling(client.connection_kwargs["connection_class"]))
    client.connection_kwargs["connection_class"] = connection_class  # of the nodes that it will find
    for node in client.nodes_manager.startup_nodes.values():
        node.connection_class = connection_class
    return client
