"""Ports that nobody listens on."""

import socket
from contextlib import closing


def free_port() -> int:
    """One that was free a moment ago, on loopback."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
