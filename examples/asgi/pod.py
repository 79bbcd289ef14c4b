"""A routed pod with FastAPI: counts its users' requests in its memory, and saves a user whom it gives away.

Which pod this is comes from the environment, as Kubernetes sets it.
"""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import uvicorn
from counters import Counters
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from stateful_route import Replaced, ServerHooks, ServerOptions, StatefulRoute, StatefulRouteError
from stateful_route.domain.errors import NotRunning
from stateful_route.drivers.server import ServerDriver

REFRESH_SECONDS = float(os.environ.get("REFRESH_SECONDS", "5"))
"""How old a caller's knowledge may be, and so how long a pod that is to end waits before it gives users away."""


class Rooms:
    """What this pod has in memory, and for whom.

    Attributes:
        driver: Knows whose the users are.
        ordinal: Which pod this is.
    """

    def __init__(self, route: StatefulRoute, counters: Counters) -> None:
        hooks = ServerHooks(on_release=self.save, on_gained=self.forget, on_moved=self.forget)
        self.driver: ServerDriver = route.server(options=ServerOptions(settle_seconds=REFRESH_SECONDS), hooks=hooks)
        self.ordinal = self.driver.identity.ordinal
        self._counters = counters
        self._counts: dict[str, tuple[int, int]] = {}
        """Each user's count, and the epoch since which the user was ours then."""
        self._locks = [asyncio.Lock() for _ in range(64)]

    async def count(self, uid: str) -> int | None:
        """One more request: how many the user has made; None: this pod does not have the user, nothing is counted.

        Raises:
            StatefulRouteError: nobody can say whose the user is.
        """
        async with self.driver.serving(uid) as mine:  # who is given away is saved after the requests under way
            if not mine:
                return None
            async with self._lock(uid):
                epoch = self.driver.token(uid)
                if epoch is None:  # another pod has got the user in this moment
                    return None
                count = (
                    self._counts[uid][0] if uid in self._counts else await asyncio.to_thread(self._counters.load, uid)
                )
                self._counts[uid] = count + 1, epoch
                return count + 1

    async def save(self, uid: str) -> None:
        """The pod gives the user away: whoever gets the user loads the count."""
        async with self._lock(uid):
            count, epoch = self._counts.get(uid, (0, 0))
            if count and await asyncio.to_thread(self._counters.save, uid, count, self.driver.token(uid) or epoch):
                print(f"{uid} is saved at {count} and given away", flush=True)
            self._counts.pop(uid, None)

    async def forget(self, uid: str, _pod: int | None) -> None:
        """The pod has lost the user, or got the user back: what was in memory before that is old."""
        async with self._lock(uid):
            _, epoch = self._counts.get(uid, (0, None))
            if epoch != self.driver.token(uid):  # a request that was quicker than this has loaded it anew already
                self._counts.pop(uid, None)

    def _lock(self, uid: str) -> asyncio.Lock:
        """One thing after the other with a user's count; some locks for all, instead of one for each user."""
        return self._locks[hash(uid) % len(self._locks)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The pod is READY from here on, until somebody asks it to end."""
    async with StatefulRoute.connect(os.environ["STATEFUL_ROUTE_REDIS_URL"]) as route:
        rooms = app.state.rooms = Rooms(route, Counters(Path(os.environ["DATABASE"])))
        await rooms.driver.start()
        ending = asyncio.create_task(end_after_giving_away(rooms.driver))
        yield
        ending.cancel()


async def end_after_giving_away(driver: ServerDriver) -> None:
    """Take SIGTERM in place of the web server, and pass it on once no user is left.

    The web server would stop listening at once, and the users would meet closed doors until they are somewhere else.
    """
    with suppress(Replaced):
        await driver.run_until_terminated()
    signal.raise_signal(signal.SIGTERM)


app = FastAPI(lifespan=lifespan)


@app.post("/users/{uid}/count")
async def count(uid: str, request: Request) -> Response:
    """One more request of this user; 421 Misdirected Request if another pod has the user."""
    rooms: Rooms = request.app.state.rooms
    number = await rooms.count(uid)
    if number is None:
        return misdirected({"Retry-After": "1"} if rooms.driver.is_in_transit(uid) else {})
    return JSONResponse({"uid": uid, "pod": rooms.ordinal, "count": number})


def misdirected(headers: dict[str, str]) -> Response:
    """Ask anew which pod has the user; with Retry-After: in a moment, the user is just being given away."""
    return PlainTextResponse("this pod does not have the user\n", 421, headers)


@app.get("/healthz")
async def healthz() -> Response:
    """For whoever looks whether the pod is well."""
    return PlainTextResponse("ok\n")


@app.exception_handler(NotRunning)
@app.exception_handler(Replaced)
async def ended(_request: Request, _error: Exception) -> Response:
    """The pod has nobody any more."""
    return misdirected({})


@app.exception_handler(StatefulRouteError)
async def unknown(_request: Request, error: Exception) -> Response:
    """The store does not say whose the user is."""
    return PlainTextResponse(f"{error}\n", 503, {"Retry-After": "1"})


def main() -> None:
    """Serve until the end."""
    host, _, port = os.environ.get("LISTEN", "127.0.0.1:8000").rpartition(":")
    # Listening before the pod says that it is READY: the first callers wait for a moment instead of being refused. The
    # protocol is named because asyncio sets TCP_NODELAY only then; each answer would take 40 ms longer without.
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host.strip("[]"), int(port)))
    listening.listen()
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


if __name__ == "__main__":
    main()
