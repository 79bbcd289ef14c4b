"""RBAC cut by the administrator: what is lacking is told, and what can be served is."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from support.doctor import doctor
from support.grants import Grant
from support.health import ask
from support.ports import free_port
from support.process import OperatorProcess
from support.scene import DENY, SHUTDOWN, Scene
from support.waiting import eventually

MakeScene = Callable[..., Awaitable[Scene]]
Start = Callable[..., OperatorProcess]


@dataclass(frozen=True)
class Cut:
    """What of a namespace's rights is cut, and what comes of it.

    Attributes:
        right: As the doctor names it.
        stalled: The StatefulRoute is not served.
        said: In the operator's log.
    """

    right: str
    stalled: bool
    said: str


CUTS = (
    Cut(
        "list statefulroutes.statefulroute.io",
        stalled=True,
        said="cannot be listed: grant the operator's ServiceAccount",
    ),
    Cut("watch statefulroutes.statefulroute.io", stalled=False, said="watch refused"),
    Cut("patch statefulroutes.statefulroute.io", stalled=True, said="cannot patch resource"),
    Cut(
        "patch statefulroutes/status.statefulroute.io",
        stalled=False,
        said='cannot patch resource \\"statefulroutes/status',
    ),
    Cut("list pods", stalled=True, said="cannot list resource"),
    Cut("watch pods", stalled=False, said="watch refused"),
    Cut("get statefulsets.apps", stalled=True, said="cannot get resource"),
    Cut("watch statefulsets.apps", stalled=False, said="watch refused"),
    EVENTS := Cut("create events.events.k8s.io", stalled=False, said="Event refused"),
)
SILENT = ("list statefulroutes.statefulroute.io", "patch statefulroutes/status.statefulroute.io")
"""Without these no condition can be written."""
ASKED_BY_THE_DOCTOR = {"customresourcedefinitions", "services"}
"""Which is a user's command: here it has the operator's account, to say what that may not."""
LACKS = ASKED_BY_THE_DOCTOR | {cut.right.split()[1].split(".")[0] for cut in CUTS}


async def say(operator: OperatorProcess, word: str) -> None:
    async def text() -> str:
        assert operator.running, operator.text()
        return operator.text()

    await eventually(text, lambda seen: word in seen, f"the operator says {word!r}")


async def test_each_cut_is_told_and_holds_up_nobody(make_scene: MakeScene, start_operator: Start) -> None:
    port = free_port()
    scene = await make_scene(lacks=LACKS)
    cut = {case: await make_scene(beside=scene, lacks=LACKS) for case in CUTS}
    grants = {case: await Grant.inside(there) for case, there in cut.items()}
    for case, grant in grants.items():
        await grant.cut(case.right)
    for there in (scene, *cut.values()):
        if there is not cut[EVENTS]:  # whose Event has a reason
            await there.make_workload(1)
        await there.make_route()
    operator = start_operator(scene, *cut.values(), resync_seconds=1, health_port=port)
    await scene.wait_condition("Ready", "True")
    for case, there in cut.items():
        await check(case, there, operator)
    status, text = await ask(port, "/readyz")
    assert (status, "cannot be listed: grant" in text) == (200, True)

    await scene.delete_pod(0)
    await scene.wait_resyncs(2)
    repeated = [line["message"] + line.get("error", "") for line in operator.lines() if line["level"] != "INFO"]
    assert not [line for line in set(repeated) if repeated.count(line) > 5], "nothing is said again and again"

    for grant in grants.values():
        await grant.restore()
    for case, there in cut.items():
        await there.wait_condition("Ready", "True")
        assert (await there.condition("Stalled"))["status"] == "False", case
    assert await ask(port, "/readyz") == (200, "ok")
    assert await ask(port, "/healthz") == (200, "ok")


async def check(case: Cut, there: Scene, operator: OperatorProcess) -> None:
    """Condition, log and doctor tell of the cut; what does not need the right is done."""
    if case.stalled and case.right not in SILENT:
        stalled = await there.wait_condition("Stalled", "True", "MissingPermission")
        assert "forbidden" in stalled["message"], case
        assert "give the operator's ServiceAccount its rights back" in stalled["message"], case
        await there.wait_event("MissingPermission")
    await say(operator, case.said)
    if case is EVENTS:
        await there.make_workload(1)
    if not case.stalled:
        await there.wait_all_ready([0])
    if case.right.startswith("watch"):
        assert "may not watch" in (await there.wait_condition("Degraded", "True", "MissingPermission"))["message"]
    env = operator.environment
    words = ("--redis-url", env["STATEFUL_ROUTE_REDIS_URL"], "--operator")
    found = await asyncio.to_thread(doctor, there.namespace, env["KUBECONFIG"], *words)
    assert any(f["severity"] == "error" and f"you may not {case.right}:" in f["message"] for f in found), case


async def test_what_has_no_namespace_is_told_as_well(make_scene: MakeScene, start_operator: Start) -> None:
    port = free_port()
    scene = await make_scene(lacks={"namespaces", "nodes"})
    grant = await Grant.everywhere(scene)
    identity, nodes = "get namespaces 'kube-system'", "get nodes"
    await grant.cut(identity, nodes)
    await scene.make_workload(1, by_hand=True)
    await scene.make_route()
    await scene.run_pods([0])
    operator = start_operator(scene, resync_seconds=1, health_port=port)
    await say(operator, "its rights back")
    assert "kube-system" in (await eventually(lambda: ask(port, "/readyz"), lambda a: a[0] == 503, "not ready"))[1]
    assert (await ask(port, "/healthz"))[0] == 200
    await grant.cut(nodes)
    await scene.wait_all_ready([0])
    assert len(operator.lines("waiting for the API server")) == 1
    await scene.delete_pod(0, grace_seconds=60)
    await scene.set_ready(0, ready=False)
    told = await scene.wait_condition("Degraded", "True", "MissingPermission")
    assert "nodes" in told["message"]
    await scene.wait_states({0: DENY})
    assert len(operator.lines("lost nodes are not noticed")) == 1
    await grant.restore()
    await scene.wait_states({0: SHUTDOWN})
    await scene.wait_condition("Degraded", "False", "Sound")
    await scene.end_pod(0)
