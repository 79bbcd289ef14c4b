"""Credentials change while a process runs: a token file is replaced, a plugin's token ends, a certificate changes."""

import asyncio
import json
import shlex
import ssl
import time
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from aiohttp import ClientTimeout
from kubernetes.aio.config import incluster_config

from stateful_route.handlers.operator import App, Options
from stateful_route.handlers.transport import Transport
from stateful_route.kube import connections, login
from stateful_route.kube.client import Kube, KubeError
from stateful_route.kube.exec_plugin import PluginFailed, issued
from stateful_route.reconcile.watchdog import Watchdog
from support.certificates import authority
from support.door import Door
from support.waiting import eventually

V1 = "client.authentication.k8s.io/v1"

PLUGIN = """#!/bin/sh
echo asked >> {folder}/asked
cat {folder}/answer || exit 3
"""


class Kubeconfig:
    """A kubeconfig, and the token file or plugin that it names."""

    def __init__(self, folder):
        self.folder, self.path = folder, folder / "kubeconfig"
        self.token_file, self.answer, self.asked = folder / "token", folder / "answer", folder / "asked"

    def write(self, server, user, **cluster):
        named = {"name": "it"}
        body = {
            "current-context": "it",
            "clusters": [named | {"cluster": {"server": server, **cluster}}],
            "users": [named | {"user": user}],
            "contexts": [named | {"context": {"cluster": "it", "user": "it"}}],
        }
        self.path.write_text(yaml.safe_dump(body))

    def write_with_token_file(self, server, token):
        self.token_file.write_text(f"{token}\n")
        self.write(server, {"tokenFile": "token"})

    def write_with_plugin(self, server, token, seconds=None):
        plugin = self.folder / "plugin"
        plugin.write_text(PLUGIN.format(folder=shlex.quote(str(self.folder))))
        plugin.chmod(0o755)
        self.issue(token, seconds)
        self.write(server, {"exec": {"apiVersion": V1, "command": str(plugin), "interactiveMode": "Never"}})

    def issue(self, token, seconds=None):
        """What the plugin gives from now on; ``seconds``: how long it lasts, None: it does not say."""
        ends = datetime.now(UTC) + timedelta(seconds=seconds or 0)
        end = f', "expirationTimestamp": "{ends:%Y-%m-%dT%H:%M:%SZ}"' if seconds else ""
        status = f'{{"token": "{token}"{end}}}'
        self.answer.write_text(f'{{"apiVersion": "{V1}", "kind": "ExecCredential", "status": {status}}}')

    @property
    def times_asked(self):
        return len(self.asked.read_text().splitlines())


@pytest.fixture
def kubeconfig(tmp_path):
    return Kubeconfig(tmp_path)


@pytest.fixture
def connect(kubeconfig):
    """Gives clients that are closed in the end."""
    clients = []

    async def connect():
        clients.append(await Kube.connect(str(kubeconfig.path)))
        return clients[-1]

    return connect


@pytest.fixture
async def door():
    async with Door("first") as door:
        yield door


async def shown(kube):
    """The token that the server has seen."""
    return (await kube.get("/version"))["key"]


async def test_a_token_file_is_read_again_when_its_former_token_is_refused(door, kubeconfig, connect):
    kubeconfig.write_with_token_file(door.url, "first")
    kube = await connect()
    assert await shown(kube) == "first"
    kubeconfig.token_file.write_text("second\n")
    door.keys = {"second"}
    assert await shown(kube) == "second"
    assert kube.problem is None
    assert await shown(kube) == "second"
    assert door.refused == 1
    await kube.close()


async def test_a_token_file_is_read_again_before_its_former_token_ends(door, kubeconfig, connect, monkeypatch):
    monkeypatch.setattr(login, "FILE_SECONDS", 0.1)
    monkeypatch.setattr(connections, "AGAIN_SECONDS", 0.1)
    door.keys |= {"second"}
    kubeconfig.write_with_token_file(door.url, "first")
    kube = await connect()
    kubeconfig.token_file.write_text("second\n")
    await eventually(lambda: shown(kube), lambda key: key == "second", "the new token is shown")
    assert door.refused == 0
    await kube.close()


async def test_a_pod_reads_the_token_of_its_service_account_again(tmp_path, monkeypatch):
    of, token = authority(tmp_path / "ca"), tmp_path / "token"
    token.write_text("first")
    monkeypatch.setattr(login, "SERVICE_ACCOUNT_TOKEN", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(of.ca))
    async with Door("first", tls=_server_side(of)) as door:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(door.port))
        kube = await Kube.connect()
        assert await shown(kube) == "first"
        token.write_text("second")
        door.keys = {"second"}
        assert await shown(kube) == "second"
        await kube.close()


