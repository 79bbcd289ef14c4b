"""Redis stops, freezes, refuses, or comes back empty under the operator."""

import re
from collections.abc import Awaitable, Callable

import pytest

from stateful_route.devcluster.embedded_store import EmbeddedStore
from stateful_route.domain.routing import Reason
from stateful_route.store.connection import Store
from stateful_route.store.keys import META
from support.exposition import page, samples
from support.health import ask
from support.ports import free_port
from support.process import OperatorProcess
from support.scene import DENY, READY, SHUTDOWN, Scene
from support.waiting import always, eventually

MakeScene = Callable[..., Awaitable[Scene]]
StartOperator = Callable[..., OperatorProcess]

OUTAGE_SECONDS = 10
"""Long enough for every time-out and back-off of the operator to run out at least once."""


@pytest.fixture
async def served(private_scene: Scene, server: EmbeddedStore, start_operator: StartOperator) -> Scene:
    """Three pods with 30 links each, routed by an operator that compares everything each second."""
    start_operator(private_scene, redis_url=server.url, resync_seconds=1)
    await private_scene.make_workload(3)
    await private_scene.make_route()
    await private_scene.wait_all_ready(range(3))
    await private_scene.link(90, range(3))
    await private_scene.wait_condition("RedisConnected", "True")
    return private_scene


OUTAGES = {
    "killed": (EmbeddedStore.kill, EmbeddedStore.start),
    "frozen": (EmbeddedStore.pause, EmbeddedStore.resume),
}


@pytest.mark.parametrize("outage", OUTAGES)
async def test_what_changed_while_the_store_was_away_is_right_when_it_is_back(
    served: Scene, server: EmbeddedStore, outage: str
) -> None:
    end, begin = OUTAGES[outage]
    former = await served.pod_uid(1)
    end(server)
    broken = await served.wait_condition("RedisConnected", "False", "StoreUnavailable")
    assert f"127.0.0.1:{server.port}" in broken["message"]
    assert (await served.condition("Ready"))["status"] == "False"
    assert (await served.wait_event("StoreUnavailable"))["type"] == "Warning"
    await served.delete_pod(1)
    await served.wait_successor(1, former)
    await served.scale(2)
    await always(
        lambda: served.condition("RedisConnected"),
        lambda condition: condition["status"] == "False",
        "the store is said to be away while it is",
        seconds=OUTAGE_SECONDS,
    )
    begin(server)
    await served.wait_condition("RedisConnected", "True", "Connected")
    await served.wait_condition("Ready", "True")
    await served.wait_states({0: READY, 1: READY, 2: (SHUTDOWN, Reason.GONE)})
    await served.wait_links_off(2)
    links = await served.check_links(on=[0, 1])
    stayed = {uid for uid, was in served.linked.items() if was == 1 and links[uid] == 1}
    assert not stayed, "the successor of pod 1 does not know the users of its predecessor"
    assert {links[uid] for uid, was in served.linked.items() if was == 0} == {0}
    await served.wait_event("RedisConnectedResolved")


async def test_an_operator_goes_on_as_soon_as_its_store_is_heard_again(
    private_scene: Scene, server: EmbeddedStore, start_operator: StartOperator
) -> None:
    """However long it had failed: a rest between two attempts has become 2.5 s and more by now."""
    port = free_port()
    start_operator(private_scene, redis_url=server.url, resync_seconds=30, metrics_port=port)
    await private_scene.make_workload(2)
    await private_scene.make_route({"failover": {"delaySeconds": 300}})
    await private_scene.wait_all_ready(range(2))
    await private_scene.wait_condition("RedisConnected", "True")

    async def failures() -> float:
        return samples(await page(port)).get(("stateful_route_reconcile_seconds_count", "again"), 0.0)

    before = await failures()
    server.kill()
    await private_scene.set_ready(1, ready=False)
    await eventually(failures, lambda count: count >= before + 6, "it has failed six times")
    server.start()
    await private_scene.wait_states({1: DENY}, seconds=2)


async def test_a_store_that_refuses_writes_is_named_as_such(served: Scene) -> None:
    await served.store.command("CONFIG", "SET", "maxmemory", "1")
    refused = await served.wait_condition("RedisConnected", "False", "StoreRejected")
    assert "maxmemory" in refused["message"]
    await served.wait_event("StoreRejected")
    await served.store.command("CONFIG", "SET", "maxmemory", "0")
    await served.wait_condition("RedisConnected", "True")
    await served.delete_pod(1)
    await served.wait_links_off(1)
    await served.check_links(on=[0, 2])


async def flushed(_: EmbeddedStore, scene: Scene) -> None:
    await scene.store.command("FLUSHALL")


async def restarted_empty(server: EmbeddedStore, scene: Scene) -> None:
    server.close()
    server.start()
    await scene.store.close()  # the test's own connections are dead


async def wait_layout(scene: Scene) -> None:
    """Emptied between the look at the layout and the claim, a store has it back one pass later."""

    async def layout() -> object:
        return await scene.store.command("HGET", META, "layout")

    await eventually(layout, lambda version: version == b"1", "the layout version is written", seconds=8)


