"""What this process shows to the API server, as the kubeconfig or the pod's ServiceAccount has it at the moment."""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config
from kubernetes.aio.config.kube_config import FileOrData, KubeConfigLoader, KubeConfigMerger

from stateful_route.kube.exec_plugin import PluginFailed, ask_plugin

SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105  a path
FILE_SECONDS = 60.0
"""How long what files hold is taken for true, as in client-go: a kubelet, or whoever logs in, replaces them."""
BEARER = "BearerToken"
UNREADABLE = (ConfigException, PluginFailed, OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError)
"""What the library raises for a kubeconfig that is missing, half written, or of no known form."""


class NoLogin(Exception):  # noqa: N818  names the fact
    """There are no credentials to be had; the message says why."""


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials, and the way to the API server.

    Attributes:
        configuration: As the library wants it.
        authorization: The header; None: a client certificate, or nothing, is shown.
        connections: Equal for two logins that can use the same connections.
        read_again_at: When it should be read anew, by ``time.time()``; infinite: when it is refused.
    """

    configuration: Any
    authorization: str | None
    connections: tuple[object, ...]
    read_again_at: float

    @property
    def server(self) -> str:
        """``https://host:port``, and a path where the API server has one."""
        return str(self.configuration.host).rstrip("/")

    @property
    def words(self) -> Mapping[str, Any]:
        """The way to the server as of ``aiohttp.ClientSession.request``: by a proxy, under another name."""
        way = {"proxy": self.configuration.proxy, "server_hostname": self.configuration.tls_server_name}
        return {name: value for name, value in way.items() if value}

    def same(self, other: "Login") -> bool:
        """Whether the API server will say the same to both."""
        return (self.authorization, self.connections) == (other.authorization, other.connections)


def login_of(configuration: Any, read_again_at: float = math.inf) -> Login:
    """The login that a configuration describes; of the files that it names, their content counts.

    Raises:
        OSError: one of them cannot be read.
    """
    authorization = configuration.api_key.get(BEARER)
    if authorization is not None:  # a file may end with a newline, which no header may
        authorization = configuration.api_key[BEARER] = authorization.strip()
    names = (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
    files = tuple(Path(name).read_bytes() if name else None for name in names)
    way = (configuration.host, configuration.verify_ssl, configuration.tls_server_name, configuration.proxy)
    return Login(configuration, authorization, (*way, *files), read_again_at)


async def read_login(kubeconfig: str | None, context: str | None) -> Login:
    """Read the kubeconfig, ask its exec plugin if it names one; or read the pod's ServiceAccount.

    Args:
        kubeconfig: A path; None: ``$KUBECONFIG``, ``~/.kube/config``, or the ServiceAccount.
        context: One of the kubeconfig's; None: its current one.

    Raises:
        NoLogin: none of them is there, or it does not parse, or it has no such context, or its plugin fails.
    """
    configuration: Any = Configuration()
    files_until = time.time() + FILE_SECONDS
    try:
        if is_in_cluster(kubeconfig, context):
            load_incluster_config(client_configuration=configuration, try_refresh_token=False)  # type: ignore[no-untyped-call]
            return login_of(configuration, files_until)
        config = KubeConfigMerger(config_files(kubeconfig)).config  # type: ignore[no-untyped-call]
        loader = _Loader(config, active_context=context, config_base_path=None)  # type: ignore[no-untyped-call]
        await loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
        login = login_of(configuration, loader.read_again_at or files_until)
    except (*UNREADABLE, aiohttp.ClientError) as error:
        raise NoLogin(cause(error)) from error
    if loader.names_token_file and login.authorization in {None, "Bearer"}:  # somebody is just writing it
        raise NoLogin("the kubeconfig's token file is empty")
    return login


def cause(error: Exception) -> str:
    """What is wrong with a kubeconfig, by what reading it has raised."""
    if isinstance(error, (TypeError, KeyError, AttributeError)):  # the library looks for what is not there
        return f"the kubeconfig is not of the known form ({type(error).__name__}: {error})"
    return str(error) or type(error).__name__


def is_in_cluster(kubeconfig: str | None, context: str | None = None) -> bool:
    """Whether the pod's ServiceAccount is used: there is one, and nobody has asked for a kubeconfig."""
    return kubeconfig is None and context is None and os.access(SERVICE_ACCOUNT_TOKEN, os.R_OK)


def config_files(kubeconfig: str | None) -> str:
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


class _Loader(KubeConfigLoader):
    """The library's, with an exec plugin that is limited in time and whose failure is an error.

    The library logs such a failure, and goes on as a user without a name.
    """

    _expires: float | None = None

    @property
    def read_again_at(self) -> float | None:
        """As of `Login`; None: everything comes from files, which cost nothing to read."""
        return math.inf if self.provider else self._expires  # a provider's token is renewed by asking its issuer

    @property
    def names_token_file(self) -> bool:
        """Whether the token is in a file of its own."""
        return self._user is not None and "tokenFile" in self._user and "token" not in self._user

    async def load_from_exec_plugin(self) -> bool:
        """Have the plugin's credentials used."""
        user: Any = self._user
        issued = await ask_plugin(user["exec"].value)
        self._expires = math.inf if issued.expires is None else issued.expires
        if issued.token is not None:
            self.token = f"Bearer {issued.token}"
        if issued.certificate is not None and issued.key is not None:
            self.cert_file, self.key_file = _as_file(issued.certificate), _as_file(issued.key)
        return True


def _as_file(text: str) -> str:
    """The path of a file with this text, which the library removes when the process ends."""
    held = FileOrData({"text": text}, "", data_key_name="text", base64_file_content=False)  # type: ignore[no-untyped-call]
    return str(held.as_file())  # type: ignore[no-untyped-call]
