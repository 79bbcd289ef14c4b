"""What every topology can be asked by those who cause its faults and count what became of them."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import redis

from support.topologies.movable import MovableStore, plain_client
from support.waiting import PATIENCE_SECONDS

LOOK_SECONDS = 0.3
MARKER = "sf:marker"
TROUBLE = (redis.RedisError, OSError)
"""What a plain client meets while a topology is in trouble."""


class Topology(ABC):
    """Servers, and how clients find them. All methods block: call them in a thread."""

    replicas = 1
    """How many servers may be promoted in the place of `primary_port`."""
    login = ""
    """``user:password@`` of the clients, or nothing."""
    settings = ""
    """``?name=value`` and so on, at the end of the clients' URL, or nothing."""

    @property
    @abstractmethod
    def url(self) -> str:
        """What the clients of the test are given."""

    @abstractmethod
    def straight_url(self) -> str:
        """The shortest way to where the data is now, past everything that may be in trouble."""

    @property
    @abstractmethod
    def primary_port(self) -> int:
        """Of the server that is in trouble in the test's fault, or whose place another one takes."""

    @abstractmethod
    def serves(self) -> bool:
        """Whether a plain client that knows nothing can write now, everywhere, where it shall after the fault."""

    @abstractmethod
    def answering(self) -> list[MovableStore]:
        """All servers that are neither gone nor frozen."""

    def ask_all(self, *words: Any) -> None:
        """One command for each server, such as a change of users, which is not replicated."""
        for server in self.answering():
            server.ask(*words)

    def cut(self) -> None:
        """All connections of clients end, and nothing else happens."""
        for kind in ("normal", "pubsub"):
            self.ask_all("CLIENT", "KILL", "TYPE", kind)

    def at_rest(self) -> bool:
        """Whether nobody else takes writes any more, either."""
        return True

    def marker(self) -> str:
        """A key on the server of `primary_port`."""
        return MARKER


def wait_until(holds: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Until it holds; a plain client's trouble counts as no.

    Raises:
        AssertionError: it did not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not holds_now(holds):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)


def holds_now(holds: Callable[[], object]) -> bool:
    """Whether it holds; a plain client's trouble counts as no."""
    try:
        return bool(holds())
    except TROUBLE:
        return False


def takes_writes(host: str, port: int, key: str = MARKER) -> bool:
    """Whether a plain client can write there."""
    with plain_client(host, port, LOOK_SECONDS) as client:
        return holds_now(lambda: client.set(key, "1"))
