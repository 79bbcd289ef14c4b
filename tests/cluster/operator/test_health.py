"""``/healthz`` and ``/readyz``: what the kubelet asks, and what a watch that has silently died makes of the answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import ClientConnectionError, ClientSession

from support.apiproxy import ApiProxy
from support.ports import free_port
from support.process import OperatorProcess
from support.scene import Scene
from support.waiting import always, eventually

StartOperator = Callable[..., OperatorProcess]
Answer = tuple[int, str]
"""Status and text; 0 where nobody answers."""
Ask = Callable[[str], Awaitable[Answer]]

PATIENCE_SECONDS = 3


@pytest.fixture
def proxy(scene: Scene, tmp_path: Path) -> Iterator[ApiProxy]:
    """Between the scene's operator and the API server."""
    assert scene.access is not None
    with ApiProxy(scene.access.kubeconfig, tmp_path) as proxy:
        yield proxy


@pytest.fixture
def health_port() -> int:
    return free_port()


@pytest.fixture
async def ask(health_port: int) -> AsyncIterator[Ask]:
    async with ClientSession() as session:

        async def ask(path: str) -> Answer:
            try:
                async with session.get(f"http://127.0.0.1:{health_port}{path}") as answer:
                    return answer.status, await answer.text()
            except ClientConnectionError:
                return 0, ""

        yield ask


@pytest.fixture
def operator(scene: Scene, start_operator: StartOperator, proxy: ApiProxy, health_port: int) -> OperatorProcess:
    """Behind the proxy, impatient, and with its health served."""
    return start_operator(
        scene,
        kubeconfig=proxy.kubeconfig,
        health_port=health_port,
        resync_seconds=1,
        watch_seconds=PATIENCE_SECONDS,
    )


@pytest.mark.usefixtures("operator")
async def test_it_is_alive_at_once_and_ready_after_the_first_pass(scene: Scene, proxy: ApiProxy, ask: Ask) -> None:
    proxy.refused.add("statefulroutes")
    await scene.make_workload(1)
    await scene.make_route()
    alive = await eventually(lambda: ask("/healthz"), lambda answer: answer[0] != 0, "it answers")
    assert alive == (200, "ok\n")
    waiting = "not all StatefulRoutes have been looked at"
    status, _ = await eventually(
        lambda: ask("/readyz"), lambda answer: waiting in answer[1], "it says what it waits for"
    )
    assert status == 503
    assert (await scene.view()).owner is None
    proxy.refused.clear()
    assert await eventually(lambda: ask("/readyz"), lambda answer: answer[0] == 200, "it is ready") == (200, "ok\n")
    assert (await scene.view()).owner is not None
    assert (await ask("/elsewhere"))[0] == 404


@pytest.mark.usefixtures("operator")
async def test_it_stays_alive_while_the_watch_brings_what_it_should(scene: Scene, ask: Ask) -> None:
    await scene.make_workload(2)
    await scene.make_route()
    await scene.wait_all_ready(range(2))
    checking = asyncio.create_task(
        always(lambda: ask("/healthz"), lambda answer: answer[0] == 200, "it is alive", seconds=PATIENCE_SECONDS * 2)
    )
    await scene.set_ready(1, ready=False)
    await scene.wait_status(lambda s: s["pods"]["denying"] == 1)
    await scene.scale(3)
    await scene.wait_all_ready([2])
    await scene.delete_pod(0)
    await checking


async def _delete_a_pod(scene: Scene) -> str:
    await scene.delete_pod(1)
    await scene.wait_links_off(1)
    return "Pod rooms-1"


async def _scale_down(scene: Scene) -> str:
    await scene.scale(1)
    await scene.wait_links_off(1)
    return "StatefulSet rooms"


async def _change_the_status(scene: Scene) -> str:
    await scene.set_ready(1, ready=False)
    await scene.wait_status(lambda s: s["pods"]["denying"] == 1)
    return "StatefulRoute rooms"


STALLED = {"pods": _delete_a_pod, "statefulsets": _scale_down, "statefulroutes": _change_the_status}


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize("resource", STALLED)
async def test_a_watch_that_brings_nothing_any_more_is_named_and_the_work_goes_on(
    scene: Scene, proxy: ApiProxy, ask: Ask, resource: str
) -> None:
    await scene.make_workload(2)
    await scene.make_route()
    await scene.wait_all_ready(range(2))
    await scene.link(20, range(2))
    await eventually(lambda: ask("/readyz"), lambda answer: answer[0] == 200, "it is ready")
    await eventually(_seen(proxy), lambda seen: resource in seen, "it watches")
    assert (await ask("/healthz"))[0] == 200
    proxy.stalled.add(resource)
    missed = await STALLED[resource](scene)
    status, text = await eventually(
        lambda: ask("/healthz"), lambda answer: answer[0] != 200, "the kubelet learns of it", seconds=20
    )
    assert status == 503
    assert f"the watch has not brought {missed} for" in text
    assert (await ask("/readyz"))[0] == 200
    await scene.check_links()


def _seen(proxy: ApiProxy) -> Callable[[], Awaitable[set[str]]]:
    async def seen() -> set[str]:
        return proxy.watched

    return seen


@pytest.mark.usefixtures("operator")
async def test_a_pod_whose_end_nobody_tells_of_is_not_waited_for_for_ever(
    scene: Scene, proxy: ApiProxy, ask: Ask
) -> None:
    await scene.make_workload(2)
    await scene.make_route()
    await scene.wait_all_ready(range(2))
    await eventually(_seen(proxy), lambda seen: "pods" in seen, "it watches")
    proxy.drops = lambda event: event["object"]["metadata"].get("name") == "rooms-1"
    former = await scene.pod_uid(1)
    await scene.delete_pod(1)
    await scene.wait_successor(1, former)
    late = await eventually(lambda: ask("/healthz"), lambda answer: answer[0] == 503, "it is missed")
    assert "Pod rooms-1" in late[1]
    await scene.scale(1)
    await eventually(lambda: ask("/healthz"), lambda answer: answer[0] == 200, "it is gone")
