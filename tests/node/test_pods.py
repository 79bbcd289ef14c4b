"""Pods that end, each in its own way, while users are asked for all the time.

What is expected, written down before it was tried. In each case every user has one owner in the end, no epoch falls,
and no former owner writes: `support.nodes.rooms` judges that.

`kubectl delete pod`
    The pod is DENY_NEW_CALL, by its own word or as `Terminating`, whichever is first; its successor is READY. The pod
    itself saves and releases all of its users within its grace period, the operator moves none. Every request is
    answered.
`kill -9` of the container's process
    SHUTDOWN, `Restarted`, and READY when nobody is left. The operator moves all users. Requests are lost that were sent
    to this pod, from the kill until its users have moved; no other.
The container takes more memory than its limit
    The same, and Kubernetes says `OOMKilled`.
The readiness probe fails for longer than `failover.delaySeconds`, and later no more
    DENY_NEW_CALL, `Unready`, for the delay, in which users stay; then SHUTDOWN, `UnreadyTooLong`, and they move; READY
    when the probe succeeds again. Every request is answered, since the process is well.
"""

from support.nodes.rooms import DELAY_SECONDS, PATIENCE_SECONDS
from support.waiting import eventually


async def test_a_deleted_pod_hands_its_users_over_within_its_grace_period(rooms):
    async with rooms() as service:
        before = await service.users_of(1)
        assert before
        since = service.phase("kubectl delete pod")
        await service.calls("delete", "pod", "room-1", "--wait=true")
        gone = service.phase("the successor starts")
        await service.all_ready(range(3))
        history = await service.history()
        released = {entry["uid"] for who, entry in history.told if entry["k"] == "release" and who.startswith("pod-1-")}
        assert released >= before
        assert not [said for said in history.said if said.who == "operator" and said.previous == 1]
        ends = [entry["at"] for who, entry in history.told if entry["k"] == "end" and who.startswith("pod-1-")]
        assert [at for at in ends if since < at < gone], "the process has ended by itself"
        assert {("DENY_NEW_CALL", "Terminating"), ("DENY_NEW_CALL", "App")} & set(await service.reasons(1))
        await service.rounds(1)
        await service.all_answered(since)


async def its_users_move(service, ordinal, began):
    """A container was ended at once: its users move, and only what was on its way to it is not answered."""

    async def restarts():
        return await service.restarts(ordinal)

    await eventually(restarts, bool, "the container was restarted", seconds=PATIENCE_SECONDS)
    await service.nobody_left(ordinal)
    moved = service.phase("the restarted container comes back")
    await service.all_ready(range(3))
    assert ("SHUTDOWN", "Restarted") in await service.reasons(ordinal)
    await service.rounds(1)
    history = await service.history()
    assert {said.previous for said in history.said if said.who == "operator" and said.answered > began} == {ordinal}
    lost = await service.lost(began)
    assert {request.hops[-1].pod for request in lost} <= {ordinal}
    assert not [request for request in lost if request.began > moved]
    print(f"  {len(lost)} requests were not answered")


async def test_the_users_of_a_killed_process_move_and_only_requests_on_their_way_to_it_are_not_answered(rooms, cluster):
    async with rooms() as service:
        assert await service.users_of(0)
        began = service.phase("kill -9")
        cluster.kill_container(service.namespace, "room-0")
        await its_users_move(service, 0, began)
        assert await service.users_of(1)
        began = service.phase("out of memory")
        await service.order(1, "eat")
        await its_users_move(service, 1, began)
        (status,) = (await service.pod(1))["status"]["containerStatuses"]
        assert status["lastState"]["terminated"]["reason"] == "OOMKilled"


async def test_users_leave_a_pod_whose_probe_fails_after_the_delay_and_others_come_when_it_is_ready_again(
    rooms,
):
    async with rooms() as service:
        assert await service.users_of(2)
        began = service.phase("not ready")
        await service.order(2, "unready")
        await eventually(service.ready, lambda ready: ready == {0, 1}, "Kubernetes has noticed", seconds=60)
        await service.nobody_left(2)
        assert (await service.reasons(2))[-2:] == [("DENY_NEW_CALL", "Unready"), ("SHUTDOWN", "UnreadyTooLong")]
        changes = await service.changes(2)
        denied, shut = (at for _, reason, at in changes if reason in {"Unready", "UnreadyTooLong"})
        assert shut - denied > DELAY_SECONDS - 0.5
        service.phase("ready again")
        await service.order(2, "ready")
        await service.all_ready(range(3))
        assert (await service.reasons(2))[-1] == ("READY", "Ready")
        await service.all_answered(began)
