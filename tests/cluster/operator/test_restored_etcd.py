"""The API server's data are put back, as by a restore of etcd: what the operator knows is of a future."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import ClientConnectionError, ClientSession

from stateful_route.devcluster import ControlPlane
from stateful_route.domain.routing import Reason
from support.ports import free_port
from support.privileges import Privileges
from support.process import OperatorProcess
from support.scene import DENY, READY, SHUTDOWN, Scene
from support.waiting import always, eventually

StartOperator = Callable[..., OperatorProcess]
WATCH_SECONDS = 3
LOST_WRITES = 400
"""More than the control plane makes by itself when it starts: versions do not catch up with those that are lost."""

NOTICED = "the API server's data are older than they were, as after a restore of etcd: all is read anew"


async def write_much(scene: Scene) -> None:
    path = f"/api/v1/namespaces/{scene.namespace}/configmaps"
    await scene.kube.create(path, {"metadata": {"name": "counter"}})
    for count in range(0, LOST_WRITES, 20):
        written = ({"data": {str(n): str(count)}} for n in range(20))
        await asyncio.gather(*(scene.kube.merge(f"{path}/counter", data) for data in written))


@pytest.fixture
def put_back(control_plane: ControlPlane, privileges: Privileges, tmp_path: Path) -> tuple[Callable[[], None], ...]:
    """Keeps the API server's data as they are, and puts them back."""

    def copy() -> None:
        with privileges.api_server_starts():
            control_plane.copy_data(tmp_path / "etcd")

    def restore() -> None:
        with privileges.api_server_starts():
            control_plane.put_data_back(tmp_path / "etcd")

    return copy, restore


async def test_a_pod_that_fails_after_etcd_was_restored_is_left_within_a_resync_and_the_watches_go_on(
    scene: Scene, start_operator: StartOperator, put_back: tuple[Callable[[], None], ...]
) -> None:
    copy, restore = put_back
    port = free_port()
    operator = start_operator(scene, health_port=port, resync_seconds=2, watch_seconds=WATCH_SECONDS)
    await scene.make_workload(3)
    await scene.make_route({"failover": {"delaySeconds": 1, "maxUnavailable": "100%"}})
    await scene.wait_all_ready(range(3))
    await scene.link(90, range(3))
    copy()
    await write_much(scene)
    for ordinal in range(3):
        await scene.annotate_pod(ordinal, "test.statefulroute.io/lost", "true")
    await scene.wait_resyncs(2)  # the operator knows versions of which nobody else will know
    restore()
    await scene.set_ready(1, ready=False)
    await scene.wait_states({0: READY, 1: (SHUTDOWN, Reason.UNREADY_TOO_LONG), 2: READY})
    await scene.wait_links_off(1)
    assert len(await scene.check_links(on=[0, 2])) == 90
    assert operator.lines(NOTICED)

    async with ClientSession() as session:

        async def alive() -> int:
            try:
                async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
                    return answer.status
            except ClientConnectionError:
                return 0

        await scene.annotate_pod(0, "statefulroute.io/drain", "true")
        await scene.wait_states({0: (DENY, Reason.DRAIN_REQUESTED)})
        await eventually(alive, lambda status: status == 200, "what a LIST finds comes by the watch")
        await always(alive, lambda status: status == 200, "nothing is overdue", seconds=2 * WATCH_SECONDS)
    assert len(operator.lines(NOTICED)) <= 2, "what came late may be of the lost future, but not for long"
    assert operator.running
