"""A server with an address of its own, which changes as a pod's does when it is replaced."""

from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from stateful_route.devcluster.embedded_store import EmbeddedStore, StoreServer

MANAGED_AT = "127.0.0.1"
"""Every server listens here, too, on the same port: for the test alone."""


def plain_client(host: str, port: int, seconds: float = 1.0) -> Redis:
    """A client that tries once, waits no longer than that, and gives replies as text."""
    patience = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "retry": Retry(NoBackoff(), 0)}
    return Redis(host=host, port=port, decode_responses=True, **patience)


class MovableStore(EmbeddedStore):
    """A server on two addresses of loopback: ``host`` is what clients and other servers know, it may change.

    Args:
        kind: Which program.
        host: The first address, such as 127.0.1.1.
        arguments: Further words for its command line.
    """

    def __init__(self, kind: StoreServer, host: str, *arguments: str) -> None:
        super().__init__(kind)
        self._words = arguments
        self._listen_on(host)

    @property
    def address(self) -> str:
        """``host:port``, as clients know it."""
        return f"{self.host}:{self.port}"

    def ask(self, *words: Any) -> Any:
        """The reply to one command, over a connection of its own."""
        with plain_client(MANAGED_AT, self.port, 2.0) as client:
            return client.execute_command(*words)

    def move(self, host: str) -> None:
        """End it in good order and start it again with another address; what it has on disk stays."""
        self.stop()
        self._listen_on(host)
        self.start()

    def remember(self, *words: str) -> None:
        """Give it further words for its command line, from its next start on."""
        self._words = (*self._words, *words)
        self._listen_on(self.host)

    def _listen_on(self, host: str) -> None:
        self.host = host
        announced = "cluster-announce-ip" if "--cluster-enabled" in self._words else "replica-announce-ip"
        self._arguments = (*self._words, "--bind", MANAGED_AT, host, f"--{announced}", host)
