"""With onReplace: Keep and the library in the pod: users stay with the name of a pod that stops, and are saved."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from stateful_route import StatefulRoute
from stateful_route.domain.routing import Reason
from stateful_route.drivers.cache import CacheOptions, ServiceStateCache
from stateful_route.drivers.identity import Identity
from stateful_route.drivers.server import ServerDriver
from stateful_route.drivers.server_options import ServerHooks, ServerOptions
from stateful_route.store.executor import StatefulExecutor
from support.process import OperatorProcess
from support.scene import DENY, READY, SHUTDOWN, Scene
from support.waiting import eventually

StartOperator = Callable[..., OperatorProcess]
KEEP_REPLACED = {"onReplace": "Keep"}
KEEP = {"onReplace": "Keep", "onRestart": "Keep"}
USERS = [f"user-{number}" for number in range(10)]
ME = 1


@dataclass
class App:
    """The library in pod ME, whose app saves its users."""

    server: ServerDriver
    saved: list[str] = field(default_factory=list)

    async def accept_all(self) -> dict[str, int]:
        """Serve all users; by which epoch each is the pod's own."""
        assert all([await self.server.accept(uid) for uid in USERS])
        return {uid: self.server.token(uid) or 0 for uid in USERS}


@asynccontextmanager
async def process(scene: Scene) -> AsyncIterator[App]:
    """The process in pod ME as it is now; it is to be stopped by whoever has it."""
    saved: list[str] = []
    cache = ServiceStateCache(StatefulExecutor(scene.store), CacheOptions(refresh_seconds=5))
    identity = Identity(scene.namespace, scene.name, ME, await scene.pod_uid(ME))
    options = ServerOptions(update_seconds=5, settle_seconds=1, cpu_factor=0)
    server = ServerDriver(cache, identity, options, ServerHooks(on_release=saved.append))
    await server.start()
    try:
        yield App(server, saved)
    finally:
        await server.stop(0)
        await cache.close()


async def served(scene: Scene, failover: dict[str, object], replicas: int = 3) -> None:
    """Ready pods, without users."""
    await scene.make_workload(replicas, by_hand=True)
    await scene.make_route({"failover": failover})
    await scene.run_pods(range(replicas))
    await scene.wait_all_ready(range(replicas))


async def check_all_on_me(scene: Scene) -> None:
    """Every user is on pod ME, and has never been elsewhere."""
    assert await scene.placed() == {ME: len(USERS)}
    assert {to for move in await scene.moves() for _, to, _ in json.loads(move["moves"])} <= {ME}, "new epochs alone"


async def succeed(scene: Scene) -> None:
    """The pod leaves the API, and its successor is Ready."""
    former = await scene.pod_uid(ME)
    await scene.end_pod(ME)
    await scene.run_pods([ME])
    await scene.wait_successor(ME, former)
    await scene.wait_taken_over(ME)


async def check_serves_all_with_later_epochs(scene: Scene, before: dict[str, int]) -> None:
    async with process(scene) as app:
        after = await app.accept_all()
        assert all(after[uid] > before[uid] for uid in USERS)
        await check_all_on_me(scene)


async def test_users_of_a_deleted_pod_are_saved_and_stay(scene: Scene, start_operator: StartOperator) -> None:
    start_operator(scene)
    await served(scene, KEEP_REPLACED)
    async with process(scene) as app:
        before = await app.accept_all()
        await scene.delete_pod(ME, grace_seconds=30)
        await app.server.stop()  # as SIGTERM has it
        assert sorted(app.saved) == USERS
    await check_all_on_me(scene)
    assert (await scene.states())[ME] == (DENY, Reason.TERMINATING)
    await succeed(scene)
    await check_serves_all_with_later_epochs(scene, before)


async def test_they_stay_although_the_operator_sees_the_deletion_after_the_end(
    scene: Scene, start_operator: StartOperator
) -> None:
    operator = start_operator(scene)
    await served(scene, KEEP_REPLACED)
    async with process(scene) as app:
        before = await app.accept_all()
        operator.signal(signal.SIGSTOP)
        await scene.delete_pod(ME, grace_seconds=30)
        await app.server.stop()
        assert sorted(app.saved) == USERS
    await check_all_on_me(scene)
    operator.signal(signal.SIGCONT)
    await scene.wait_states({ME: (DENY, Reason.TERMINATING)})
    await succeed(scene)
    await check_serves_all_with_later_epochs(scene, before)


