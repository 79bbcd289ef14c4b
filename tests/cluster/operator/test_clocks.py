"""Wrong clocks, from the start or set in the middle: all goes as with right ones."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stateful_route.devcluster.embedded_store import EmbeddedStore
from stateful_route.domain.routing import Reason
from stateful_route.drivers.cache import CacheOptions, ServiceStateCache
from stateful_route.drivers.identity import Identity
from stateful_route.drivers.server import ServerDriver
from stateful_route.drivers.server_options import ServerHooks
from stateful_route.kube.objects import FINALIZER
from stateful_route.reconcile.departure import release_finalizers
from stateful_route.store.connection import Store, StoreOptions
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.states import stop_pod
from support.process import OperatorProcess
from support.scene import DENY, READY, SHUTDOWN, Scene
from support.shifted_clock import COMPILER, ShiftedClock
from support.waiting import always, eventually

HOUR = 3600
DELAY = 3
SPEC = {"failover": {"delaySeconds": DELAY}}
StartOperator = Callable[..., OperatorProcess]
SHIFTS = pytest.mark.parametrize("shift", [HOUR, -HOUR], ids=["an hour ahead", "an hour behind"])

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no cc on this machine, which builds the wrong clock")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ShiftedClock.built(tmp_path_factory.mktemp("clock"))


@pytest.fixture
def clock(library: Path, tmp_path: Path) -> ShiftedClock:
    return ShiftedClock(library, tmp_path / "shift")


@pytest.fixture
def shifted_server(clock: ShiftedClock) -> Iterator[EmbeddedStore]:
    """A store with that clock."""
    with contextlib.closing(EmbeddedStore()) as server:
        with clock.for_children():
            server.start()
        yield server


@pytest.fixture
async def shifted_scene(
    make_scene: Callable[..., asyncio.Future[Scene]], shifted_server: EmbeddedStore
) -> AsyncIterator[Scene]:
    """A scene whose links and states are in that store."""
    store = Store.from_url(shifted_server.url, StoreOptions(timeout_seconds=10))
    yield await make_scene(store=store)
    await store.close()


async def served(scene: Scene, spec: dict[str, object], *, by_hand: bool = True, grace_seconds: int = 30) -> None:
    """Three Ready pods with 30 links each."""
    await scene.make_workload(3, by_hand=by_hand, grace_seconds=grace_seconds)
    await scene.make_route(spec)
    if by_hand:
        await scene.run_pods(range(3))
    await scene.wait_all_ready(range(3))
    await scene.link(90, range(3))


async def fail_over(scene: Scene, ordinal: int, since: datetime | None = None) -> float:
    """The pod is not Ready any more; after how many seconds it is down."""
    began = time.monotonic()
    await scene.set_ready(ordinal, ready=False, since=since)
    await scene.wait_states({ordinal: (SHUTDOWN, Reason.UNREADY_TOO_LONG)})
    return time.monotonic() - began


async def fail_over_meanwhile(scene: Scene, clock: ShiftedClock, shift: int) -> float:
    """Pod 1 is seen not to be Ready any more, then the clock is set; after how many seconds from that it is down."""
    await scene.set_ready(1, ready=False)
    await scene.wait_states({1: (DENY, Reason.UNREADY)})
    began = time.monotonic()
    clock.step_to(shift)
    await scene.wait_states({1: (SHUTDOWN, Reason.UNREADY_TOO_LONG)})
    return time.monotonic() - began


@pytest.mark.usefixtures("operator")
async def test_a_kubelets_clock_makes_no_delay_shorter_or_longer(scene: Scene) -> None:
    await served(scene, SPEC)
    for shift in (-HOUR, -20, HOUR):
        took = await fail_over(scene, 1, datetime.now(UTC) + timedelta(seconds=shift))
        assert DELAY - 0.1 <= took < DELAY + 2, f"with a kubelet that is {shift} s ahead"
        await scene.set_ready(1, ready=True)
        await scene.wait_states({1: READY})


async def test_an_operator_that_was_away_counts_anew_for_a_pod_that_has_been_ready_meanwhile(
    scene: Scene, start_operator: StartOperator
) -> None:
    former = start_operator(scene)
    await served(scene, SPEC)
    await scene.set_ready(1, ready=False)
    await scene.wait_states({1: (DENY, Reason.UNREADY)})
    former.kill()
    await scene.set_ready(1, ready=True)
    await asyncio.sleep(DELAY)
    await scene.set_ready(1, ready=False)
    began = time.monotonic()
    start_operator(scene)
    await scene.wait_states({1: (SHUTDOWN, Reason.UNREADY_TOO_LONG)})
    assert time.monotonic() - began >= DELAY


@SHIFTS
async def test_an_operators_clock_changes_no_period(
    scene: Scene, start_operator: StartOperator, clock: ShiftedClock, shift: int
) -> None:
    clock.step_to(shift)
    with clock.for_children():
        start_operator(scene)
    await served(scene, SPEC, grace_seconds=8)
    assert DELAY - 0.1 <= await fail_over(scene, 0) < DELAY + 2
    deleted = time.monotonic()
    await scene.delete_pod(1)
    await scene.wait_states({1: (DENY, Reason.TERMINATING)})
    await scene.wait_states({1: (SHUTDOWN, Reason.GRACE_PERIOD_OVER)})
    assert 7.5 <= time.monotonic() - deleted < 40
    await scene.wait_links_off(0, 1)


@SHIFTS
async def test_who_is_uninstalled_leaves_alone_what_an_operator_with_a_wrong_clock_serves(
    scene: Scene, start_operator: StartOperator, clock: ShiftedClock, shift: int
) -> None:
    clock.step_to(shift)
    with clock.for_children():
        start_operator(scene, release="one/sr", claim_seconds=60)
    await served(scene, SPEC)
    assert not await release_finalizers(scene.kube, [scene.namespace], "two/sr")
    assert FINALIZER in (await scene.route())["metadata"]["finalizers"]


@SHIFTS
async def test_an_operator_that_finds_a_pod_stopping_knows_how_long_it_has(
    scene: Scene, start_operator: StartOperator, clock: ShiftedClock, shift: int
) -> None:
    former = start_operator(scene)
    await served(scene, SPEC, grace_seconds=20)
    deleted = time.monotonic()
    await scene.delete_pod(1)
    await scene.wait_states({1: (DENY, Reason.TERMINATING)})
    former.kill()
    await asyncio.sleep(12)
    clock.step_to(shift)
    with clock.for_children():
        start_operator(scene)
    await scene.wait_states({1: (SHUTDOWN, Reason.GRACE_PERIOD_OVER)})
    assert 19.5 <= time.monotonic() - deleted < 31, "the stamps and the header Date are exact to a second"


@SHIFTS
async def test_an_operators_clock_that_is_set_while_it_runs_holds_up_nothing(
    private_scene: Scene, server: EmbeddedStore, start_operator: StartOperator, clock: ShiftedClock, shift: int
) -> None:
    scene = private_scene
    with clock.for_children():
        start_operator(scene, redis_url=server.url)
    await served(scene, SPEC)
    assert DELAY - 1 <= await fail_over_meanwhile(scene, clock, shift) < DELAY + 2
    await scene.store.command("FLUSHALL")
    await scene.wait_states({0: READY, 2: READY}, seconds=10)


@SHIFTS
async def test_whatever_the_stores_clock_no_user_stays_on_a_pod_that_has_forgotten_her(
    shifted_scene: Scene,
    shifted_server: EmbeddedStore,
    start_operator: StartOperator,
    clock: ShiftedClock,
    shift: int,
) -> None:
    scene = shifted_scene
    start_operator(scene, redis_url=shifted_server.url)
    await served(scene, SPEC, by_hand=False)
    clock.step_to(shift)
    await scene.link(90, range(3), prefix="later")
    clock.step_to(0)
    for ordinal in (0, 1):
        former = await scene.pod_uid(ordinal)
        if ordinal == 0:
            await scene.restart_container(ordinal)
        else:
            await scene.delete_pod(ordinal)
            await scene.wait_successor(ordinal, former)
        await eventually(
            scene.moved_off, lambda moved, o=ordinal: moved.get(o) == 60, f"all users of pod {ordinal} have moved"
        )
        await scene.wait_taken_over(ordinal, restarts=1 - ordinal)


@SHIFTS
async def test_the_stores_clock_makes_no_delay_shorter_or_longer(
    shifted_scene: Scene,
    shifted_server: EmbeddedStore,
    start_operator: StartOperator,
    clock: ShiftedClock,
    shift: int,
) -> None:
    scene = shifted_scene
    start_operator(scene, redis_url=shifted_server.url)
    await served(scene, SPEC)
    assert DELAY - 1 <= await fail_over_meanwhile(scene, clock, shift) < DELAY + 3


async def step(scene: Scene, clock: ShiftedClock, shift: int) -> None:
    """The store's clock is set while an operator runs, which has read everything anew since then."""
    clock.step_to(shift)

    async def shown() -> list[int]:
        entries = [pod.state for pod in (await scene.view()).pods.values() if pod.state is not None]
        return [round(state.update_time / 1000 - time.time()) for state in entries]

    await eventually(shown, lambda ahead: all(abs(by - shift) < HOUR / 2 for by in ahead), "it has been read anew")