@pytest.mark.parametrize("empty", [flushed, restarted_empty])
async def test_a_store_that_lost_everything_has_the_states_again_after_one_resync(
    served: Scene, server: EmbeddedStore, empty: Callable[[EmbeddedStore, Scene], object]
) -> None:
    uid = await served.owner()
    config = await served.config()
    await empty(server, served)
    await eventually(served.owner, lambda owner: owner == uid, "the service is claimed anew", seconds=8)
    await served.wait_states(dict.fromkeys(range(3), (READY, Reason.READY)), seconds=8)
    assert await served.config() == config
    await wait_layout(served)
    served.linked.clear()
    await served.link(30, range(3))
    await served.delete_pod(2)
    await served.wait_links_off(2)
    await served.check_links(on=[0, 1])


async def test_a_store_emptied_between_two_resyncs_is_claimed_anew_by_the_next_change(
    private_scene: Scene, server: EmbeddedStore, start_operator: StartOperator
) -> None:
    scene = private_scene
    start_operator(scene, redis_url=server.url, resync_seconds=50)
    await scene.make_workload(2)
    uid = await scene.make_route()
    await scene.wait_all_ready(range(2))
    await scene.store.command("FLUSHALL")
    await scene.set_ready(1, ready=False)
    await scene.wait_states({0: READY})
    assert await scene.owner() == uid
    await wait_layout(scene)


async def test_an_operator_that_starts_before_its_store_serves_when_it_comes(
    private_scene: Scene, server: EmbeddedStore, start_operator: StartOperator
) -> None:
    scene = private_scene
    server.kill()
    start_operator(scene, redis_url=server.url)
    await scene.make_workload(2)
    await scene.make_route()
    await scene.wait_condition("RedisConnected", "False", "StoreUnavailable")
    server.start()
    await scene.wait_all_ready(range(2))
    await scene.wait_condition("RedisConnected", "True")


async def test_readiness_names_the_stores_that_are_away_and_fails_when_all_are(
    make_scene: MakeScene, store: Store, start_operator: StartOperator, redis_url: str
) -> None:
    """Liveness never does: a new process would not reach them either."""
    port = free_port()
    scene = await make_scene()
    start_operator(scene, redis_url=redis_url, resync_seconds=1, health_port=port)
    await scene.make_workload(1)
    await scene.make_route()
    await scene.wait_all_ready([0])
    other = Scene(scene.kube, scene.namespace, store, "chat", scene.access)
    with EmbeddedStore(password="secret") as server:
        await other.make_secret("store", {"url": server.url})
        server.kill()
        await other.make_route({"redis": {"urlSecretRef": {"name": "store"}}, "workloadRef": {"name": "rooms"}})
        where = rf"redis://:\*\*\*@127\.0\.0\.1:{server.port}/0"
        away = rf"the store {where} cannot be used since 20[0-9TZ:-]* for {scene.namespace}/chat: connection refused"
        named = await eventually(lambda: ask(port, "/readyz"), lambda seen: re.search(away, seen[1]), "it is named")
        assert named[0] == 200, "the others are served"
        assert "secret" not in named[1]
        await scene.delete_route()
        cut_off = await eventually(lambda: ask(port, "/readyz"), lambda seen: seen[0] == 503, "nobody is served")
        assert re.search(away, cut_off[1])
        assert (await ask(port, "/healthz")) == (200, "ok")
        server.start()
        await eventually(lambda: ask(port, "/readyz"), lambda seen: seen == (200, "ok"), "all is well")
        await other.delete_route()
        await eventually(other.route, lambda body: not body, "its keys are removed while the store is there")


async def test_readiness_follows_a_secret_through_each_of_its_mistakes(
    make_scene: MakeScene, start_operator: StartOperator, redis_url: str
) -> None:
    port = free_port()
    scene = await make_scene()
    start_operator(scene, redis_url=redis_url, resync_seconds=1, health_port=port)
    await scene.make_workload(1)
    await scene.let_read_secret("store")
    await scene.make_route({"redis": {"urlSecretRef": {"name": "store"}}})

    async def told(words: str, not_any_more: str = "") -> None:
        def says(seen: tuple[int, str]) -> bool:
            return bool(re.search(words, seen[1])) and not (not_any_more and not_any_more in seen[1])

        seen = await eventually(lambda: ask(port, "/readyz"), says, words)
        assert seen[0] == 503, "it is the only StatefulRoute"
        assert f"{scene.namespace}/{scene.service.name}" in seen[1]

    await told("no store is known since .*: there is no Secret 'store'")
    with EmbeddedStore(password="secret") as server:
        wrong, where = server.url.replace("secret", "other"), f"127.0.0.1:{server.port}"
        await scene.make_secret("store", {"url": wrong})
        await told(f"{where}/0 cannot be used since .*: wrong user or password", "no Secret")
        await scene.change_secret("store", {"url": f"redis://{where}?nonsense=1"})
        await told("key 'url' of Secret 'store' does not hold the URL of a store: .*'nonsense'", "wrong user")
        await scene.delete_secret("store")
        await scene.make_secret("store", {"uri": server.url})
        await told("has no key 'url', its keys are: 'uri'", "nonsense")
        await scene.change_secret("store", {"url": server.url})
        await eventually(lambda: ask(port, "/readyz"), lambda seen: seen == (200, "ok"), "all is well")
        await scene.wait_condition("RedisConnected", "True")
        await scene.delete_route()
        await eventually(scene.route, lambda body: not body, "its keys are removed while the store is there")
