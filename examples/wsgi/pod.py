"""A routed pod with ``http.server``: counts its users' requests in its memory, and saves a user whom it gives away.

Which pod this is comes from the environment, as Kubernetes sets it.
"""

import json
import os
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from counters import Counters

from stateful_route import Replaced, ServerHooks, ServerOptions, StatefulRouteError
from stateful_route.domain.errors import NotRunning
from stateful_route.drivers.server_sync import ServerDriver
from stateful_route.sync import StatefulRoute

REFRESH_SECONDS = float(os.environ.get("REFRESH_SECONDS", "5"))
"""How old a caller's knowledge may be, and so how long a pod that is to end waits before it gives users away."""


class Rooms:
    """What this pod has in memory, and for whom; used by many threads.

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
        self._locks = [threading.Lock() for _ in range(64)]

    def count(self, uid: str) -> int | None:
        """One more request: how many the user has made; None: this pod does not have the user, nothing is counted.

        Raises:
            StatefulRouteError: nobody can say whose the user is.
        """
        with self.driver.serving(uid) as mine:  # who is given away is saved after the requests under way
            if not mine:
                return None
            with self._lock(uid):
                epoch = self.driver.token(uid)
                if epoch is None:  # another pod has got the user in this moment
                    return None
                count = self._counts[uid][0] if uid in self._counts else self._counters.load(uid)
                self._counts[uid] = count + 1, epoch
                return count + 1

    def save(self, uid: str) -> None:
        """The pod gives the user away: whoever gets the user loads the count."""
        with self._lock(uid):
            count, epoch = self._counts.get(uid, (0, 0))
            if count and self._counters.save(uid, count, self.driver.token(uid) or epoch):
                print(f"{uid} is saved at {count} and given away", flush=True)
            self._counts.pop(uid, None)

    def forget(self, uid: str, _pod: int | None) -> None:
        """The pod has lost the user, or got the user back: what was in memory before that is old."""
        with self._lock(uid):
            _, epoch = self._counts.get(uid, (0, None))
            if epoch != self.driver.token(uid):  # a request that was quicker than this has loaded it anew already
                self._counts.pop(uid, None)

    def _lock(self, uid: str) -> threading.Lock:
        """One thing after the other with a user's count; some locks for all, instead of one for each user."""
        return self._locks[hash(uid) % len(self._locks)]


class Server(ThreadingHTTPServer):
    """Answers each request in a thread of its own.

    Attributes:
        rooms: What the requests are about.
    """

    request_queue_size = 128
    rooms: Rooms


class Handler(BaseHTTPRequestHandler):
    """``POST /users/<uid>/count``, and ``GET /healthz`` for whoever looks whether the pod is well."""

    server: Server
    timeout = 10.0

    def do_GET(self) -> None:
        """Say that all is well."""
        if self.path == "/healthz":
            self._answer(200, {"ok": True})
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        """One more request of this user; 421 Misdirected Request if another pod has the user.

        With Retry-After: ask in a moment, the user is just being given away.
        """
        match = re.fullmatch(r"/users/([^/]+)/count", self.path)
        if match is None:
            self._answer(404, {})
            return
        uid, rooms = unquote(match[1]), self.server.rooms
        try:
            number = rooms.count(uid)
        except (NotRunning, Replaced):  # the pod has nobody any more
            self._answer(421, {})
        except StatefulRouteError as error:  # the store does not say whose the user is
            self._answer(503, {"why": str(error)}, {"Retry-After": "1"})
        else:
            if number is None:
                self._answer(421, {}, {"Retry-After": "1"} if rooms.driver.is_in_transit(uid) else {})
            else:
                self._answer(200, {"uid": uid, "pod": rooms.ordinal, "count": number})

    def _answer(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Requests are not worth a line each."""


def main() -> None:
    """Serve until somebody asks the pod to end, and its users are given away."""
    host, _, port = os.environ.get("LISTEN", "127.0.0.1:8000").rpartition(":")
    Server.address_family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with (
        StatefulRoute.connect(os.environ["STATEFUL_ROUTE_REDIS_URL"]) as route,
        Server((host.strip("[]"), int(port)), Handler) as server,  # listens from here on: callers wait until it serves
    ):
        rooms = server.rooms = Rooms(route, Counters(Path(os.environ["DATABASE"])))
        rooms.driver.start()
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            rooms.driver.run_until_terminated()
        finally:
            server.shutdown()
            serving.join()


if __name__ == "__main__":
    main()
