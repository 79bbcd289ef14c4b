"""The operator's credentials end while it runs: a token in a file, or from a plugin, of which there is a new one."""

import asyncio
import json
import os
import shlex
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

import pytest
import yaml
from aiohttp import ClientSession

from support.apiproxy import ApiProxy
from support.health import ask
from support.ports import free_port
from support.process import OperatorProcess
from support.scene import READY, Scene
from support.waiting import eventually

StartOperator = Callable[..., OperatorProcess]
Answer = tuple[int, str]

V1 = "client.authentication.k8s.io/v1"
PLUGIN = """#!/bin/sh
printf '{{"apiVersion": "%s", "kind": "ExecCredential", "status": {{"token": "%s"}}}}' {version} "$(cat {token})"
"""


class Tokens:
    """Tokens of the scene's account: each lives as long as a Secret does, the present one is in a file."""

    def __init__(self, scene: Scene, file: Path, server: str) -> None:
        self._scene, self.file, self._server = scene, file, server
        self._made = 0

    async def issue(self) -> tuple[str, str]:
        """Put a new one into the file; it, and the Secret that it is bound to."""
        self._made += 1
        scene, secret = self._scene, f"bound-{self._made}"
        made = await scene.kube.create(scene.secrets_path, {"metadata": {"name": secret}})
        bound = {"apiVersion": "v1", "kind": "Secret", "name": secret, "uid": made["metadata"]["uid"]}
        assert scene.access is not None
        account = scene.access.account
        where = f"/api/v1/namespaces/{account.namespace}/serviceaccounts/{account.name}/token"
        answer = await scene.kube.create(where, {"spec": {"expirationSeconds": 3600, "boundObjectRef": bound}})
        token = answer["status"]["token"]
        self.file.write_text(f"{token}\n")
        return token, secret

    async def revoke(self, token: str, secret: str) -> None:
        """Until the API server takes it no more: it remembers for 10 s whom it has let in."""
        await self._scene.kube.delete(f"{self._scene.secrets_path}/{secret}")

        async def status() -> int:
            async with (
                ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
                session.get(f"{self._server}/version") as answer,
            ):
                return answer.status

        await eventually(status, lambda seen: seen == HTTPStatus.UNAUTHORIZED, "it is refused")


@pytest.fixture
def proxy(scene: Scene, tmp_path: Path) -> Iterator[ApiProxy]:
    assert scene.access is not None
    with ApiProxy(scene.access.kubeconfig, tmp_path) as proxy:
        yield proxy


@pytest.fixture
def tokens(scene: Scene, proxy: ApiProxy, tmp_path: Path) -> Tokens:
    server = yaml.safe_load(proxy.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    return Tokens(scene, tmp_path / "token", server)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture(params=["file", "plugin"])
def login(request: pytest.FixtureRequest, proxy: ApiProxy, tokens: Tokens, tmp_path: Path) -> Path:
    """By way of the proxy, as the user whose token is in the file."""
    plugin = tmp_path / "plugin"
    plugin.write_text(PLUGIN.format(version=V1, token=shlex.quote(str(tokens.file))))
    plugin.chmod(0o700)
    how = {"apiVersion": V1, "command": str(plugin), "interactiveMode": "Never"}
    config = yaml.safe_load(proxy.kubeconfig.read_text())
    config["users"][0]["user"] = {"tokenFile": str(tokens.file)} if request.param == "file" else {"exec": how}
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


@pytest.fixture(params=["alone", "elected"])
def options(request: pytest.FixtureRequest, scene: Scene) -> dict[str, str | int]:
    election = {"lease_name": "stateful-route", "lease_namespace": scene.namespace, "lease_seconds": 6}
    return election if request.param == "elected" else {}


async def test_an_operator_whose_token_ends_goes_on_with_the_next_one(  # noqa: PLR0917
    scene: Scene,
    start_operator: StartOperator,
    tokens: Tokens,
    login: Path,
    proxy: ApiProxy,
    port: int,
    options: dict[str, str | int],
) -> None:
    first = await tokens.issue()
    operator = start_operator(scene, kubeconfig=login, health_port=port, resync_seconds=1, **options)
    await scene.make_workload(2)
    await scene.make_route()
    await scene.wait_all_ready(range(2))
    await tokens.issue()
    await tokens.revoke(*first)
    began = time.monotonic()
    proxy.expire_watches()  # kopf begins them anew
    await scene.set_ready(1, ready=False)
    await scene.wait_status(lambda status: status["pods"]["denying"] == 1)
    await scene.set_ready(1, ready=True)
    await scene.wait_all_ready([1])
    await eventually(lambda: ask(port, "/readyz"), _is_well, "all is well")
    assert operator.running
    assert not operator.lines("leadership lost")
    print(f"at work again with everything {time.monotonic() - began:.1f} s after the first token was revoked")


async def test_an_operator_that_nobody_lets_in_says_so_and_is_back_with_a_new_token(  # noqa: PLR0917
    scene: Scene,
    start_operator: StartOperator,
    tokens: Tokens,
    login: Path,
    proxy: ApiProxy,
    port: int,
    options: dict[str, str | int],
) -> None:
    first = await tokens.issue()
    operator = start_operator(scene, kubeconfig=login, health_port=port, resync_seconds=1, **options)
    await scene.make_workload(2)
    await scene.make_route()
    await scene.wait_all_ready(range(2))
    await tokens.revoke(*first)
    says = "the API server refuses the credentials since 20"
    refused = await eventually(lambda: ask(port, "/readyz"), lambda answer: says in answer[1], "it says so")
    assert refused[0] == 503
    assert (await ask(port, "/healthz"))[0] == 200, "to start it anew would not help"
    proxy.expire_watches()
    await scene.set_ready(1, ready=False)
    await tokens.issue()
    began = time.monotonic()
    await scene.wait_status(lambda status: status["pods"]["denying"] == 1)
    await scene.set_ready(1, ready=True)
    await scene.wait_states({1: READY})
    await eventually(lambda: ask(port, "/readyz"), _is_well, "all is well")
    assert operator.running
    print(f"at work again with everything {time.monotonic() - began:.1f} s after there was a token")


def _is_well(answer: Answer) -> bool:
    return answer == (200, "ok")


async def test_a_command_that_goes_on_does_so_with_the_next_token(
    scene: Scene, start_operator: StartOperator, tokens: Tokens, login: Path, redis_url: str
) -> None:
    start_operator(scene)
    first = await tokens.issue()
    await scene.make_workload(2)
    await scene.make_route()
    await scene.wait_all_ready(range(2))
    words = ["status", "rooms", "--watch", "--output", "json", "--namespace", scene.namespace, "--redis-url", redis_url]
    watching = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stateful_route", *words, env={**os.environ, "KUBECONFIG": str(login)}, stdout=PIPE
    )
    assert watching.stdout is not None
    try:
        await _line(watching.stdout, '"READY"')
        await tokens.issue()
        await tokens.revoke(*first)
        await scene.set_ready(1, ready=False)
        await _line(watching.stdout, '"DENY_NEW_CALL"')
        assert watching.returncode is None
    finally:
        with suppress(ProcessLookupError):
            watching.terminate()
        await watching.communicate()


async def _line(lines: asyncio.StreamReader, words: str) -> None:
    """Until a line has these words in it."""
    async with asyncio.timeout(60):
        while words not in (line := (await lines.readline()).decode()):
            assert line, f"it has ended without {words}"
