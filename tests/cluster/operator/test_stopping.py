"""Pods that their kubelet stops by itself: nobody has deleted them, they are Ready to the end, and their hook runs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from stateful_route import StatefulRoute
from stateful_route.cli.inspect.wait_drained import Hook, Pod, wait_drained
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.drivers.client import ClientDriver
from stateful_route.drivers.identity import Identity
from stateful_route.drivers.server_options import ServerHooks, ServerOptions
from stateful_route.store.states import set_state
from support.process import OperatorProcess
from support.scene import DENY, READY, SHUTDOWN, Scene
from support.waiting import eventually

StartOperator = Callable[..., OperatorProcess]
DEADLINE_SECONDS = 25


async def served(scene: Scene, **spec: object) -> None:
    """Three Ready pods with 20 users each."""
    await scene.make_workload(3, by_hand=True)
    await scene.make_route(spec)
    await scene.run_pods(range(3))
    await scene.wait_all_ready(range(3))
    await scene.link(60, range(3))


@asynccontextmanager
async def hook(scene: Scene, ordinal: int, uid: str = "") -> AsyncIterator["asyncio.Task[int | None]"]:
    """What the kubelet runs in the pod before it stops it; its result is how many users are left."""
    pod = Pod(scene.service, ordinal, f"{scene.name}-{ordinal}", uid)
    say: Callable[[str], None] = lambda _: None  # noqa: E731
    running = asyncio.create_task(
        wait_drained(scene.store, pod, DEADLINE_SECONDS, say, Hook(pod, DEADLINE_SECONDS, say))
    )
    try:
        yield running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def check_new_users_go_elsewhere(scene: Scene, ordinal: int, client: ClientDriver) -> None:
    pods = [await client.compute_linked_pod(scene.namespace, f"new-{n}", scene.name) for n in range(20)]
    assert ordinal not in pods


@pytest.fixture
async def client(scene: Scene, redis_url: str) -> AsyncIterator[ClientDriver]:
    async with StatefulRoute.connect(redis_url) as route:
        yield route.client


@pytest.mark.parametrize("told", [True, False], ids=["POD_UID is set", "POD_UID is not set"])
async def test_an_evicted_pod_is_empty_before_it_fails(
    scene: Scene, start_operator: StartOperator, client: ClientDriver, told: bool
) -> None:
    start_operator(scene)
    await served(scene)
    async with hook(scene, 1, await scene.pod_uid(1) if told else "") as running:
        await scene.wait_states({1: (DENY, Reason.STOPPING)})
        await check_new_users_go_elsewhere(scene, 1, client)
        assert await running == 0
    assert await scene.ready_pods() == {0, 1, 2}, "Kubernetes has said nothing so far"
    assert await scene.moved_off() == {1: 20}
    assert {move["reason"] for move in await scene.moves()} == {"Stopping"}
    await scene.wait_resyncs(1)
    assert (await scene.states())[1] == (DENY, Reason.STOPPING), "until it ends"
    former = await scene.pod_uid(1)
    await scene.set_phase(1, "Failed")
    await eventually(lambda: scene.pod(1), lambda body: not body or body["metadata"]["uid"] != former, "it is replaced")
    await scene.run_pods([1])
    await scene.wait_taken_over(1)
    await scene.check_links()


async def test_a_restarted_container_takes_users_again(
    scene: Scene, start_operator: StartOperator, client: ClientDriver
) -> None:
    start_operator(scene)
    await served(scene)
    async with hook(scene, 1) as running:
        assert await running == 0
    await scene.wait_states({1: (DENY, Reason.STOPPING)})
    await scene.restart_container(1)  # Ready all the time, as with a memory resize
    await scene.wait_states({1: (READY, Reason.READY)})
    await scene.wait_resyncs(1)
    assert (await scene.states())[1] == (READY, Reason.READY)
    state = (await scene.view()).pods[1].state
    assert state is not None
    assert state.stops is None


async def test_an_operator_that_was_away_drains_when_it_is_back_and_not_another_life(
    scene: Scene, start_operator: StartOperator
) -> None:
    operator = start_operator(scene)
    await served(scene)
    operator.kill()
    async with hook(scene, 0), hook(scene, 1):
        await eventually(scene.raw_states, lambda raw: all("stops" in raw[o] for o in "01"), "both hooks have spoken")
        await scene.restart_container(1)
    start_operator(scene)
    async with hook(scene, 0) as running:
        assert await running == 0
    await scene.wait_states({0: (DENY, Reason.STOPPING), 1: READY})
    await scene.check_links(on=[1, 2])


async def test_the_hook_of_a_deleted_pod_is_a_deletion(scene: Scene, start_operator: StartOperator) -> None:
    start_operator(scene)
    await served(scene)
    await scene.delete_pod(1, grace_seconds=30)
    async with hook(scene, 1) as running:
        assert await running == 0
    assert (await scene.states())[1] == (DENY, Reason.TERMINATING)
    await scene.end_pod(1)
    await scene.run_pods([1])
    await scene.wait_taken_over(1)


async def test_users_stay_with_a_pod_that_keeps_them_whatever_becomes_of_it(
    scene: Scene, start_operator: StartOperator
) -> None:
    start_operator(scene)
    await served(scene, failover={"onRestart": "Keep", "onReplace": "Keep"})
    async with hook(scene, 1):
        await scene.wait_states({1: (DENY, Reason.STOPPING)})
        await scene.wait_resyncs(1)
    assert not await scene.moved()
    await scene.restart_container(1)
    await scene.wait_states({1: (READY, Reason.READY)})
    assert not await scene.moved()


async def test_an_app_with_the_library_gives_its_users_away_when_its_hook_asks(
    scene: Scene, start_operator: StartOperator, redis_url: str
) -> None:
    start_operator(scene)
    await served(scene, health={"expireSeconds": 5})
    saved: set[str] = set()

    async def save(uid: str) -> None:
        saved.add(uid)

    identity = Identity(scene.namespace, scene.name, 1, await scene.pod_uid(1))
    options = ServerOptions(update_seconds=1, settle_seconds=0, cpu_factor=0)
    async with StatefulRoute.connect(redis_url) as route:
        server = route.server(identity=identity, options=options, hooks=ServerHooks(on_release=save))
        await server.start()
        mine = [f"mine-{n}" for n in range(5)]
        assert all([await server.accept(uid) for uid in mine])
        async with hook(scene, 1) as running:
            assert await running == 0
        assert saved >= set(mine)
        assert server.effective_state is DENY
        await server.stop(1)
        again = route.server(identity=identity, options=options)
        await again.start()  # its container was restarted
        await scene.restart_container(1)
        await scene.wait_states({1: (READY, Reason.READY)})
        assert await again.accept("somebody")
        await again.stop(1)


async def test_an_app_with_the_library_that_gets_SIGTERM_needs_no_hook(  # noqa: N802
    scene: Scene, start_operator: StartOperator, client: ClientDriver, redis_url: str
) -> None:
    start_operator(scene)
    await served(scene)
    identity = Identity(scene.namespace, scene.name, 1, await scene.pod_uid(1))
    async with StatefulRoute.connect(redis_url) as route:
        server = route.server(identity=identity, options=ServerOptions(settle_seconds=3, cpu_factor=0))
        await server.start()
        assert await server.accept("mine")
        stopping = asyncio.create_task(server.stop(10))  # as SIGTERM has it
        await scene.wait_states({1: DENY})
        await check_new_users_go_elsewhere(scene, 1, client)
        await stopping
    await scene.wait_states({1: SHUTDOWN})
    await scene.wait_links_off(1)


async def test_a_hook_that_was_run_by_hand_ends_with_its_time(
    scene: Scene, start_operator: StartOperator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stateful_route.cli.inspect.wait_drained.STOP_SECONDS", 2 - DEADLINE_SECONDS)
    start_operator(scene)
    await served(scene)
    async with hook(scene, 1) as running:
        assert await running == 0
    await scene.wait_states({1: (READY, Reason.READY)})
    await set_state(scene.store, scene.service, 1, RoutingState.READY, incarnation=await scene.pod_uid(1))
    await scene.wait_resyncs_of(0, 1)
    assert (await scene.states())[1] == (READY, Reason.READY)
