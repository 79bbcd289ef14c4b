"""What pods, callers and the test itself agree on: the service's name, its times, and how each is connected."""

import asyncio
import ctypes
import json
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from stateful_route.drivers import client, route_info, server
from stateful_route.drivers.cache import CacheOptions
from stateful_route.drivers.server_options import ServerHooks, ServerOptions
from stateful_route.router import route, route_sync
from stateful_route.store import connection, connection_sync, executor, executor_sync
from stateful_route.store.connection import StoreOptions
from support.journal import Journal, ObservedStore, ObservedSyncStore
from support.twins import Threaded

NS, SVC = "games", "room"
PODS = 3
UIDS = [f"user-{number}" for number in range(250)]

REFRESH_SECONDS = 1.0
UPDATE_SECONDS = 0.5
EXPIRE_SECONDS = 2.0
STORE = StoreOptions(timeout_seconds=0.5, deadline_seconds=1.0)
SERVER = ServerOptions(update_seconds=UPDATE_SECONDS, cpu_factor=0, settle_seconds=REFRESH_SECONDS, stop_seconds=5.0)

PULSE_SECONDS = 0.05
LATE_SECONDS = 0.2

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Role:
    """What a process is started as: its only argument, as JSON.

    Attributes:
        name: Of its journal and in reports.
        url: The store's.
        folder: Of journals and sockets.
        colour: Which of the twins it uses: ``async`` or ``sync``.
        ordinal: Of a pod.
        pod_uid: Likewise.
        namespace: Of the service.
        port: Where pods listen, at the address that the service tells; 0: on unix sockets in the folder.
        pause_seconds: Between two requests of one task of a caller.
        answer_seconds: How long a caller waits for a pod.
        hops: How often it asks for one request at most.
        again: It asks again if the pod could not be reached: that one may have ended just after it gave the user away.
        save_seconds: How often a pod with changes in memory saves them; 0: only when it gives a user away.
        store_seconds: How long all wait for an answer of the store, and half of how long they try in all.
    """

    name: str
    url: str
    folder: str
    colour: str = "async"
    ordinal: int = -1
    pod_uid: str = ""
    namespace: str = NS
    port: int = 0
    pause_seconds: float = 0.0
    answer_seconds: float = 0.4
    hops: int = 5
    again: bool = False
    save_seconds: float = 0.0
    store_seconds: float = STORE.timeout_seconds

    @classmethod
    def mine(cls) -> Self:
        """This process's; it ends with the process that has started it, however that ends."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        return cls(**json.loads(sys.argv[1]))

    def words(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))

    @property
    def store(self) -> StoreOptions:
        return StoreOptions(timeout_seconds=self.store_seconds, deadline_seconds=2 * self.store_seconds)

    @property
    def journal(self) -> Path:
        return Path(self.folder) / f"{self.name}.jsonl"


def socket_of(folder: str, ordinal: int) -> str:
    """Where a pod listens, whichever process it is just now."""
    return f"{folder}/pod-{ordinal}.sock"


class Drivers:
    """The drivers of one process, of either colour, as asynchronous objects; every script call is taken down."""

    def __init__(self, role: Role, journal: Journal) -> None:
        self._colour = role.colour
        cache, options = CacheOptions(refresh_seconds=REFRESH_SECONDS), role.store
        if role.colour == "async":
            store = connection.Store.from_url(role.url, options)
            made: Any = executor.StatefulExecutor(store)
            made._patient = ObservedStore.over(store)
            self.route: Any = route.StatefulRoute(made, route.RouteOptions(store=options, cache=cache))
            self.executor, self.client, self.info = made, self.route.client, self.route.info
        else:
            plain = connection_sync.Store.from_url(role.url, options)
            made = executor_sync.StatefulExecutor(plain)
            made._patient = ObservedSyncStore.over(plain)
            self.route = route_sync.StatefulRoute(made, route.RouteOptions(store=options, cache=cache))
            self.executor = Threaded(made, executor.StatefulExecutor)
            self.client = Threaded(self.route.client, client.ClientDriver)
            self.info = Threaded(self.route.info, route_info.RouteInfoDriver)
        made._patient.journal = journal
        self.states = self.route.states

    def server(self, identity: Any, hooks: ServerHooks) -> Any:
        """The driver of a pod; hooks of the synchronous one are called in threads."""
        made = self.route.server(identity, SERVER, hooks)
        return made if self._colour == "async" else Threaded(made, server.ServerDriver)

    async def close(self) -> None:
        """Close everything."""
        if self._colour == "async":
            await self.route.close()
        else:
            await asyncio.to_thread(self.route.close)


async def pulse(journal: Journal) -> None:
    """Take down when the process was not let run for a while; what is late then is the machine's fault."""
    while True:
        due = time.monotonic() + PULSE_SECONDS
        await asyncio.sleep(PULSE_SECONDS)
        if (late := time.monotonic() - due) > LATE_SECONDS:
            journal.note("late", seconds=late)