@SHIFTS
async def test_an_operator_that_comes_after_the_stores_clock_was_set_goes_on_with_the_delay(
    shifted_scene: Scene,
    shifted_server: EmbeddedStore,
    start_operator: StartOperator,
    clock: ShiftedClock,
    shift: int,
) -> None:
    scene, delay = shifted_scene, 12
    former = start_operator(scene, redis_url=shifted_server.url)
    await served(scene, {"failover": {"delaySeconds": delay}})
    began = time.monotonic()
    await scene.set_ready(1, ready=False)
    await scene.wait_states({1: (DENY, Reason.UNREADY)})
    await step(scene, clock, shift)
    former.kill()
    start_operator(scene, redis_url=shifted_server.url)
    await scene.wait_states({1: (SHUTDOWN, Reason.UNREADY_TOO_LONG)})
    assert delay - 1 <= time.monotonic() - began < delay + 30


@SHIFTS
async def test_an_operator_that_comes_after_the_stores_clock_was_set_goes_on_with_the_wait_at_a_start(
    shifted_scene: Scene,
    shifted_server: EmbeddedStore,
    start_operator: StartOperator,
    clock: ShiftedClock,
    shift: int,
) -> None:
    scene, timeout = shifted_scene, 12
    former = start_operator(scene, redis_url=shifted_server.url)
    await served(scene, {"failover": {"startup": {"timeoutSeconds": timeout}}})
    await scene.scale(0)
    for ordinal in range(3):
        await eventually(lambda o=ordinal: scene.pod(o), lambda b: "deletionTimestamp" in b["metadata"], "it stops")  # type: ignore[misc]
        await scene.end_pod(ordinal)
    await scene.wait_states(dict.fromkeys(range(3), (SHUTDOWN, Reason.GONE)))
    await scene.scale(3)
    await scene.wait_resyncs(2)  # it knows how many are wanted
    began = time.monotonic()
    await scene.run_pods([0])
    await scene.wait_condition("FailoverPaused", "True", "ServiceStarting")
    await step(scene, clock, shift)
    former.kill()
    start_operator(scene, redis_url=shifted_server.url)
    await scene.wait_links_off(1, 2)
    assert timeout - 1 <= time.monotonic() - began < timeout + 30


