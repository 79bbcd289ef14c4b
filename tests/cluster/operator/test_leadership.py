"""Two operators and one Lease: who leads writes, who has lost it writes nothing more, whenever it wakes up."""

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from stateful_route.devcluster import ControlPlane
from stateful_route.devcluster.embedded_store import EmbeddedStore
from stateful_route.domain.leadership import Rhythm
from stateful_route.kube.client import Kube, KubeError
from stateful_route.kube.objects import FINALIZER
from stateful_route.reconcile.leadership import Leadership
from stateful_route.store.scripts import script, timed
from support.exposition import page, samples
from support.health import ask
from support.ports import free_port
from support.process import OperatorProcess
from support.rights import allow
from support.scene import DENY, Scene
from support.tcp_proxy import TcpProxy
from support.waiting import always, eventually

LEASE = "stateful-route"
SECONDS = 3
MANY = 4_000
Elect = Callable[..., OperatorProcess]
MakeScene = Callable[..., Awaitable[Scene]]


@pytest.fixture
def elect(start_operator: Callable[..., OperatorProcess]) -> Elect:
    """Starts a candidate for the scene's Lease."""

    def start(scene: Scene, identity: str, **options: Any) -> OperatorProcess:
        election = {"lease_name": LEASE, "lease_namespace": scene.namespace, "lease_seconds": SECONDS}
        return start_operator(scene, identity=identity, **{"resync_seconds": 1} | election | options)

    return start


@pytest.fixture
def port() -> int:
    return free_port()


def leases(scene: Scene) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{scene.namespace}/leases"


async def lease(scene: Scene) -> dict[str, Any]:
    """The Lease's spec."""
    return (await scene.kube.get(f"{leases(scene)}/{LEASE}"))["spec"]


async def set_lease(scene: Scene, holder: str, seconds: int = SECONDS) -> None:
    """As another candidate does, or a person."""
    spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds}
    await scene.kube.merge(f"{leases(scene)}/{LEASE}", {"spec": spec})


async def wait_line(operator: OperatorProcess, message: str, count: int = 1, seconds: float = 15) -> dict[str, Any]:
    """Until it has logged this so many times; the last of these lines."""

    async def lines() -> list[dict[str, Any]]:
        return operator.lines(message)

    return (await eventually(lines, lambda found: len(found) >= count, f"{message!r} × {count}", seconds=seconds))[-1]


async def serving(scene: Scene, spec: dict[str, Any] | None = None, pods: int = 2) -> None:
    await scene.make_workload(pods)
    await scene.make_route(spec)
    await scene.wait_all_ready(range(pods))


async def test_a_standby_is_ready_and_writes_nothing_until_the_lease_is_given_back(
    scene: Scene, elect: Elect, port: int
) -> None:
    spec = {"holderIdentity": "elsewhere", "leaseDurationSeconds": 600, "leaseTransitions": 7}
    await scene.kube.create(leases(scene), {"metadata": {"name": LEASE}, "spec": spec})
    metrics_port = free_port()
    operator = elect(scene, "here", health_port=port, metrics_port=metrics_port)
    assert (await wait_line(operator, "standing by"))["leader"] == "elsewhere"
    await scene.make_workload(2)
    await scene.make_route()
    await eventually(scene.ready_pods, lambda ready: ready == {0, 1}, "both pods are Ready")
    before = await scene.route()
    await scene.annotate_pod(0, "statefulroute.io/drain", "true")

    async def untouched() -> bool:
        return not await scene.dump_namespace() and await scene.route() == before

    await always(untouched, bool, "the standby, its kopf included, has written nothing", seconds=2)
    assert not before["metadata"].get("finalizers")
    assert await ask(port, "/readyz") == (200, "standing by: elsewhere leads")
    assert await ask(port, "/healthz") == (200, "ok")
    shown = samples(await page(metrics_port))
    assert shown["stateful_route_leader",] == 0
    assert not [key for key in shown if scene.namespace in key], "what others serve is theirs to show"
    await set_lease(scene, "")
    await scene.wait_states({0: DENY}, seconds=5)
    await scene.wait_condition("Ready", "True")
    assert (await eventually(lambda: ask(port, "/readyz"), lambda a: a[0] == 200, "it is ready")) == (200, "ok")
    assert samples(await page(metrics_port))["stateful_route_leader",] == 1
    held = await lease(scene)
    assert (held["holderIdentity"], held["leaseTransitions"], held["leaseDurationSeconds"]) == ("here", 8, SECONDS)


