"""One small client over ``kubernetes.aio``: it brings configuration and transport, bodies stay plain dictionaries.

The generated API classes are left out on purpose: importing them costs more memory than the whole operator.
"""

import asyncio
import copy
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, list_kube_config_contexts, load_incluster_config, load_kube_config

from stateful_route.domain.errors import StatefulRouteError

SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105  a path
SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
DEFAULT_NAMESPACE = "default"
REQUEST_SECONDS = 15.0
QUICK_SECONDS = 5.0
"""For one object, which somebody waits for: an API server that is frozen must not hold up what time alone decides."""
SILENT_SECONDS = 1.0
"""The same, when the last request got no answer at all."""
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
            HTTPStatus.CONFLICT,
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.REQUEST_TIMEOUT,
        }

    @property
    def forbidden(self) -> bool:
        """True when RBAC does not grant it."""
        return self.status == HTTPStatus.FORBIDDEN


class NotLeading(KubeError):  # noqa: N818  names the fact
    """A write was not sent: another process may lead by now."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to reach the API server, for a client other than this one (kopf's)."""

    server: str
    ca_path: str | None
    ca_data: str | None
    insecure: bool
    cert_path: str | None
    key_path: str | None
    token: str | None


class Kube:
    """The API server. Every request ends within ``REQUEST_SECONDS``, and raises `KubeError` when it fails."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._client = ApiClient(configuration)
        self._silent = False
        self._check: Callable[[], None] = lambda: None

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
            KubeError: neither is there, or it does not parse, or it has no such context.
        """
        configuration: Any = Configuration()
        try:
            if is_in_cluster(kubeconfig, context):
                load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            else:
                await load_kube_config(  # type: ignore[no-untyped-call]
                    config_file=_config_files(kubeconfig), context=context, client_configuration=configuration
                )
        except (ConfigException, OSError, ValueError) as error:
            raise KubeError(0, f"no way to reach a Kubernetes API server: {error}") from error
        return cls(configuration)

    async def credentials(self) -> Credentials:
        """The same access for another client; read anew on each call, since tokens rotate."""
        c: Any = self._configuration
        header = await c.get_api_key_with_prefix("BearerToken") or ""
        return Credentials(
            server=c.host,
            ca_path=c.ssl_ca_cert,
            ca_data=c.ca_cert_data,
            insecure=not c.verify_ssl,
            cert_path=c.cert_file,
            key_path=c.key_file,
            token=header.partition(" ")[2] or header or None,
        )

    async def get(self, path: str, **query: str | int) -> Body:
        """The object or list at ``path``."""
        return await self._request("GET", path, query)

    async def get_quickly(self, path: str) -> Body:
        """The object at ``path``, or `KubeError` after ``QUICK_SECONDS`` at most."""
        try:
            async with asyncio.timeout(SILENT_SECONDS if self._silent else QUICK_SECONDS):
                return await self.get(path)
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

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Body:
        client: Any = self._client
        headers = {"Accept": "application/json", "Content-Type": content_type}
        try:
            serialized = await client.param_serialize(
                method,
                path,
                query_params=list(query.items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            response = await client.call_api(*serialized, _request_timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS))
            text = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._silent = True
            raise KubeError(
                0, f"the API server did not answer {method} {path}: {error or type(error).__name__}"
            ) from error
        self._silent = False
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise KubeError(response.status, f"{method} {path}: {_message(text) or response.reason}")
        try:
            parsed: Body = json.loads(text)
        except ValueError as error:
            raise KubeError(0, f"{method} {path}: the answer is no JSON; is it the API server that answers?") from error
        return parsed


def is_in_cluster(kubeconfig: str | None, context: str | None = None) -> bool:
    """Whether the pod's ServiceAccount is used: there is one, and nobody has asked for a kubeconfig."""
    return kubeconfig is None and context is None and os.access(SERVICE_ACCOUNT_TOKEN, os.R_OK)


def default_namespace(kubeconfig: str | None = None, context: str | None = None) -> str:
    """The namespace that kubectl would use: the context's, in a pod that of its ServiceAccount, else ``default``.

    Raises:
        KubeError: there is no kubeconfig, or it does not parse, or it has no such context.
    """
    if is_in_cluster(kubeconfig, context):
        return SERVICE_ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip()
    try:
        contexts, current = list_kube_config_contexts(config_file=_config_files(kubeconfig))  # type: ignore[no-untyped-call]
    except (ConfigException, OSError, ValueError) as error:
        raise KubeError(0, f"no way to reach a Kubernetes API server: {error}") from error
    chosen = current if context is None else next((c for c in contexts if c["name"] == context), None)
    if chosen is None:
        names = ", ".join(sorted(c["name"] for c in contexts)) or "none"
        raise KubeError(0, f"the kubeconfig has no context {context!r}; it has: {names}")
    return str((chosen.get("context") or {}).get("namespace") or DEFAULT_NAMESPACE)


def _config_files(kubeconfig: str | None) -> str:
    """The kubeconfig to read, or several as in ``$KUBECONFIG``.

    Raises:
        ConfigException: there is none; named here, since the library would call it invalid.
    """
    text = kubeconfig or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    paths = text.split(os.pathsep)
    if not any(Path(path).expanduser().is_file() for path in paths):
        raise ConfigException(
            f"no kubeconfig at {' or '.join(paths)}: set KUBECONFIG, or run in a pod that has a ServiceAccount"
        )
    return text


def _message(text: bytes) -> str:
    try:
        return str(json.loads(text).get("message", ""))
    except (ValueError, AttributeError):
        return text.decode(errors="replace")[:200]
