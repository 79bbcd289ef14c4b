"""The container of a routed pod on a real node: ``python -m support.room``; what it is, its environment says.

`support.routed_pod` over TCP, in the same port as its probes: an HTTP request for ``/`` is answered by whether it is
ready. Besides, it does what it is told to: ``{"do": "unready"}``, ``{"do": "ready"}`` and ``{"do": "eat"}``, which
takes memory until the kernel ends it.
"""

import asyncio
import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from stateful_route.drivers.identity import Identity
from support.routed_pod import RoutedPod
from support.routed_service import Role

PORT: Final = 7777
JOURNALS: Final = "/journals"
STORE_SECONDS: Final = 5.0
"""Long: the nodes share what processors the machine has with all that goes on there."""
_MEGABYTE: Final = 1 << 20


class Room(RoutedPod):
    """A routed pod that can be asked by Kubernetes, and by tests."""

    def __init__(self, role: Role) -> None:
        super().__init__(role)
        self._ready = True

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._converse, "0.0.0.0", PORT)

    async def _reply(self, line: bytes) -> bytes:
        if line.startswith(b"GET "):
            up = self._ready and self._server.effective_state is not None
            status = b"200 OK" if up else b"503 Service Unavailable"
            return b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        if line.startswith(b"{") and (order := json.loads(line).get("do")):
            return json.dumps(self._obey(order)).encode() + b"\n"
        return await super()._reply(line) if line.startswith(b"{") else b""

    def _obey(self, order: str) -> dict[str, Any]:
        if order == "eat":
            threading.Thread(target=_eat, daemon=True).start()
        else:
            self._ready = order == "ready"
        return {"did": order}


def _eat() -> None:
    eaten = []
    while True:
        eaten.append(bytearray(os.urandom(1) * _MEGABYTE))


def role() -> Role:
    """By the environment; each life of a container has a journal of its own."""
    me = Identity.from_environment()
    for life in range(1000):
        name = f"pod-{me.ordinal}-{me.pod_uid[:8]}-{life}"
        if not Path(JOURNALS, me.namespace, f"{name}.jsonl").exists():
            break
    mine = Role(name, os.environ["REDIS_URL"], f"{JOURNALS}/{me.namespace}", "async", me.ordinal, me.pod_uid)
    return replace(mine, namespace=me.namespace, store_seconds=STORE_SECONDS)


def main() -> int:
    asyncio.run(Room(role()).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