async def test_a_leader_that_stops_is_followed_at_once_and_one_that_was_killed_when_its_lease_runs_out(
    scene: Scene, elect: Elect
) -> None:
    first = elect(scene, "first", lease_seconds=30)
    await serving(scene, {"failover": {"delaySeconds": 600}})
    second = elect(scene, "second")
    assert (await wait_line(second, "standing by"))["leader"] == "first"
    first.stop()
    stopped = time.monotonic()
    assert first.lines("leadership given back")
    await wait_line(second, "leading")
    assert time.monotonic() - stopped < 5, "for one that was killed it would have waited 30 s"
    third = elect(scene, "third")
    assert (await wait_line(third, "standing by"))["leader"] == "second"
    second.kill()
    killed = time.monotonic()
    await scene.set_ready(1, ready=False)
    await wait_line(third, "leading")
    assert time.monotonic() - killed < SECONDS + 3, "a look or so after the Lease has run out"
    await scene.wait_states({1: DENY})
    held = await lease(scene)
    assert (held["holderIdentity"], held["leaseTransitions"]) == ("third", 2)
    third.stop()
    assert (await lease(scene)).get("holderIdentity", "") == ""


async def test_a_leader_that_wakes_up_in_the_middle_of_a_migration_moves_nothing_more(
    server: EmbeddedStore, private_scene: Scene, elect: Elect
) -> None:
    scene = private_scene
    async with TcpProxy(server.port) as network, Redis.from_url(server.url, decode_responses=True) as raw:
        frozen = elect(scene, "frozen", redis_url=network.url)
        await serving(scene, {"failover": {"maxLinksPerSecond": 200}}, pods=3)
        await scene.link(MANY, [1])
        awake = elect(scene, "awake", redis_url=server.url)
        await wait_line(awake, "standing by")
        await scene.delete_pod(1)
        await eventually(scene.counts, lambda counts: counts.get(0, 0) > 100, "the move has begun")
        network.keeps = timed(script("migrateLinks")).sha.encode()  # what it sends now comes very late
        await eventually(kept_by(network), bool, "a script is on its way")
        frozen.signal(signal.SIGSTOP)
        left = (await scene.counts())[1]
        assert left > MANY / 2, "it was in the middle"
        await wait_line(awake, "leading")
        await scene.change_route({"failover": {"maxLinksPerSecond": 100_000}})
        await scene.wait_links_off(1)
        await scene.wait_all_ready(range(3))
        awake.stop()  # nobody else writes from here on
        before = await scene.dump()
        assert not await refused(raw)
        network.released.set()  # the late scripts arrive
        await eventually(lambda: refused(raw), bool, "the server refuses them")
        assert await scene.dump() == before
        await set_lease(scene, "another", 600)
        async with raw.monitor() as monitor:
            frozen.signal(signal.SIGCONT)
            why = (await wait_line(frozen, "leadership lost"))["why"]
            await wait_line(frozen, "standing by")
            await raw.ping()
            sent = await _seen(monitor)
        assert why == f"it was not renewed for {SECONDS * 2 // 3} s: this process stood still"
        assert not [line["command"] for line in sent if line["client_type"] == "lua"], "no script of its has run"
        assert await scene.dump() == before
        links = await scene.check_links(on=[0, 2])
        assert len(links) == MANY
        told = [uid for entry in await scene.moves() for uid, _, _ in json.loads(entry["moves"])]
        assert len(told) == len(set(told)), "no uid has moved twice"


