"""A node that is lost, and comes back.

What is expected, written down before it was tried. The node's kubelet is killed and its pod's process stands still, as
on a machine that has lost its power or its network.

The node is gone
    Its pod is DENY_NEW_CALL, then SHUTDOWN: `UnreachableTooLong` by the hints of callers or `UnreadyTooLong` by the
    word of Kubernetes, whichever is first. The operator moves all of its users. Requests are lost that were sent to
    this pod until then; no other.
It is back
    The pod is READY, its container was not restarted, users stay where they are. The zombie serves nobody whom it has
    lost, and what it had planned to write for them is refused.
"""

from support.nodes.rooms import PATIENCE_SECONDS
from support.waiting import eventually

LOST = {("SHUTDOWN", "UnreachableTooLong"), ("SHUTDOWN", "UnreadyTooLong")}


async def test_the_users_of_a_lost_node_move_and_its_zombie_finds_itself_fenced(rooms, cluster):
    _, second = sorted(cluster.nodes)
    cluster.kubectl("cordon", second)
    try:
        async with rooms(replicas=2) as service:
            await put_on(service, cluster, second)
            await eventually(lambda: service.users_of(2), bool, "it has users", seconds=PATIENCE_SECONDS)
            before = await service.users_of(2)
            began = service.phase("node lost")
            cluster.kill_kubelet(second)
            service.freeze(2)
            await service.nobody_left(2)
            moved = service.phase("moved")
            assert LOST & set(await service.reasons(2))
            await eventually(service.ready, lambda ready: ready == {0, 1}, "Kubernetes has noticed", seconds=60)
            service.phase("node back")
            cluster.start_kubelet(second)
            service.wake(2)
            (nap,) = service.sleeps
            await service.all_ready(range(3))
            assert await service.restarts(2) == 0
            await service.rounds(1)
            history = await service.history()
            saves = [entry for who, entry in history.told if who == nap.what and entry["k"] == "save"]
            refused = [entry for entry in saves if entry["at"] > nap.ended and not entry["saved"]]
            assert refused, "it had planned to save users whom it has lost"
            assert {said.previous for said in history.said if said.who == "operator"} == {2}
            assert before
            lost = await service.lost(began)
            assert {request.hops[-1].pod for request in lost} <= {2}
            assert not [request for request in lost if request.began > moved]
            print(f"  {len(lost)} requests were not answered; the zombie was refused {len(refused)} writes")
    finally:
        cluster.start_kubelet(second)
        cluster.kubectl("uncordon", second)


async def put_on(service, cluster, node):
    """Pod 2 on that node, the others on the other."""
    other = next(name for name in cluster.nodes if name != node)
    cluster.kubectl("uncordon", node)
    cluster.kubectl("cordon", other)
    try:
        await service.calls("scale", "statefulset/room", "--replicas=3")
        await service.all_ready(range(3))
    finally:
        cluster.kubectl("uncordon", other)
    assert await service.node_of(2) == node
