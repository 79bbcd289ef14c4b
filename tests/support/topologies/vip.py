"""One address before a primary and its replica: a Service, a virtual IP, a managed endpoint."""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from stateful_route.devcluster.embedded_store import StoreServer
from support.tcp_proxy import TcpProxy
from support.topologies.movable import MANAGED_AT, MovableStore
from support.topologies.topology import Topology, takes_writes, wait_until

NAME = "store.test"
FIRST, SECOND = "127.0.1.9", "127.0.2.9"


@dataclass
class Vip(Topology):
    """The address leads to one of two servers; who is connected stays where he is.

    Attributes:
        tls: Clients speak TLS.
    """

    proxy: TcpProxy
    primary: MovableStore
    replica: MovableStore
    login: str = ""
    settings: str = ""
    tls: bool = False

    @property
    def url(self) -> str:
        scheme = "rediss" if self.tls else "redis"
        return f"{scheme}://{self.login}127.0.0.1:{self.proxy.port}/0{self.settings}"

    def straight_url(self) -> str:
        return self.primary.url

    @property
    def primary_port(self) -> int:
        return self.primary.port

    def serves(self) -> bool:
        return takes_writes(MANAGED_AT, self.primary.port)

    def kill(self) -> None:
        """The primary is lost, the replica takes its place and its address."""
        self.primary.kill()
        self._promote()

    def freeze(self) -> None:
        """The primary answers no more, the replica takes its place and its address."""
        self.primary.pause()
        self._promote()

    def swap(self) -> None:
        """The two change their places; the former primary lives on as a replica, with its connections."""
        former, successor = self.primary, self.replica
        self._promote()
        former.ask("REPLICAOF", successor.host, successor.port)

    def thaw(self) -> None:
        """The frozen one comes back, and is made a replica."""
        self.replica.resume()
        self.replica.ask("REPLICAOF", self.primary.host, self.primary.port)

    def answering(self) -> list[MovableStore]:
        return [self.primary, self.replica]

    def _promote(self) -> None:
        self.replica.ask("REPLICAOF", "NO", "ONE")
        self.primary, self.replica = self.replica, self.primary
        self._lead_to_primary()

    def _lead_to_primary(self) -> None:
        self.proxy.lead_to(self.primary.port)


@dataclass
class NamedPair(Vip):
    """A DNS name for one of two servers, each with an address of its own; who is connected stays where he is."""

    names: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"redis://{NAME}:{self.proxy.port}/0"

    def _lead_to_primary(self) -> None:
        self.names[NAME] = SECOND if self.names[NAME] == FIRST else FIRST


@asynccontextmanager
async def vip(kind: StoreServer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Vip]:
    """Two servers and the address, which leads to the first."""
    with pair(kind) as (primary, replica):
        async with TcpProxy(primary.port, tls=tls) as proxy:
            yield Vip(proxy, primary, replica, tls=tls is not None)


@asynccontextmanager
async def named_pair(kind: StoreServer, names: dict[str, str]) -> AsyncIterator[NamedPair]:
    """Two servers, on one port of two addresses, and the name of the first; ``names``: what the resolver knows."""
    with pair(kind) as (primary, replica):
        async with (
            TcpProxy(primary.port, listen=(FIRST, 0)) as first,
            TcpProxy(replica.port, listen=(SECOND, first.port)),
        ):
            names[NAME] = FIRST
            yield NamedPair(first, primary, replica, names=names)


@contextmanager
def pair(kind: StoreServer) -> Iterator[tuple[MovableStore, MovableStore]]:
    """A primary and its replica."""
    with ExitStack() as servers:
        primary = servers.enter_context(MovableStore(kind, "127.0.1.1", "--repl-diskless-sync-delay", "0"))
        replica = servers.enter_context(
            MovableStore(kind, "127.0.1.2", "--replicaof", primary.host, str(primary.port), "--repl-timeout", "5")
        )
        wait_until(lambda: follows(replica), "the replica is connected")
        yield primary, replica


def follows(replica: MovableStore) -> bool:
    """Whether it is connected to its primary and has all that there was."""
    found = replica.ask("ROLE")
    return found[0] == "slave" and found[3] == "connected"