def kept_by(network: TcpProxy) -> Callable[[], Any]:
    async def kept() -> int:
        return network.kept

    return kept


async def refused(raw: Redis) -> int:
    """How many writes the server has refused because they came after their deadline."""
    return int((await raw.info("errorstats")).get("errorstat_DEPOSED", {}).get("count", 0))


async def _seen(monitor: Any) -> list[dict[str, Any]]:
    """What the server was asked until the test's own PING."""
    seen = []
    async with asyncio.timeout(60):
        async for line in monitor.listen():
            if line["command"].upper() == "PING":
                return seen
            seen.append(line)
    return seen


async def test_without_the_api_server_a_leader_stops_writing_before_its_lease_runs_out_and_goes_on_afterwards(
    scene: Scene, elect: Elect, control_plane: ControlPlane
) -> None:
    operator = elect(scene, "alone", lease_seconds=6)
    await serving(scene)
    await scene.wait_resyncs(1)
    paused = time.monotonic()
    control_plane.pause_api_server()
    try:
        why = (await wait_line(operator, "leadership lost"))["why"]
        assert time.monotonic() - paused < 6
        assert why.startswith(f"it was not renewed for 4 s: Lease {scene.namespace}/{LEASE}: no answer")
        await wait_line(operator, "stopped to write; standing by again")
        before = await scene.dump()

        async def unchanged() -> bool:
            return await scene.dump() == before

        await always(unchanged, bool, "nothing is renewed any more", seconds=2.5)
    finally:
        control_plane.resume_api_server()
    await wait_line(operator, "leading", count=2)
    await scene.wait_resyncs(1)
    assert (await lease(scene))["leaseTransitions"] == 1


async def test_a_leader_stays_one_while_its_store_is_away_and_writes_again_when_it_is_back(
    private_scene: Scene, server: EmbeddedStore, elect: Elect
) -> None:
    scene = private_scene
    operator = elect(scene, "alone", redis_url=server.url)
    await serving(scene)
    server.pause()
    began = (await lease(scene))["renewTime"]

    async def renewals() -> bool:
        return bool((await lease(scene))["renewTime"] > began)

    await eventually(renewals, bool, "the Lease is renewed without the store")
    await scene.wait_condition("RedisConnected", "False")
    frozen = time.monotonic()
    await eventually(renewals, lambda _: time.monotonic() > frozen + SECONDS, "the deadline there has passed")
    server.resume()
    await scene.wait_condition("RedisConnected", "True")
    await scene.wait_resyncs(1)
    server.kill()
    server.start()  # it has another run id now
    await scene.scale(3)
    await scene.wait_all_ready(range(3))
    await scene.wait_condition("RedisConnected", "True")
    assert not operator.lines("leadership lost")
    await wait_line(operator, "writes put off")


async def test_a_leader_whose_lease_is_taken_stands_by_and_one_that_is_deleted_it_makes_anew(
    scene: Scene, elect: Elect
) -> None:
    operator = elect(scene, "first")
    await serving(scene)
    uid = (await scene.kube.get(f"{leases(scene)}/{LEASE}"))["metadata"]["uid"]
    await scene.kube.delete(f"{leases(scene)}/{LEASE}")

    async def anew() -> bool:
        listed = (await scene.kube.get(leases(scene)))["items"]
        return any(one["metadata"]["uid"] != uid and one["spec"]["holderIdentity"] == "first" for one in listed)

    await eventually(anew, bool, "the Lease is back")
    assert not operator.lines("leadership lost")
    await set_lease(scene, "second")
    assert "'second' has taken it" in (await wait_line(operator, "leadership lost"))["why"]
    assert (await wait_line(operator, "standing by"))["leader"] == "second"
    await scene.scale(3)
    await wait_line(operator, "leading", count=2)
    await scene.wait_all_ready(range(3))
    assert (await lease(scene))["holderIdentity"] == "first"