async def test_they_stay_when_the_kubelet_stops_the_container_alone(
    scene: Scene, start_operator: StartOperator
) -> None:
    """Nobody has deleted the pod, and no hook says that it stops: all that is heard of it is the app's word."""
    start_operator(scene)
    await served(scene, KEEP)
    async with process(scene) as app:
        before = await app.accept_all()
        await app.server.stop()
        assert sorted(app.saved) == USERS
    await scene.wait_resyncs_of(0, 2)
    await check_all_on_me(scene)
    await scene.restart_container(ME)
    async with process(scene) as again:
        await scene.wait_taken_over(ME, restarts=1)
        after = await again.accept_all()
        assert all(after[uid] > before[uid] for uid in USERS)
        await check_all_on_me(scene)


async def test_users_of_a_pod_that_is_scaled_away_are_saved_and_given_away(
    scene: Scene, start_operator: StartOperator
) -> None:
    start_operator(scene)
    await served(scene, KEEP, replicas=2)
    async with process(scene) as app:
        await app.accept_all()
        await scene.scale(1)
        await eventually(lambda: scene.pod(ME), lambda body: "deletionTimestamp" in body["metadata"], "it is deleted")
        await app.server.stop()
        assert sorted(app.saved) == USERS
    await scene.wait_links_off(ME)
    assert {move["reason"] for move in await scene.moves()} == {"Released"}, "all by the app"


async def test_who_is_asked_for_while_nobody_has_the_name_gets_another_pod(
    scene: Scene, start_operator: StartOperator, redis_url: str
) -> None:
    start_operator(scene)
    await served(scene, KEEP_REPLACED)
    async with process(scene) as app, StatefulRoute.connect(redis_url) as route:
        await app.accept_all()
        await scene.delete_pod(ME, grace_seconds=30)
        await app.server.stop()
        assert await route.client.compute_linked_pod(scene.namespace, USERS[0], scene.name) == ME
        await scene.end_pod(ME)
        await scene.wait_states({ME: (SHUTDOWN, Reason.REPLACING)})

        async def asked() -> int:
            return await route.client.compute_linked_pod(scene.namespace, USERS[0], scene.name)

        await eventually(asked, lambda pod: pod != ME, "a pod that serves")
    assert (await scene.placed())[ME] == len(USERS) - 1, "the others wait for the successor"


@pytest.mark.parametrize("failover", [KEEP_REPLACED, KEEP], ids=["restarts move", "restarts keep"])
async def test_users_of_a_pod_that_is_drained_and_deleted_are_given_away(
    scene: Scene, start_operator: StartOperator, failover: dict[str, object]
) -> None:
    start_operator(scene)
    await served(scene, failover)
    async with process(scene) as app:
        await app.accept_all()
        await scene.annotate_pod(ME, "statefulroute.io/drain", "true")
        await scene.wait_states({ME: DENY})
        await scene.delete_pod(ME, grace_seconds=30)
        await app.server.stop()
        assert sorted(app.saved) == USERS
    await scene.wait_links_off(ME)
    assert {move["reason"] for move in await scene.moves()} == {"Released"}
    await scene.end_pod(ME)
    await scene.run_pods([ME])
    await scene.wait_states({ME: READY})


async def test_when_the_operator_hears_of_the_scaling_after_the_end_it_moves_those_who_stayed(
    scene: Scene, start_operator: StartOperator
) -> None:
    operator = start_operator(scene)
    await served(scene, KEEP, replicas=2)
    async with process(scene) as app:
        await app.accept_all()
        operator.signal(signal.SIGSTOP)
        await scene.scale(1)
        await eventually(lambda: scene.pod(ME), lambda body: "deletionTimestamp" in body["metadata"], "it is deleted")
        await app.server.stop()
        assert sorted(app.saved) == USERS
    assert await scene.placed() == {ME: len(USERS)}
    operator.signal(signal.SIGCONT)
    await asyncio.gather(scene.wait_links_off(ME), scene.end_pod(ME))
    assert await scene.placed() == {0: len(USERS)}