async def test_a_plugin_is_asked_again_when_its_token_has_expired_and_not_before(door, kubeconfig, connect):
    kubeconfig.write_with_plugin(door.url, "first", seconds=3)
    kube = await connect()
    for _ in range(5):
        assert await shown(kube) == "first"
    assert kubeconfig.times_asked == 1
    kubeconfig.issue("second", seconds=3600)
    door.keys |= {"second"}
    await eventually(lambda: shown(kube), lambda key: key == "second", "the new token is shown", seconds=6)
    assert kubeconfig.times_asked == 2
    assert door.refused == 0
    await kube.close()


async def test_a_plugin_that_names_no_end_is_asked_again_once_by_all_who_are_refused(door, kubeconfig, connect):
    kubeconfig.write_with_plugin(door.url, "first")
    kube = await connect()
    kubeconfig.issue("second")
    door.keys = {"second"}
    assert await asyncio.gather(*(shown(kube) for _ in range(20))) == ["second"] * 20
    assert kubeconfig.times_asked == 2
    await kube.close()


async def test_who_is_refused_for_good_says_so_and_asks_the_plugin_at_a_measured_pace(door, kubeconfig, connect):
    kubeconfig.write_with_plugin(door.url, "wrong")
    kube = await connect()
    for _ in range(20):
        with pytest.raises(KubeError, match="Unauthorized") as caught:
            await shown(kube)
        assert caught.value.unauthorized
        assert not caught.value.refused, "it may be asked again"
    assert kubeconfig.times_asked == 2
    assert kube.problem is not None
    assert kube.problem.startswith("the API server refuses the credentials since 20")
    door.busy = True
    with pytest.raises(KubeError, match="busy"):
        await shown(kube)
    assert kube.problem is not None, "nobody has looked at them"
    await kube.close()


async def test_a_plugin_that_fails_for_a_while_is_named_and_what_it_gave_is_used_until_then(
    door, kubeconfig, connect, monkeypatch
):
    monkeypatch.setattr(connections, "AGAIN_SECONDS", 0.1)
    kubeconfig.write_with_plugin(door.url, "first")
    kube = await connect()
    kubeconfig.answer.unlink()
    door.keys = set()
    with pytest.raises(KubeError, match="Unauthorized"):
        await shown(kube)
    assert f"{kubeconfig.folder}/plugin' ended with exit code 3: cat: " in kube.problem
    door.keys = {"first"}
    assert await shown(kube) == "first"
    assert kube.problem is None
    door.keys = {"second"}
    kubeconfig.issue("second")
    await asyncio.sleep(0.2)
    assert await shown(kube) == "second"
    await kube.close()


async def test_a_kubeconfig_that_is_just_being_written_changes_nothing(door, kubeconfig, connect, monkeypatch):
    monkeypatch.setattr(connections, "AGAIN_SECONDS", 0.0)
    kubeconfig.write_with_token_file(door.url, "first")
    kube = await connect()
    whole, door.keys = kubeconfig.path.read_text(), {"second"}
    for half in ("", whole[:40], "current-context: it\n", "{", None):
        if half is None:
            kubeconfig.path.unlink()
        else:
            kubeconfig.path.write_text(half)
        with pytest.raises(KubeError, match="Unauthorized"):
            await shown(kube)
        assert "others cannot be had" in kube.problem
    kubeconfig.path.write_text(whole)
    kubeconfig.token_file.write_text("")
    with pytest.raises(KubeError, match="Unauthorized"):
        await shown(kube)
    assert "token file is empty" in kube.problem
    kubeconfig.token_file.write_text("second")
    assert await shown(kube) == "second"
    await kube.close()


async def test_a_client_whose_plugin_fails_at_once_is_nobody_without_a_name(door, kubeconfig):
    kubeconfig.write_with_plugin(door.url, "first")
    kubeconfig.answer.unlink()
    with pytest.raises(KubeError, match=r"no way to reach a Kubernetes API server: the exec plugin '.*' ended with"):
        await Kube.connect(str(kubeconfig.path))


async def test_a_plugin_that_hangs_is_ended(door, kubeconfig, monkeypatch):
    monkeypatch.setattr("stateful_route.kube.exec_plugin.PLUGIN_SECONDS", 0.5)
    wait = ["-c", "sleep 30; true"]  # the shell's child keeps the pipe open
    kubeconfig.write(door.url, {"exec": {"apiVersion": V1, "command": "/bin/sh", "args": wait}})
    began = time.monotonic()
    with pytest.raises(KubeError, match=r"gave nothing within 0\.5 s"):
        await Kube.connect(str(kubeconfig.path))
    assert time.monotonic() - began < 5


