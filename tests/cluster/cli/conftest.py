"""One fleet for all tests of a module: three pods, an operator that serves them, links; and a way to run commands."""

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from stateful_route.cli.app import app
from support.crd_install import apply_crd
from support.inspected_fleet import Fleet, environment
from support.process import OperatorProcess
from support.rights import Access, ChartRights
from support.waiting import eventually

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def fleet(
    kubeconfig: Path,
    redis_url: str,
    chart_rights: ChartRights,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleet]:
    """Three Ready pods whose StatefulRoute names the store, and their operator; no links yet."""
    made = Fleet(kubeconfig, redis_url, f"t-{uuid4().hex[:8]}")
    test = f"{request.node.nodeid} (its fleet)"

    async def make() -> Access:
        async with made.scene() as scene:
            await apply_crd(scene.kube)
            await scene.kube.create("/api/v1/namespaces", {"metadata": {"name": made.namespace}})
            service = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"app": "rooms"}}
            services = f"/api/v1/namespaces/{made.namespace}/services"
            await scene.kube.create(services, {"metadata": {"name": "rooms"}, "spec": service})
            await scene.make_workload(3)
            await scene.make_route({"redis": {"url": redis_url}})
            return await chart_rights.grant(scene.kube, [made.namespace], test)

    async def settle() -> None:
        async with made.scene() as scene:
            await scene.wait_all_ready(range(3))
            await scene.wait_condition("Ready", "True")

    async def delete_route() -> None:
        async with made.scene() as scene:
            await scene.delete_route()
            await eventually(scene.route, lambda body: not body, "the operator has let it go")

    async def delete() -> None:
        async with made.scene() as scene:
            await scene.kube.delete(f"/api/v1/namespaces/{made.namespace}")
            await chart_rights.revoke(scene.kube, access)

    access = asyncio.run(make())
    with OperatorProcess(access.kubeconfig, None, tmp_path_factory.mktemp("operator") / "log", made.namespace):
        asyncio.run(settle())
        yield replace(made, operator=access.kubeconfig)
        asyncio.run(delete_route())
    asyncio.run(delete())


@pytest.fixture
def cli(fleet: Fleet) -> Run:
    """Run a command in this process, which takes a tenth of the time."""

    def run(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
        done = CliRunner().invoke(app, [str(word) for word in words], env=environment(fleet, **variables))
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def answer(cli: Run) -> Callable[..., Any]:
    """What a command prints as JSON; nothing else may be there."""

    def ask(*words: object, code: int = 0, **variables: str) -> Any:
        done = cli(*words, "-o", "json", **variables)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    return ask


@pytest.fixture
def elsewhere(fleet: Fleet) -> Iterator[str]:
    """A namespace that no operator serves."""
    name = f"t-{uuid4().hex[:8]}"

    async def make() -> None:
        async with fleet.scene() as scene:
            await scene.kube.create("/api/v1/namespaces", {"metadata": {"name": name}})

    async def delete() -> None:
        async with fleet.scene() as scene:
            await scene.kube.delete(f"/api/v1/namespaces/{name}")

    asyncio.run(make())
    yield name
    asyncio.run(delete())
