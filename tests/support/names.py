"""Names that this process alone resolves: the resolver is the one thing of a network that a test cannot change."""

import socket
from typing import Any

import pytest


class Names:
    """Name → address of loopback; both may change at any time. All other names are asked for as always."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Answer from now on, until ``monkeypatch`` is undone: asyncio's resolver asks the same function."""
        self.known: dict[str, str] = {}
        self._ask = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._answer)

    def _answer(self, host: Any, *others: Any, **options: Any) -> Any:
        return self._ask(self.known.get(host, host), *others, **options)
