"""Free ports of the loopback address, chosen at random so that servers started at the same time rarely meet.

All are below those that the kernel gives to clients (32,768 on): a server that is stopped for a while finds its port
free when it comes back. `kwokctl` and others count down from 32,767; those few are left to them.
"""

import random
import socket
from collections.abc import Iterator
from typing import Final

HOST: Final = "127.0.0.1"

STORE_PORTS: Final = range(10_000, 16_000)
"""A store in cluster mode takes the port 10,000 above its own as well."""

COMPONENT_PORTS: Final = range(26_000, 32_000)


def free_ports(among: range, count: int) -> Iterator[int]:
    """Up to ``count`` different ports on which nobody listens now; another process may still be quicker."""
    candidates = iter(random.sample(among, len(among)))
    found = 0
    while found < count and (port := next(candidates, None)) is not None:
        if _is_free(port):
            found += 1
            yield port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still in TIME_WAIT can be used.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
