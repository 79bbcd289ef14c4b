"""The callers' side with ``wsgiref``: requests of users go to their pods, all others are answered here."""

import json
import os
import signal
import socket
import sys
from collections.abc import Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from middleware import Environ, Routing, StartResponse, StatefulRouteMiddleware, uid_in_path

from stateful_route import CacheOptions, ClientOptions
from stateful_route.sync import RouteOptions, StatefulRoute

NAMESPACE, SERVICE = "default", "rooms"
REFRESH_SECONDS = float(os.environ.get("REFRESH_SECONDS", "5"))


class Server(ThreadingMixIn, WSGIServer):
    """Answers each request in a thread of its own."""

    daemon_threads = True
    request_queue_size = 128


class Handler(WSGIRequestHandler):
    """Takes no notes."""

    timeout = 10.0

    def log_message(self, *_: object) -> None:
        """Requests are not worth a line each."""


def application(route: StatefulRoute) -> StatefulRouteMiddleware:
    """What the server calls; ``route`` is one for the process."""

    def own(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Requests of the gateway's own: which pods take new users."""
        known = environ["PATH_INFO"] == "/pods"
        status = HTTPStatus.OK if known else HTTPStatus.NOT_FOUND
        body = json.dumps({"ready": route.info.routable_pods(NAMESPACE, SERVICE)} if known else {}).encode()
        start_response(
            f"{status} {status.phrase}", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        )
        return [body]

    routing = Routing(namespace=NAMESPACE, service=SERVICE, uid=uid_in_path(r"/users/([^/]+)/"))
    return StatefulRouteMiddleware(own, route, routing)


def main() -> None:
    """Serve until the end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    host, _, port = os.environ.get("LISTEN", "127.0.0.1:8080").rpartition(":")
    Server.address_family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    options = RouteOptions(
        cache=CacheOptions(refresh_seconds=REFRESH_SECONDS),
        client=ClientOptions(
            address=os.environ.get("POD_ADDRESS", "{pod}.{service}.{namespace}.svc:8000"), avoid_seconds=REFRESH_SECONDS
        ),
    )
    with (
        StatefulRoute.connect(os.environ["STATEFUL_ROUTE_REDIS_URL"], options) as route,
        make_server(host.strip("[]"), int(port), application(route), Server, Handler) as server,
    ):
        server.serve_forever()


if __name__ == "__main__":
    main()
