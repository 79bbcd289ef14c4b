"""One server that clients know by a name."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stateful_route.devcluster.embedded_store import StoreServer
from support.topologies.movable import MovableStore
from support.topologies.topology import Topology, takes_writes
from support.topologies.vip import NAME

FIRST, SECOND = "127.0.1.1", "127.0.2.1"


@dataclass
class NamedServer(Topology):
    """A server, and the resolver's names."""

    server: MovableStore
    names: dict[str, str]

    @property
    def url(self) -> str:
        return f"redis://{NAME}:{self.server.port}/0"

    def straight_url(self) -> str:
        return self.server.url

    @property
    def primary_port(self) -> int:
        return self.server.port

    def serves(self) -> bool:
        return takes_writes(self.names[NAME], self.server.port)

    def answering(self) -> list[MovableStore]:
        return [self.server]

    def move(self) -> None:
        """It is replaced with what it has on disk, and has another address, which its name leads to a moment later."""
        self.server.move(SECOND)
        self.names[NAME] = SECOND


@contextmanager
def named_server(kind: StoreServer, names: dict[str, str]) -> Iterator[NamedServer]:
    """One server with a disk; ``names``: what the resolver knows."""
    names[NAME] = FIRST
    with MovableStore(kind, FIRST, "--appendonly", "yes") as server:
        yield NamedServer(server, names)