async def test_kopfs_request_waits_until_somebody_is_let_in(door, kubeconfig, connect, monkeypatch):
    monkeypatch.setattr(connections, "AGAIN_SECONDS", 0.1)
    kubeconfig.write_with_token_file(door.url, "first")
    kube = await connect()
    app = App(Options(), kube, Watchdog(time.monotonic, 90))
    transport = Transport(kube)
    ask = {"method": "GET", "url": "/api/v1/pods?watch=true", "json": None, "headers": None}
    door.keys = set()
    asking = asyncio.create_task(transport.request(**ask, timeout=ClientTimeout(total=5)))
    await eventually(_problem(kube), bool, "it is known")
    assert app.readiness() == (False, kube.problem)
    assert app.problem() is None, "to start the process anew would not help"
    assert not asking.done()
    kubeconfig.token_file.write_text("second")
    door.keys = {"second"}
    async with await asking as response:
        assert await response.json() == {"key": "second"}
    assert kube.problem is None
    await kube.close()


def _problem(kube):
    async def problem():
        return kube.problem

    return problem


async def test_a_server_whose_authority_has_changed_is_trusted_by_the_new_one(tmp_path, kubeconfig, connect):
    former, present = authority(tmp_path / "former"), authority(tmp_path / "present")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(former.ca.read_bytes())
    async with Door("first", tls=_server_side(former)) as door:
        port = door.port
        kubeconfig.write(door.url, {"token": "first"}, **{"certificate-authority": "ca.pem"})
        kube = await connect()
        assert await shown(kube) == "first"
    async with Door("first", tls=_server_side(present), port=port):
        with pytest.raises(KubeError, match="certificate"):
            await shown(kube)
        ca.write_bytes(present.ca.read_bytes())
        kube._connections._read_at -= connections.AGAIN_SECONDS
        assert await shown(kube) == "first"
    await kube.close()


async def test_a_client_certificate_that_was_renewed_is_shown_on_new_connections(tmp_path, kubeconfig, connect):
    """The server takes the second certificate's authority alone, after the first connection."""
    of_server = authority(tmp_path / "server")
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"

    def present(of):
        certificate.write_bytes(of.certificate.read_bytes())
        key.write_bytes(of.key.read_bytes())

    former, new = authority(tmp_path / "former"), authority(tmp_path / "new")
    present(former)
    user = {"client-certificate": "client.pem", "client-key": "client.key", "token": "first"}
    tls = _server_side(of_server)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(former.ca)
    tls.load_verify_locations(new.ca)
    async with Door("first", tls=tls) as door:
        kubeconfig.write(door.url, user, **{"certificate-authority": str(of_server.ca)})
        kube = await connect()
        assert await shown(kube) == "first"
        before = kube._connections._sessions
        present(new)
        door.keys = {"second"}
        kubeconfig.write(door.url, {**user, "token": "second"}, **{"certificate-authority": str(of_server.ca)})
        assert await shown(kube) == "second"
        assert kube._connections._sessions is not before
    await kube.close()


@pytest.mark.parametrize(
    ("status", "complaint"),
    [
        (None, "did not print an ExecCredential"),
        ([], "did not print an ExecCredential"),
        ({}, "neither a token nor a client certificate"),
        ({"clientCertificateData": "x"}, "neither a token nor a client certificate"),
        ({"token": "x", "expirationTimestamp": "soon"}, "did not print an ExecCredential"),
    ],
)
def test_what_a_plugin_prints_is_credentials_or_an_error_that_names_it(status, complaint):
    printed = json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": status})
    with pytest.raises(PluginFailed, match="plugin 'aws'") as caught:
        issued("aws", V1, printed.encode())
    assert complaint in str(caught.value)


@pytest.mark.parametrize("printed", ["", "[]", "{", "null"])
def test_what_is_no_credential_at_all_is_an_error_too(printed):
    with pytest.raises(PluginFailed, match="did not print an ExecCredential"):
        issued("aws", V1, printed.encode())


def test_a_plugin_of_another_version_is_an_error():
    with pytest.raises(PluginFailed, match="in apiVersion 'v2'"):
        issued("aws", V1, b'{"apiVersion": "v2", "status": {"token": "x"}}')


def test_a_plugin_may_give_a_certificate_and_say_when_it_ends():
    status = '{"clientCertificateData": "c", "clientKeyData": "k", "expirationTimestamp": "2026-01-31T12:00:00Z"}'
    given = issued("aws", V1, f'{{"apiVersion": "{V1}", "status": {status}}}'.encode())
    ends = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
    assert (given.token, given.certificate, given.key, given.expires) == (None, "c", "k", ends)


def _server_side(of):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(of.certificate, of.key)
    return tls
