"""Sends each request to the pod of its user. To be copied: it needs stateful-route, and no framework."""

import http.client
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, BinaryIO
from urllib.parse import quote

from stateful_route import InvalidArgument, NoPodAvailable, StatefulRouteError
from stateful_route.sync import StatefulRoute

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

ATTEMPTS = 2
"""The user may have moved since we were told where it is; who has asked twice in vain should come back later."""

HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    }
)
"""Headers about one connection, which are not passed on (RFC 9110, 7.6.1)."""

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""May be sent again though the first attempt may have been carried out (RFC 9110, 9.2.2)."""

PATH_SAFE = "/:@!$&'()*+,;=~"
PART_BYTES = 64 * 1024


def uid_in_header(name: str) -> Callable[[Environ], str | None]:
    """The uid is what this header says; without it the request is nobody's.

    Take one that your own front end sets for users who have logged in, and removes from what they send.
    """
    key = "HTTP_" + name.upper().replace("-", "_")
    return lambda environ: _text(environ[key]) if key in environ else None


def uid_in_path(pattern: str) -> Callable[[Environ], str | None]:
    """The uid is the first group of a pattern at the beginning of the path, such as ``/users/([^/]+)/``."""
    compiled = re.compile(pattern)
    return lambda environ: match[1] if (match := compiled.match(_text(environ["PATH_INFO"]))) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Which requests go where.

    Attributes:
        namespace: Of the service.
        service: The routed service.
        uid: Whose request it is; None: nobody's, the application itself answers.
        deadline_seconds: Until a pod has begun to answer, all attempts together; and then for each part of the answer.
        connect_seconds: For connecting to a pod.
        pause_seconds: Before the same pod is asked again, and before each question while a user is being given away.
        transit_seconds: How long a user who is being given away is waited for, in all; no longer than the deadline.
        retry_after_seconds: When whoever is turned away should come back.
        max_body_bytes: A longer body is refused: it is kept in memory, for the second attempt.
    """

    namespace: str
    service: str
    uid: Callable[[Environ], str | None]
    deadline_seconds: float = 10.0
    connect_seconds: float = 1.0
    pause_seconds: float = 0.2
    transit_seconds: float = 5.0
    retry_after_seconds: int = 1
    max_body_bytes: int = 1024 * 1024


class StatefulRouteMiddleware:
    """Forwards the requests of users to their pods; all others go to the application.

    What a caller sees, besides the pod's own answers:

    - 503 with Retry-After: no pod takes the user, the store is away, the user is being given away for too long, or the
      user's pod cannot be reached and nobody has moved the user yet. No pod has acted on the request.
    - 502: the pod broke off, and may have done what was asked for. 504: it has not answered within the deadline.
    - 400: that cannot be a uid, or the body is incomplete. 413: it is too long. 411: nobody says how long it is.
    """

    def __init__(self, app: App, route: StatefulRoute, routing: Routing) -> None:
        """``route`` is shared with the application, which closes it; both are used by many threads."""
        self._app = app
        self._client = route.client
        self._routing = routing

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request; see the class."""
        uid = self._routing.uid(environ)
        if uid is None:
            return self._app(environ, start_response)
        try:
            answer = self._forwarded(uid, environ)
        except _RefusedError as error:
            return self._refuse(start_response, *error.args)
        head = answer.response
        start_response(f"{head.status} {head.reason}", _end_to_end(head.getheaders(), HOP_BY_HOP))
        return answer

    def _forwarded(self, uid: str, environ: Environ) -> "_Answer":
        body = _body(environ, self._routing.max_body_bytes)
        seconds = self._routing.deadline_seconds
        try:
            return self._asked(uid, _Request.of(environ, body), time.monotonic() + seconds)
        except InvalidArgument as error:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error
        except (StatefulRouteError, _UnreachableError) as error:
            raise _RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
        except TimeoutError as error:
            raise _RefusedError(HTTPStatus.GATEWAY_TIMEOUT, f"no pod has answered within {seconds:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise _RefusedError(HTTPStatus.BAD_GATEWAY, f"the pod broke off: {error}") from error

    def _asked(self, uid: str, request: "_Request", until: float) -> "_Answer":
        """The answer of the user's pod, as soon as its head is there."""
        namespace, service, client = self._routing.namespace, self._routing.service, self._client
        in_vain: int | None = None
        left, transit_until = ATTEMPTS, time.monotonic() + self._routing.transit_seconds
        while left:
            pod = client.compute_linked_pod(namespace, uid, service)
            if pod == in_vain:  # it has died, and nobody has moved the user yet; or it has lost the user just now
                time.sleep(self._routing.pause_seconds)
                client.cache_expired(namespace, uid, service)
                pod = client.compute_linked_pod(namespace, uid, service)
            in_vain = pod
            try:
                answer = self._sent(client.address(namespace, service, pod), request, until)
            except (OSError, http.client.HTTPException) as error:
                client.cache_expired(namespace, uid, service)
                client.report_unreachable(namespace, service, pod)
                harmless = isinstance(error, _UnreachableError) or request.method in IDEMPOTENT
                left -= 1
                if not left or not harmless or time.monotonic() >= until:
                    raise
                continue
            if answer.response.status != HTTPStatus.MISDIRECTED_REQUEST:
                return answer
            answer.close()
            if answer.response.getheader("Retry-After") and time.monotonic() < min(transit_until, until):
                in_vain = None  # it has the user, and gives the user away just now: soon another pod can have the user
                client.cache_expired(namespace, uid, service)
                time.sleep(self._routing.pause_seconds)
            else:
                left -= 1
                client.report_misrouted(namespace, uid, service)
        raise NoPodAvailable(f"pod {in_vain} does not have {uid!r}, and no other pod has, so far")

    def _sent(self, where: str, request: "_Request", until: float) -> "_Answer":
        left = max(0.001, until - time.monotonic())
        connection = http.client.HTTPConnection(where, timeout=min(left, self._routing.connect_seconds))
        try:
            try:
                connection.connect()
            except OSError as error:
                raise _UnreachableError(f"{where}: {error}") from error
            connected: socket.socket = connection.sock  # the response takes it over
            connected.settimeout(left)
            connection.request(request.method, request.target, request.body, request.headers)
            response = connection.getresponse()
            connected.settimeout(self._routing.deadline_seconds)
        except BaseException:
            connection.close()
            raise
        return _Answer(connection, response)

    def _refuse(self, start_response: StartResponse, status: HTTPStatus, why: str) -> Iterable[bytes]:
        text = f"{why}\n".encode(errors="replace")
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append(("Retry-After", str(self._routing.retry_after_seconds)))
        start_response(f"{status} {status.phrase}", headers)
        return [text]