@SHIFTS
async def test_a_pod_stops_for_as_long_as_its_hook_has_said_whatever_the_stores_clock(
    shifted_scene: Scene,
    shifted_server: EmbeddedStore,
    start_operator: StartOperator,
    clock: ShiftedClock,
    shift: int,
) -> None:
    scene, seconds = shifted_scene, 12
    former = start_operator(scene, redis_url=shifted_server.url)
    await served(scene, SPEC)
    began = time.monotonic()
    await stop_pod(scene.store, scene.service, 1, await scene.pod_uid(1), seconds)
    await scene.wait_states({1: (DENY, Reason.STOPPING)})
    await step(scene, clock, shift)
    former.kill()
    start_operator(scene, redis_url=shifted_server.url)
    await scene.wait_states({1: READY})
    assert seconds - 1 <= time.monotonic() - began < seconds + 30
    await eventually(scene.view, lambda view: view.pods[1].state.stops is None, "nothing is left of it")


@contextlib.asynccontextmanager
async def running(scene: Scene, ordinal: int, hooks: ServerHooks | None = None) -> AsyncIterator[ServerDriver]:
    """The library in a pod."""
    cache = ServiceStateCache(StatefulExecutor(scene.store), CacheOptions(0.2))
    identity = Identity(scene.namespace, scene.name, ordinal, await scene.pod_uid(ordinal))
    driver = ServerDriver(cache, identity, hooks=hooks or ServerHooks())
    await driver.start()
    yield driver
    await driver.stop(0)
    await cache.close()