async def test_work_that_fails_is_left_to_another_and_begun_anew_after_a_pause(scene: Scene) -> None:
    begun: list[tuple[str, float]] = []
    both: list[asyncio.Task[None]] = []
    assert scene.access is not None
    kube = await Kube.connect(str(scene.access.kubeconfig))

    def candidate(name: str) -> None:
        async def lead() -> None:
            begun.append((name, time.monotonic()))
            if name == "unable":
                raise OSError("the work of this one always fails")
            await asyncio.sleep(60)

        leadership = Leadership(kube, scene.namespace, LEASE, Rhythm(SECONDS), name)
        both.append(asyncio.create_task(leadership.run(lead)))

    async def names() -> list[str]:
        return [name for name, _ in begun]

    candidate("unable")
    await eventually(names, lambda found: len(found) == 2, "it has tried twice")
    assert begun[1][1] - begun[0][1] >= SECONDS / 3
    candidate("able")
    await eventually(names, lambda found: "able" in found, "another leads")
    assert (await lease(scene))["holderIdentity"] == "able"
    for task in both:
        task.cancel()
    await asyncio.wait(both)
    assert all(task.cancelled() for task in both)
    await kube.close()
    assert (await lease(scene)).get("holderIdentity", "") == ""


async def test_an_operator_that_may_not_use_the_lease_says_what_to_grant_and_leads_once_it_may(
    make_scene: Callable[..., Awaitable[Scene]], elect: Elect, port: int
) -> None:
    scene = await make_scene(values={"leaderElection.enabled": False}, lacks={"leases"})
    operator = elect(scene, "poor", health_port=port)
    why = (await wait_line(operator, "no leadership"))["why"]
    assert f"may not use Lease {scene.namespace}/{LEASE}: grant its ServiceAccount get, create and patch" in why
    status, text = await ask(port, "/readyz")
    assert (status, "grant its ServiceAccount" in text) == (503, True)
    assert (await ask(port, "/healthz"))[0] == 200
    await scene.make_workload(1)
    await scene.make_route()
    await allow_leases(scene, "half", "get")
    await wait_line(operator, "no leadership", count=2)
    assert not await scene.dump_namespace()
    await allow_leases(scene, "lease", "create", "patch")
    await scene.wait_all_ready([0])
    assert len(operator.lines("no leadership")) == 2, "each is said once"


async def allow_leases(scene: Scene, role: str, *verbs: str) -> None:
    assert scene.access is not None
    rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs}
    await allow(scene.kube, scene.access.account, scene.namespace, role, rule)


@pytest.mark.parametrize("elected", [True, False], ids=["elected", "the only one"])
async def test_a_namespace_that_is_deleted_with_its_operator_goes(
    make_scene: MakeScene, elect: Elect, start_operator: Callable[..., OperatorProcess], *, elected: bool
) -> None:
    scene = await make_scene()
    await scene.make_workload(2, by_hand=True)
    await scene.run_pods(range(2))
    operator = elect(scene, "one") if elected else start_operator(scene, release=f"{scene.namespace}/sr")
    await scene.make_route()
    await scene.wait_all_ready(range(2))
    await scene.kube.delete(f"/api/v1/namespaces/{scene.namespace}")
    assert FINALIZER in (await scene.route())["metadata"]["finalizers"], "pods go first, and those of no kubelet stay"
    operator.stop()
    assert operator.lines("finalizer released: our namespace is being deleted")
    for ordinal in range(2):
        await scene.end_pod(ordinal)

    async def gone() -> bool:
        try:
            await scene.kube.get(f"/api/v1/namespaces/{scene.namespace}")
        except KubeError as error:
            return error.not_found
        return False

    await eventually(gone, bool, "the namespace is gone")
