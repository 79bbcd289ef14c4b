"""Two releases of the operator that are set to serve one namespace: the first one serves it, and both say so."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stateful_route.devcluster.embedded_store import EmbeddedStore
from stateful_route.kube.objects import FINALIZER
from stateful_route.reconcile.departure import release_finalizers
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service
from support.doctor import doctor
from support.process import OperatorProcess
from support.rights import RELEASE, allow
from support.scene import Scene
from support.waiting import always, eventually

SECONDS = 4
"""How long a release is waited for that is not heard of any more."""
Begin = Callable[..., OperatorProcess]


@pytest.fixture
def release(start_operator: Callable[..., OperatorProcess]) -> Begin:
    """Starts the operator of a release: the only process of its Deployment."""

    def start(name: str, *scenes: Scene, **options: Any) -> OperatorProcess:
        return start_operator(*scenes, release=name, claim_seconds=SECONDS, **{"resync_seconds": 1} | options)

    return start


async def log_line(operator: OperatorProcess, message: str) -> dict[str, Any]:
    async def lines() -> list[dict[str, Any]]:
        return operator.lines(message)

    return (await eventually(lines, bool, message))[0]


async def claim(scene: Scene, name: str | None = None) -> str:
    return str(((await scene.status(name)).get("operator") or {}).get("name", ""))


async def serving(scene: Scene) -> None:
    await scene.make_workload(2)
    await scene.make_route()
    await scene.wait_all_ready(range(2))
    await scene.wait_condition("Ready", "True")


async def test_the_one_that_is_there_goes_on_and_the_other_waits_and_takes_over_when_it_has_gone(
    scene: Scene, make_scene: Callable[..., Awaitable[Scene]], release: Begin, server: EmbeddedStore, kubeconfig: Path
) -> None:
    free = await make_scene("halls", values={"watchNamespaces": []})
    two = f"{free.namespace}/sr"
    first = release("one/sr", scene)
    await serving(scene)
    await scene.link(20, range(2))
    assert await claim(scene) == "one/sr"
    second = release(two, free, everywhere=True, redis_url=server.url)  # with a store of its own

    await both_say_so(scene, first, second, two, kubeconfig)
    await free.make_workload(1)
    await free.make_route()
    await free.wait_condition("Ready", "True")
    assert await claim(free) == two, "what nobody else serves it does serve"

    there = Store.from_url(server.url)
    before = await scene.route()
    await scene.delete_pod(1)
    await scene.wait_links_off(1)
    await scene.make_route(name="later")  # found by both at the same time
    await eventually(lambda: claim(scene, "later"), lambda name: name == "one/sr", "the namespace is the first one's")
    await scene.delete_route("later")
    await eventually(lambda: scene.route("later"), lambda body: not body, "the first one lets it go")
    mine = Service(scene.namespace, "rooms")
    assert not [key async for key in there.scan(f"*{scene.namespace}*", 100)], "nothing is written to the other's store"
    assert (await scene.route())["metadata"]["finalizers"] == before["metadata"]["finalizers"]

    first.kill()
    gone = time.monotonic()
    await eventually(lambda: claim(scene), lambda name: name == two, "the second takes over")
    assert time.monotonic() - gone < 3 * SECONDS
    await log_line(second, "namespace no longer left to another operator")
    await scene.wait_condition("Degraded", "False", "Sound")
    await eventually(
        lambda: there.command("EXISTS", mine.records), lambda count: count == 1, "it writes to the store that it has"
    )
    await there.close()

    first.start()  # it is back, and it is the other that is there now
    await log_line(first, "namespace left to another operator")
    assert "one/sr" in (await scene.wait_condition("Degraded", "True", "Contested"))["message"]
    assert await claim(scene) == two
    released = await release_finalizers(scene.kube, [scene.namespace], "one/sr")  # it is uninstalled
    assert not released
    assert FINALIZER in (await scene.route())["metadata"]["finalizers"]
    first.stop()
    await scene.wait_condition("Degraded", "False", "Sound")
    await scene.wait_status(lambda status: not status.get("contenders"))


async def both_say_so(
    scene: Scene, first: OperatorProcess, second: OperatorProcess, two: str, kubeconfig: Path
) -> None:
    said = await log_line(second, "namespace left to another operator")
    assert (said["namespace"], said["operator"]) == (scene.namespace, "one/sr")
    assert "watchNamespaces" in said["advice"]
    told = await scene.wait_condition("Degraded", "True", "Contested")
    assert two in told["message"]
    assert "one/sr" in told["message"]
    assert "uninstall one" in told["message"]
    assert (await scene.wait_event("Contested"))["type"] == "Warning"
    assert (await scene.condition("Ready"))["status"] == "True"
    assert first.lines("Degraded")
    url = first.environment["STATEFUL_ROUTE_REDIS_URL"]
    found = await asyncio.to_thread(doctor, scene.namespace, kubeconfig, "--redis-url", url)
    assert [f["message"] for f in found if f["check"] == "condition" and two in f["message"]]


async def test_a_release_is_itself_again_whatever_its_process_is_called(scene: Scene, release: Begin) -> None:
    election = {"lease_name": RELEASE, "lease_namespace": scene.namespace, "lease_seconds": 2, "identity": "a"}
    first = release("", scene, **election)
    await serving(scene)
    assert await claim(scene) == f"{scene.namespace}/{RELEASE}"
    first.kill()
    release("", scene, **election | {"identity": "b"})  # the pod that follows, of a newer version perhaps
    killed = time.monotonic()
    await scene.scale(3)
    await scene.wait_all_ready(range(3))
    assert time.monotonic() - killed < SECONDS + 30
    assert not (await scene.status()).get("contenders")


async def test_one_that_wakes_up_after_another_has_taken_over_writes_nothing_more(
    private_scene: Scene, server: EmbeddedStore, release: Begin
) -> None:
    scene = private_scene
    assert scene.access is not None
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "patch"]}
    await allow(scene.kube, scene.access.account, scene.namespace, "leases", leases)  # two releases, one account
    election = {"lease_namespace": scene.namespace, "lease_seconds": 2, "redis_url": server.url}
    frozen = release("", scene, lease_name="one", **election)
    await serving(scene)
    awake = release("", scene, lease_name="two", **election)
    await log_line(awake, "namespace left to another operator")
    frozen.signal(signal.SIGSTOP)
    await eventually(lambda: claim(scene), lambda name: name.endswith("/two"), "the other takes over")
    await scene.wait_condition("Ready", "True")
    frozen.signal(signal.SIGCONT)
    await log_line(frozen, "namespace left to another operator")
    for _ in range(3):
        await scene.wait_resyncs(1)
        assert (await claim(scene)).endswith("/two")


async def test_of_two_that_begin_at_once_one_serves_all_of_the_namespace(scene: Scene, release: Begin) -> None:
    await scene.make_workload(1)
    names = [f"rooms-{letter}" for letter in "abc"]
    for name in names:
        await scene.make_route({"workloadRef": {"name": "rooms"}}, name=name)
    both = {name: release(name, scene) for name in ("one/sr", "two/sr")}
    for name in names:
        await scene.wait_condition("Ready", "True", name=name)
    (holder,) = {await claim(scene, name) for name in names}
    (waiting,) = both.keys() - {holder}
    for name in names:
        assert waiting in (await scene.wait_condition("Degraded", "True", "Contested", name=name))["message"]


async def test_one_without_a_name_leaves_alone_what_a_release_serves(
    scene: Scene, release: Begin, start_operator: Callable[..., OperatorProcess], server: EmbeddedStore
) -> None:
    await scene.make_workload(1)
    await scene.make_route()
    nameless = start_operator(scene, resync_seconds=1, redis_url=server.url)  # as somebody may try out
    await scene.wait_condition("Ready", "True")
    assert await claim(scene) == ""
    release("one/sr", scene)
    await eventually(lambda: claim(scene), lambda name: name == "one/sr", "the release claims it")
    await log_line(nameless, "namespace left to another operator")
    await scene.wait_all_ready([0])
    there = Store.from_url(server.url)
    await there.command("FLUSHALL")

    async def keys() -> list[bytes]:
        return [key async for key in there.scan("*", 100)]

    await always(keys, lambda found: not found, "nothing is written by the one without a name", seconds=2.5)
    await there.close()
