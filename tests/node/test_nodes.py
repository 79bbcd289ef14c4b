"""A node that is lost, and comes back.

What is expected, written down before it was tried. The node's kubelet is killed, its network is gone, and its pod's
process stands still: a machine that hangs.

The node is gone
    Its pod is DENY_NEW_CALL, then SHUTDOWN: `UnreachableTooLong` by the hints of callers or `UnreadyTooLong` by the
    word of Kubernetes, whichever is first. All of its users move: by the operator, or by their callers once the pod's
    heartbeat has expired. Requests are lost that were sent to this pod until then; no other.
It is back
    The pod is READY, its container was not restarted, users stay where they are. The zombie serves nobody whom it has
    lost, and what it had planned to write for them is refused.
"""

from support.nodes.rooms import PATIENCE_SECONDS
from support.waiting import eventually

LOST = {("SHUTDOWN", "UnreachableTooLong"), ("SHUTDOWN", "UnreadyTooLong")}


async def test_the_users_of_a_lost_node_move_and_its_zombie_finds_itself_fenced(rooms, cluster):
    _, second = sorted(cluster.nodes)
    async with rooms(apart=second) as service:
        assert await service.node_of(2) == second
        assert await service.users_of(2)
        began = service.phase("node lost")
        service.freeze(2)
        cluster.lose(second)
        try:
            await service.nobody_left(2)
            moved = service.phase("moved")
            await eventually(
                lambda: service.reasons(2), lambda reasons: LOST & set(reasons), "the operator says so", seconds=60
            )
            await eventually(
                service.ready, lambda ready: ready == {0, 1}, "Kubernetes has noticed", seconds=PATIENCE_SECONDS
            )
        finally:
            service.phase("node back")
            cluster.find(second)
            service.wake(2)
        (nap,) = service.sleeps
        await service.all_ready(range(3))
        assert await service.restarts(2) == 0
        await service.rounds(1)
        history = await service.history()
        saves = [entry for who, entry in history.told if who == nap.what and entry["k"] == "save"]
        refused = [entry for entry in saves if entry["at"] > nap.ended and not entry["saved"]]
        assert refused, "it had planned to save users whom it has lost"
        assert {said.previous for said in history.said if said.who == "operator"} <= {2}
        lost = await service.lost(began)
        assert {request.hops[-1].pod for request in lost} <= {2}
        assert not [request for request in lost if request.began > moved]
        print(f"  {len(lost)} requests were not answered; the zombie was refused {len(refused)} writes")
