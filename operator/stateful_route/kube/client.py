"""One small client: ``kubernetes.aio`` reads the configuration, bodies stay plain dictionaries.

The generated API classes are left out on purpose: importing them costs more memory than the whole operator.
"""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import list_kube_config_contexts

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.kube.connections import UNUSABLE, Connections, Read, Words
from stateful_route.kube.login import (
    UNREADABLE,
    Login,
    NoLogin,
    cause,
    config_files,
    is_in_cluster,
    login_of,
    read_login,
)
from stateful_route.kube.server_clock import ServerClock

SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
DEFAULT_NAMESPACE = "default"
REQUEST_SECONDS = 15.0
PAGE_OBJECTS = 500
"""Of a long list in one answer: some megabytes, which are parsed in a moment."""
QUICK_SECONDS = 5.0
"""For one object, which somebody waits for: an API server that is frozen must not hold up what time alone decides."""
SILENT_SECONDS = 1.0
"""The same, when the last request got no answer at all."""
ACCEPT = {"Accept": "application/json", "User-Agent": "stateful-route"}
MERGE_PATCH = "application/merge-patch+json"
Body = dict[str, Any]


class KubeError(StatefulRouteError):
    """The API server refused a request, or did not answer (``status`` 0).

    Attributes:
        status: The HTTP status, or 0 when there was no answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def not_found(self) -> bool:
        """True when the object does not exist (any more)."""
        return self.status == HTTPStatus.NOT_FOUND

    @property
    def conflict(self) -> bool:
        """True when somebody else changed the object meanwhile."""
        return self.status == HTTPStatus.CONFLICT

    @property
    def refused(self) -> bool:
        """True when asking again would not help: the request itself is at fault, or we may not ask."""
        return HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR and self.status not in {
            HTTPStatus.UNAUTHORIZED,  # other credentials may be there next time
            HTTPStatus.CONFLICT,
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.REQUEST_TIMEOUT,
        }

    @property
    def unauthorized(self) -> bool:
        """True when the API server does not take the credentials."""
        return self.status == HTTPStatus.UNAUTHORIZED

    @property
    def forbidden(self) -> bool:
        """True when RBAC does not grant it."""
        return self.status == HTTPStatus.FORBIDDEN


class NotLeading(KubeError):  # noqa: N818  names the fact
    """A write was not sent: another process may lead by now."""


class Answer(NamedTuple):
    """What the API server has answered."""

    status: int
    reason: str | None
    text: bytes

    @property
    def why(self) -> str:
        """Of an error: the cause, as the API server names it."""
        try:
            said = str(json.loads(self.text).get("message", ""))
        except (ValueError, AttributeError):
            said = self.text.decode(errors="replace")[:200]
        return said or self.reason or ""


class Kube:
    """The API server. Every request ends within ``REQUEST_SECONDS``, and raises `KubeError` when it fails.

    Credentials that have expired, or that the API server refuses (401), are read anew, and the request is sent again.
    """

    def __init__(self, login: Login | Configuration, read: Read | None = None) -> None:
        """``read``: as of `Connections`; None: these credentials are all there are."""
        self._connections = Connections(login if isinstance(login, Login) else login_of(login), read)
        self._silent = False
        self._check: Callable[[], None] = lambda: None
        self.clock = ServerClock()
        """What the API server's answers tell of its clock."""

    def guarded(self, check: Callable[[], None]) -> Self:
        """The same connections; ``check`` is called before each write, and raises `KubeError` where it must not be."""
        other = copy.copy(self)
        other._check = check  # noqa: SLF001  another of this class
        return other

    @classmethod
    async def connect(cls, kubeconfig: str | None = None, context: str | None = None) -> Self:
        """Configure from ``kubeconfig`` (a path; default: ``$KUBECONFIG``, ``~/.kube/config``) or from inside a pod.

        Args:
            kubeconfig: See above.
            context: One of the kubeconfig's; None: its current one.

        Raises:
            KubeError: neither is there, or it does not parse, or it has no such context, or its exec plugin fails.
        """
        try:
            login = await read_login(kubeconfig, context)
            kube = cls(login, lambda: read_login(kubeconfig, context))
        except (NoLogin, *UNUSABLE) as error:
            raise KubeError(0, f"no way to reach a Kubernetes API server: {error}") from error
        return kube

    @property
    def problem(self) -> str | None:
        """Why the API server does not take the credentials, and since when; None: it does, as far as is known."""
        return self._connections.problem

    async def get(self, path: str, **query: str | int) -> Body:
        """The object or list at ``path``."""
        return await self._request("GET", path, query)

    async def pages(self, path: str, *, quickly: bool = False, **query: str | int) -> AsyncIterator[Body]:
        """The list at ``path``, ``PAGE_OBJECTS`` objects at a time, all as of one moment.

        Args:
            path: Of the collection.
            quickly: Each page comes within ``QUICK_SECONDS``, or `KubeError`.
            query: Further words of the request.
        """
        ask = {**query, "limit": PAGE_OBJECTS}
        while True:
            page = await (self.get_quickly(path, **ask) if quickly else self.get(path, **ask))
            yield page
            if not (more := page["metadata"].get("continue")):
                return
            ask["continue"] = more

    async def get_quickly(self, path: str, **query: str | int) -> Body:
        """The object or list at ``path``, or `KubeError` after ``QUICK_SECONDS`` at most."""
        try:
            async with asyncio.timeout(SILENT_SECONDS if self._silent else QUICK_SECONDS):
                return await self.get(path, **query)
        except TimeoutError as error:
            self._silent = True
            raise KubeError(0, f"the API server did not answer GET {path}: it took too long") from error

    async def create(self, path: str, body: Mapping[str, Any]) -> Body:
        """Create an object in the collection at ``path``; the object as stored."""
        self._check()
        return await self._request("POST", path, {}, body)

    async def merge(self, path: str, patch: Mapping[str, Any]) -> Body:
        """Merge-patch the object at ``path``; the object as stored. A resourceVersion in the patch must match."""
        self._check()
        return await self._request("PATCH", path, {}, patch, MERGE_PATCH)

    async def delete(self, path: str, **query: str | int) -> None:
        """Ask for the object at ``path`` to be deleted; it may take its time."""
        self._check()
        await self._request("DELETE", path, query)

    async def open(self, method: str, path: str, headers: Mapping[str, str], **words: Any) -> aiohttp.ClientResponse:
        """Send a request whose answer the caller reads, such as a watch; it has the credentials of all others.

        Args:
            method: GET and the like.
            path: With its query.
            headers: Besides those of the credentials.
            words: As of ``aiohttp.ClientSession.request``.

        Returns:
            The answer, of any status; one of 401 has been read.

        Raises:
            OSError, aiohttp.ClientError: no answer.
        """

        async def send(session: aiohttp.ClientSession, server: str, shown: Words) -> aiohttp.ClientResponse:
            all_headers = {**headers, **shown.pop("headers", {})}
            response = await session.request(method, f"{server}{path}", headers=all_headers, **words, **shown)
            if response.status == HTTPStatus.UNAUTHORIZED:
                await response.read()
            return response

        return await self._connections.exchange(send, watch=True)

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Body:
        data = None if body is None else json.dumps(body)

        async def send(session: aiohttp.ClientSession, server: str, words: Words) -> Answer:
            headers = {**words.pop("headers", {}), **ACCEPT, "Content-Type": content_type}
            url = f"{server}{path}"
            async with session.request(method, url, params=query, data=data, headers=headers, **words) as response:
                self.clock.heard(response.headers.get("Date"))
                return Answer(response.status, response.reason, await response.read())

        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                answer = await self._connections.exchange(send)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._silent = True
            raise KubeError(
                0, f"the API server did not answer {method} {path}: {error or type(error).__name__}"
            ) from error
        self._silent = False
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise KubeError(answer.status, f"{method} {path}: {answer.why}")
        try:
            parsed: Body = json.loads(answer.text)
        except ValueError as error:
            raise KubeError(0, f"{method} {path}: the answer is no JSON; is it the API server that answers?") from error
        return parsed


def default_namespace(kubeconfig: str | None = None, context: str | None = None) -> str:
    """The namespace that kubectl would use: the context's, in a pod that of its ServiceAccount, else ``default``.

    Raises:
        KubeError: there is no kubeconfig, or it does not parse, or it has no such context.
    """
    if is_in_cluster(kubeconfig, context):
        return SERVICE_ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip()
    try:
        contexts, current = list_kube_config_contexts(config_file=config_files(kubeconfig))  # type: ignore[no-untyped-call]
    except UNREADABLE as error:
        raise KubeError(0, f"no way to reach a Kubernetes API server: {cause(error)}") from error
    chosen = current if context is None else next((c for c in contexts if c["name"] == context), None)
    if chosen is None:
        names = ", ".join(sorted(c["name"] for c in contexts)) or "none"
        raise KubeError(0, f"the kubeconfig has no context {context!r}; it has: {names}")
    return str((chosen.get("context") or {}).get("namespace") or DEFAULT_NAMESPACE)
