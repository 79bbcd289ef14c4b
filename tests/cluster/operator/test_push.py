"""What the store tells the operator by itself: apps that change their word; and that it does as well without."""

from collections.abc import Callable

import pytest

from stateful_route.devcluster.embedded_store import EmbeddedStore
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.store.states import set_state
from support.exposition import page, samples
from support.ports import free_port
from support.process import OperatorProcess
from support.scene import DENY, READY, SHUTDOWN, Scene
from support.waiting import always, eventually

StartOperator = Callable[..., OperatorProcess]
SOON_SECONDS = 10.0
"""Far below the period of 50 s, after which the operator looks in any case."""


async def served(scene: Scene) -> None:
    await scene.make_workload(3)
    await scene.make_route()
    await scene.wait_all_ready(range(3))
    await scene.wait_status(counted(3, 0, 0), seconds=SOON_SECONDS)


def counted(ready: int, denying: int, shutdown: int) -> Callable[[dict[str, object]], bool]:
    return lambda status: status["pods"] == {"ready": ready, "denying": denying, "shutdown": shutdown}


async def say(scene: Scene, ordinal: int, word: RoutingState) -> None:
    await set_state(scene.store, scene.service, ordinal, word, incarnation=await scene.pod_uid(ordinal))


async def test_an_app_s_word_is_heard_at_once(scene: Scene, start_operator: StartOperator) -> None:
    start_operator(scene, resync_seconds=50)
    await served(scene)
    await say(scene, 1, DENY)
    await scene.wait_status(counted(2, 1, 0), seconds=SOON_SECONDS)
    await say(scene, 1, SHUTDOWN)
    await scene.wait_status(counted(2, 0, 1), seconds=SOON_SECONDS)
    assert (await scene.records())[1].app_word is SHUTDOWN
    await say(scene, 1, READY)
    await scene.wait_status(counted(3, 0, 0), seconds=SOON_SECONDS)


async def test_a_pod_that_denies_by_itself_gets_none_of_the_links_that_move(
    scene: Scene, start_operator: StartOperator
) -> None:
    start_operator(scene, resync_seconds=50)
    await served(scene)
    await scene.link(300, range(3))
    await say(scene, 1, DENY)
    await scene.wait_status(counted(2, 1, 0), seconds=SOON_SECONDS)
    await scene.annotate_pod(2, "statefulroute.io/drain", "true")
    await scene.wait_links_off(2)
    assert await scene.placed() == {0: 200, 1: 100}


async def test_the_operator_does_not_answer_its_own_echo(
    private_scene: Scene, server: EmbeddedStore, start_operator: StartOperator
) -> None:
    scene, port = private_scene, free_port()
    start_operator(scene, redis_url=server.url, resync_seconds=50, metrics_port=port)
    await served(scene)

    async def reads() -> float:
        """Rises when the operator reads pods of the service anew."""
        return samples(await page(port))["stateful_route_store_round_trip_seconds_count", "read"]

    await scene.change_route({"failover": {"delaySeconds": 600}})
    await eventually(scene.status, lambda status: status["observedGeneration"] == 2, "the change is seen")
    before = await reads()
    for word in (False, True, False):
        await scene.set_ready(2, ready=word)
    await always(reads, lambda count: count == before, "nothing is read anew", seconds=3)
    await scene.wait_states({1: (READY, Reason.READY), 2: (DENY, Reason.UNREADY)})
    before = await reads()
    await say(scene, 1, DENY)
    await eventually(reads, lambda count: count > before, "an app's word is another matter", seconds=5)


async def test_a_lost_connection_comes_back_and_what_was_missed_meanwhile_is_seen(
    private_scene: Scene, server: EmbeddedStore, start_operator: StartOperator
) -> None:
    scene = private_scene
    start_operator(scene, redis_url=server.url, resync_seconds=50)
    await served(scene)
    for word, figures in ((DENY, (2, 1, 0)), (SHUTDOWN, (2, 0, 1)), (READY, (3, 0, 0))):
        await scene.store.pipeline([("CLIENT", "KILL", "TYPE", "pubsub")])
        await say(scene, 1, word)
        await scene.wait_status(counted(*figures), seconds=SOON_SECONDS)


FORBIDDEN = {
    "no permission to subscribe": ["-subscribe", "-ssubscribe"],
    "no permission for the channels": ["resetchannels"],
}


@pytest.mark.parametrize("missing", FORBIDDEN)
async def test_without_messages_the_operator_goes_on_by_its_period_and_says_so_once(
    private_scene: Scene, server: EmbeddedStore, start_operator: StartOperator, missing: str
) -> None:
    scene = private_scene
    await scene.store.command("ACL", "SETUSER", "operator", "on", ">secret", "~*", "&*", "+@all", *FORBIDDEN[missing])
    url = server.url.replace("redis://", "redis://operator:secret@")
    operator = start_operator(scene, redis_url=url, resync_seconds=1)
    await scene.make_workload(3)
    await scene.make_route()
    await scene.wait_all_ready(range(3))
    await say(scene, 1, DENY)
    await scene.wait_status(counted(2, 1, 0), seconds=SOON_SECONDS)
    await scene.wait_resyncs_of(0, 3)
    assert len([line for line in operator.lines() if "no push" in str(line["message"])]) == 1


async def test_two_routes_of_one_store_hear_each_of_its_own_pods(
    scene: Scene, make_scene: Callable[..., object], start_operator: StartOperator
) -> None:
    other: Scene = await make_scene(beside=scene)  # type: ignore[misc]
    start_operator(scene, other, resync_seconds=50)
    for each in (scene, other):
        await served(each)
    await say(other, 1, DENY)
    await other.wait_status(counted(2, 1, 0), seconds=SOON_SECONDS)
    await scene.delete_route()
    await eventually(scene.route, lambda route: not route, "the first one is gone")
    await say(other, 1, READY)
    await other.wait_status(counted(3, 0, 0), seconds=SOON_SECONDS)
    assert all(found == READY for found, _ in (await other.states()).values())
