"""Sends each request to the pod of its user. To be copied: it needs httpx and stateful-route, and no framework."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from stateful_route import InvalidArgument, NoPodAvailable, StatefulRoute, StatefulRouteError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

ATTEMPTS = 2
"""The user may have moved since we were told where it is; who has asked twice in vain should come back later."""

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade".split()
)
"""Headers about one connection, which are not passed on (RFC 9110, 7.6.1)."""

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""May be sent again though the first attempt may have been carried out (RFC 9110, 9.2.2)."""


def uid_in_header(name: str) -> Callable[[Scope], str | None]:
    """The uid is what this header says; without it the request is nobody's.

    Take one that your own front end sets for users who have logged in, and removes from what they send.
    """
    wanted = name.lower().encode("latin-1")

    def uid(scope: Scope) -> str | None:
        found = next((value for key, value in scope["headers"] if key == wanted), None)
        return None if found is None else found.decode(errors="surrogateescape")  # what is no UTF-8 is no uid: 400

    return uid


def uid_in_path(pattern: str) -> Callable[[Scope], str | None]:
    """The uid is the first group of a pattern at the beginning of the path, such as ``/users/([^/]+)/``."""
    compiled = re.compile(pattern)
    return lambda scope: match[1] if (match := compiled.match(scope["path"])) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Which requests go where.

    Attributes:
        namespace: Of the service.
        service: The routed service.
        uid: Whose request it is; None: nobody's, the application itself answers.
        deadline_seconds: For the request's body; until a pod has begun to answer it, all attempts together; and then
            for each part of the answer.
        connect_seconds: For connecting to a pod.
        pause_seconds: Before the same pod is asked again, and before each question while a user is being given away.
        transit_seconds: How long a user who is being given away is waited for, in all; no longer than the deadline.
        retry_after_seconds: When whoever is turned away should come back.
        max_body_bytes: A longer body is refused: it is kept in memory, for the second attempt.
    """

    namespace: str
    service: str
    uid: Callable[[Scope], str | None]
    deadline_seconds: float = 10.0
    connect_seconds: float = 1.0
    pause_seconds: float = 0.2
    transit_seconds: float = 5.0
    retry_after_seconds: int = 1
    max_body_bytes: int = 1024 * 1024


class StatefulRouteMiddleware:
    """Forwards the requests of users to their pods; all others, and WebSockets, go to the application.

    What a caller sees, besides the pod's own answers:

    - 503 with Retry-After: no pod takes the user, the store is away, the user is being given away for too long, or the
      user's pod cannot be reached and nobody has moved the user yet. No pod has acted on the request.
    - 502: the pod broke off, and may have done what was asked for. 504: it has not answered within the deadline.
    - 400: that cannot be a uid. 413: the body is too long. 408: it has not arrived within the deadline.
    """

    def __init__(self, app: App, route: StatefulRoute, http: httpx.AsyncClient, routing: Routing) -> None:
        """``route`` and ``http`` are shared with the application, which closes them."""
        self._app = app
        self._client = route.client
        self._http = http
        self._routing = routing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; see the class."""
        uid = self._routing.uid(scope) if scope["type"] == "http" else None
        if uid is None:
            await self._app(scope, receive, send)
            return
        seconds = self._routing.deadline_seconds
        try:
            body = await _body(receive, self._routing.max_body_bytes, seconds)
            async with asyncio.timeout(seconds):
                response = await self._asked(uid, self._request(scope, body))
        except _RefusedError as error:
            await self._refuse(send, *error.args)
        except TimeoutError:
            await self._refuse(send, 504, f"no pod has answered within {seconds:g} s")
        except InvalidArgument as error:
            await self._refuse(send, 400, str(error))
        except (StatefulRouteError, httpx.ConnectError, httpx.ConnectTimeout) as error:
            await self._refuse(send, 503, str(error) or "the pod cannot be reached")
        except httpx.TransportError as error:
            await self._refuse(send, 502, f"the pod broke off: {error}")
        else:
            await _pass_on(response, send)

    async def _asked(self, uid: str, request: Callable[[str], httpx.Request]) -> httpx.Response:
        """The answer of the user's pod, as soon as its head is there."""
        namespace, service, client = self._routing.namespace, self._routing.service, self._client
        in_vain: int | None = None
        left, transit_until = ATTEMPTS, time.monotonic() + self._routing.transit_seconds
        while left:
            pod = await client.compute_linked_pod(namespace, uid, service)
            if pod == in_vain:  # it has died, and nobody has moved the user yet; or it has lost the user just now
                await asyncio.sleep(self._routing.pause_seconds)
                client.cache_expired(namespace, uid, service)
                pod = await client.compute_linked_pod(namespace, uid, service)
            in_vain = pod
            asked = request(await client.address(namespace, service, pod))
            try:
                response = await self._http.send(asked, stream=True)
            except httpx.TransportError as error:
                client.cache_expired(namespace, uid, service)
                await client.report_unreachable(namespace, service, pod)
                nothing_sent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
                left -= 1
                if not left or not (nothing_sent or asked.method in IDEMPOTENT):
                    raise
                continue
            if response.status_code != httpx.codes.MISDIRECTED_REQUEST:
                return response
            await response.aclose()
            if "retry-after" in response.headers and time.monotonic() < transit_until:
                in_vain = None  # it has the user, and gives the user away just now: soon another pod can have the user
                client.cache_expired(namespace, uid, service)
                await asyncio.sleep(self._routing.pause_seconds)
            else:
                left -= 1
                client.report_misrouted(namespace, uid, service)
        raise NoPodAvailable(f"pod {in_vain} does not have {uid!r}, and no other pod has, so far")

    def _request(self, scope: Scope, body: bytes) -> Callable[[str], httpx.Request]:
        """The same request, for whatever host."""
        path = (scope.get("raw_path") or quote(scope["path"]).encode()).partition(b"?")[0]
        query = scope["query_string"]
        headers = _end_to_end(scope["headers"], HOP_BY_HOP | {b"content-length"})
        path_here = [value for name, value in headers if name == b"x-forwarded-for"]
        if scope.get("client"):
            path_here.append(scope["client"][0].encode())
        headers = [(name, value) for name, value in headers if name != b"x-forwarded-for"]
        headers.append((b"x-forwarded-for", b", ".join(path_here)))
        if not any(name == b"x-forwarded-proto" for name, _ in headers):
            headers.append((b"x-forwarded-proto", scope["scheme"].encode()))
        limits = httpx.Timeout(self._routing.deadline_seconds, connect=self._routing.connect_seconds)
        # As it was sent, and apart from the URL: whatever stands in a path, it does not say which host is asked.
        extensions = {"target": path + b"?" + query if query else path, "timeout": limits.as_dict()}
        return lambda host: httpx.Request(
            scope["method"], f"http://{host}/", headers=headers, content=body, extensions=extensions
        )

    async def _refuse(self, send: Send, status: int, why: str) -> None:
        text = f"{why}\n".encode(errors="replace")
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
        if status == httpx.codes.SERVICE_UNAVAILABLE:
            headers.append((b"retry-after", b"%d" % self._routing.retry_after_seconds))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text})


class _RefusedError(Exception):
    """The status to answer with, and why."""


async def _body(receive: Receive, limit: int, seconds: float) -> bytes:
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(seconds):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _RefusedError(400, "the body is incomplete")  # nobody will read this
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > limit:
                    raise _RefusedError(413, f"a body may have {limit} bytes at most")
    except TimeoutError:
        raise _RefusedError(408, f"the body has not arrived within {seconds:g} s") from None
    return bytes(body)


async def _pass_on(response: httpx.Response, send: Send) -> None:
    """Part by part, and as the pod has encoded it."""
    try:
        headers = _end_to_end(response.headers.raw, HOP_BY_HOP)
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        async for part in response.aiter_raw():
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})
    finally:
        await response.aclose()


def _end_to_end(headers: Iterable[tuple[bytes, bytes]], dropped: frozenset[bytes]) -> Headers:
    known = [(name.lower(), value) for name, value in headers]
    named = {word.strip().lower() for name, value in known if name == b"connection" for word in value.split(b",")}
    return [(name, value) for name, value in known if name not in dropped | named]