class _RefusedError(Exception):
    """The status to answer with, and why."""


class _UnreachableError(OSError):
    """No connection to the pod: nothing was sent."""


@dataclass(frozen=True, slots=True)
class _Request:
    """The same request, for whatever pod."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, environ: Environ, body: bytes) -> "_Request":
        path = quote(environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"], safe=PATH_SAFE, encoding="latin-1")
        query = environ.get("QUERY_STRING", "")
        given = {name[5:].replace("_", "-").title(): value for name, value in environ.items() if name[:5] == "HTTP_"}
        headers = dict(_end_to_end(given.items(), HOP_BY_HOP | {"content-length"}))
        if environ.get("CONTENT_TYPE"):
            headers["Content-Type"] = environ["CONTENT_TYPE"]
        path_here = [headers.get("X-Forwarded-For"), environ.get("REMOTE_ADDR")]
        headers["X-Forwarded-For"] = ", ".join(address for address in path_here if address)
        headers.setdefault("X-Forwarded-Proto", environ["wsgi.url_scheme"])
        headers["Connection"] = "close"
        return cls(environ["REQUEST_METHOD"], f"{path}?{query}" if query else path, headers, body)


class _Answer:
    """The pod's answer, part by part; the server calls ``close`` when it is through with it, or has given it up."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self.response = response
        self._connection = connection

    def __iter__(self) -> Iterator[bytes]:
        while part := self.response.read1(PART_BYTES):
            yield part

    def close(self) -> None:
        self.response.close()
        self._connection.close()


def _body(environ: Environ, limit: int) -> bytes:
    if environ.get("HTTP_TRANSFER_ENCODING"):
        raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, "a body needs a Content-Length")
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "the Content-Length is no number") from None
    if length > limit:
        raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body may have {limit} bytes at most")
    source: BinaryIO = environ["wsgi.input"]
    body = source.read(length) if length > 0 else b""
    if len(body) < length:
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "the body is incomplete")
    return body


def _end_to_end(headers: Iterable[tuple[str, str]], dropped: frozenset[str]) -> Headers:
    known = list(headers)
    named = {word.strip().lower() for name, value in known if name.lower() == "connection" for word in value.split(",")}
    return [(name, value) for name, value in known if name.lower() not in dropped | named]


def _text(value: str) -> str:
    """WSGI hands over bytes in the disguise of Latin-1."""
    return value.encode("latin-1").decode(errors="surrogateescape")
