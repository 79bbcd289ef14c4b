"""Where redis-py's asynchronous and synchronous clients differ in more than words: pools, and a Redis Cluster's."""

import logging
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Any
from weakref import WeakSet

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.cluster import ClusterNode, RedisCluster

from stateful_route.domain.trust import Due, Trust
from stateful_route.store.failures import FAILURES
from stateful_route.store.marks import nothing_sent
from stateful_route.store.packing import packing
from stateful_route.store.runtime import Aside, heeding_deadline
from stateful_route.store.sockets import NotPrimary, telling

log = logging.getLogger(__name__)

LOOK_WAIT_SECONDS = 0.5
"""So long a process that was idle waits for the word of Sentinels, or of the address itself, before it goes on."""


class Pool(BlockingConnectionPool):
    """Connections to one primary; who waits in vain for a free one that is sound has sent nothing."""

    def __init__(self, *, trust: Trust, **settings: Any) -> None:
        """``trust``: in its connections (of `sockets.introduced`); ``settings``: of redis-py's pool."""
        super().__init__(**settings)
        self._trust = trust
        self._generation = trust.generation
        self._apart: WeakSet[Any] = WeakSet()
        self._look = Aside("look")
        self._sentinels = settings.get("sentinels")

    def apart(self) -> Any:
        """A connection that no call is given, not connected yet; it is closed when another server has taken over."""
        connection = self.connection_class(**self.connection_kwargs)
        self._apart.add(connection)
        return connection

    def doubt(self) -> None:
        """A server has said that it is not the primary: connect anew, wherever the address leads now."""
        self._trust.doubt()
        self._end_the_old()

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        """A connection that is free, connected, and was seen to lead to a primary a moment ago."""
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
                await self._see(connection)
            except BaseException:
                await self.release(connection)
                raise
            return connection

    async def _see(self, connection: Any) -> None:
        """See that it leads to a primary, or connect anew."""
        if self._trust.look_is_due(monotonic()):
            self._look.start(self._take_a_look)
        if connection.standing is not None and self._trust.look_is_overdue(monotonic()):
            await self._look.wait(LOOK_WAIT_SECONDS)
            if self._trust.look_is_overdue(monotonic()):
                self._trust.excuse(monotonic())
        due = self._trust.due(connection.standing, monotonic())
        if due is Due.ASK:
            try:
                await connection.see_primary()
                connection.standing = connection.standing._replace(seen=monotonic())
            except NotPrimary:
                self.doubt()
                due = Due.RENEW
            except FAILURES:  # it was lost while nobody used it
                due = Due.RENEW
        if due is Due.RENEW:
            await connection.disconnect(nowait=True)
            await connection.connect()
        if connection.standing is None:
            connection.standing = self._trust.met(connection.server, monotonic())
            self._end_the_old()

    async def _take_a_look(self) -> None:
        """See who stands behind the address now; where that cannot be seen, what is connected is used on."""
        try:
            if self._sentinels is None:
                await self._meet()
            else:
                before = self._sentinels.last
                if await self._sentinels.primary() != before:
                    self.doubt()
                else:
                    self._trust.confirm(monotonic())
        except FAILURES as error:
            log.debug("the store's address could not be looked at: %s", error)

    async def _meet(self) -> None:
        connection: Any = self.connection_class(**self.connection_kwargs)
        try:
            await connection.connect()
            self._trust.met(connection.server, monotonic())
            self._end_the_old()
        finally:
            await connection.disconnect(nowait=True)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close all connections."""
        await self._look.stop()
        if self._sentinels is not None:
            await self._sentinels.close()
        await super().disconnect(inuse_connections)

    def _end_the_old(self) -> None:
        """Close what listens on connections of an earlier generation; those that are lent out are seen to later."""
        if self._generation != self._trust.generation:
            self._generation = self._trust.generation
            for connection in list(self._apart):
                writer = connection._writer  # noqa: SLF001  redis-py's close pulls it away from one that just connects
                if writer is not None:
                    writer.close()  # whoever reads from it, or introduces it, is told that it has ended


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

    def doubt(self) -> None:
        """Who has the node's slots is asked elsewhere."""


def own_connection(client: Any, node: str | None) -> Any:
    """A connection that no call is given, not connected yet: to the node of that name, or the one server (None)."""
    if node is None:
        return client.connection_pool.apart()
    found = client.get_node(node_name=node)
    return found.connection_class(**found.connection_kwargs)


def is_ready(client: Any) -> bool:
    """Whether the Cluster's client has found out who has which slots, however long ago."""
    return not client._initialize  # noqa: SLF001  redis-py tells it in no other way


def known_places(client: Any) -> Iterable[tuple[str, int]]:
    """Host and port of the Cluster's nodes, as far as they are known."""
    return [(node.host, node.port) for node in client.nodes_manager.nodes_cache.values()]


async def discover(client: Any, place: tuple[str, int]) -> None:
    """Ask a node, at that host and port, who has which slots of the Cluster."""
    node = ClusterNode(*place, **client.connection_kwargs)
    with nothing_sent():
        for former in client.nodes_manager.startup_nodes.values():
            await former.disconnect()
        client.nodes_manager.startup_nodes = {node.name: node}
        try:
            await client.nodes_manager.initialize()
            if not is_ready(client):  # redis-py would ask the first primary for its commands: that may be gone
                await client.commands_parser.initialize(node)
                client._initialize = False  # noqa: SLF001  as its own initialize()
        except BaseException:
            await node.disconnect()
            raise


def cluster_client(hosts: Iterable[tuple[str, int]], settings: Mapping[str, Any]) -> Any:
    """A client that connects when it is told to `discover`."""
    startup = [ClusterNode(host, port) for host, port in hosts]
    client: Any = RedisCluster(startup_nodes=startup, dynamic_startup_nodes=False, **settings)
    connection_class = packing(telling(heeding_deadline(client.connection_kwargs["connection_class"])))
    client.connection_kwargs["connection_class"] = connection_class  # of the nodes that it will find
    return client