@SHIFTS
async def test_an_app_is_asked_whatever_the_stores_clock(
    shifted_scene: Scene,
    shifted_server: EmbeddedStore,
    start_operator: StartOperator,
    clock: ShiftedClock,
    shift: int,
) -> None:
    scene, saved = shifted_scene, list[str]()
    start_operator(scene, redis_url=shifted_server.url)
    await scene.make_workload(2)
    await scene.make_route({"drain": {"deadlineSeconds": 10}})
    await scene.wait_all_ready(range(2))
    former = await scene.pod_uid(0)
    await scene.delete_pod(0)
    await scene.wait_successor(0, former)
    await scene.wait_taken_over(0)

    async def save(uid: str) -> None:
        saved.append(uid)

    async with running(scene, 0, ServerHooks(on_release=save)) as app, running(scene, 1):
        for number in range(20):
            assert await app.accept(f"user-{number}")
        await eventually(scene.records, lambda records: records[0].app_word is READY, "the operator has heard it")
        clock.step_to(shift)
        await scene.annotate_pod(0, "statefulroute.io/drain", "true")
        await eventually(lambda: asyncio.sleep(0, len(saved)), lambda count: count == 20, "the app has saved them all")
    assert not [move for move in await scene.moves() if move["reason"] == Reason.DRAIN_REQUESTED]


# A restart that the operator has not seen


async def restarted_unseen(scene: Scene, operator: OperatorProcess) -> list[str]:
    """Pod 1 has 30 users; then its container starts anew while no operator runs, and gets others, who are returned."""
    async with running(scene, 1):
        await eventually(scene.records, lambda records: records[1].begun is not None, "the operator has heard it")
        operator.kill()
        await scene.restart_container(1)
    return [f"new-{number}" for number in range(20)]


@pytest.mark.parametrize("keep", [False, True], ids=["Move", "Keep"])
async def test_who_came_after_a_restart_that_nobody_saw_stays_and_who_came_before_does_not(
    scene: Scene, start_operator: StartOperator, keep: bool
) -> None:
    former = start_operator(scene)
    await served(scene, {"failover": {"onRestart": "Keep" if keep else "Move"}}, by_hand=False)
    news = await restarted_unseen(scene, former)
    async with running(scene, 1):
        await scene.link(20, [1], prefix="new")
        before = await scene.epochs()
        start_operator(scene)
        await scene.wait_taken_over(1, restarts=1)
        after, links = await scene.epochs(), await scene.links()
        assert {uid: (links[uid], after[uid]) for uid in news} == {uid: (1, before[uid]) for uid in news}
        old = [uid for uid, pod in scene.linked.items() if pod == 1 and uid not in news]
        assert all(after[uid] > before[uid] for uid in old)
        assert {links[uid] == 1 for uid in old} == {keep}
        assert SHUTDOWN not in (await scene.history(1))[-1:], "it serves its new users all the time"


@pytest.mark.parametrize("shift", [0, HOUR, -HOUR], ids=["right", "an hour ahead", "an hour behind"])
async def test_without_the_library_the_kubelet_tells_of_a_restart_that_nobody_saw(
    scene: Scene, start_operator: StartOperator, shift: int
) -> None:
    def kubelet() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=shift)

    former = start_operator(scene)
    await served(scene, SPEC)
    await scene.set_ready(1, ready=False, since=kubelet())
    await scene.wait_states({1: DENY})
    await scene.set_ready(1, ready=True, since=kubelet())
    await scene.wait_states({1: READY})
    former.kill()
    await scene.restart_container(1, started=kubelet())
    await asyncio.sleep(3)  # its word is exact to a second, and so is what is known of its clock
    await scene.link(20, [1], prefix="new")
    before = await scene.epochs()
    start_operator(scene)
    await scene.wait_taken_over(1, restarts=1)
    assert await scene.moved_off() == {1: 30}
    after = await scene.epochs()
    assert not [uid for uid in before if uid.startswith("new") and before[uid] != after[uid]]


async def test_a_restart_that_nobody_saw_nor_tells_of_moves_all(scene: Scene, start_operator: StartOperator) -> None:
    former = start_operator(scene)
    await served(scene, SPEC, by_hand=False)
    former.kill()
    await scene.restart_container(1)
    await scene.link(20, [1], prefix="new")
    start_operator(scene)
    await eventually(scene.moved_off, lambda moved: moved.get(1) == 50, "nobody can tell them apart")
    await scene.wait_taken_over(1, restarts=1)


# A container that is another one under the same count


@pytest.mark.usefixtures("operator")
async def test_another_container_under_the_same_count_has_forgotten_its_users(scene: Scene) -> None:
    await served(scene, SPEC)
    await scene.set_container(1, "containerd://a")
    await always(scene.moved, lambda moved: not moved, "an id that was not known before is no other one", seconds=2.5)
    await scene.set_container(1, "containerd://b")
    await scene.wait_links_off(1)
    await scene.wait_taken_over(1)
