"""Pods that end, each in its own way, while users are asked for all the time.

What is expected, written down before it was tried; `links` of a user are checked by `support.nodes.rooms` in each case:
one owner each, no epoch that falls, no write by a former owner.

| what happens | the pod | its users | requests without an answer |
| --- | --- | --- | --- |
| `kubectl delete pod` | DENY_NEW_CALL `Terminating`; its successor READY | the pod itself saves and releases every one within its grace period; the operator moves none of them | none |
| the container's process is killed (`kill -9`) | SHUTDOWN `Restarted`, READY when nobody is left | the operator moves all | those that were sent to this pod, from the kill until its users have moved |
| the kernel ends it for its memory | the same, and Kubernetes says `OOMKilled` | the same | the same |
| its readiness probe fails for longer than `failover.delaySeconds`, then no more | DENY_NEW_CALL `Unready`, SHUTDOWN `UnreadyTooLong`, READY | stay for the delay, then move; nobody comes back by itself | none: the process is well |
"""

import signal

from support.nodes.rooms import DELAY_SECONDS
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
        released = {
            entry["uid"] for who, entry in history.told if entry["k"] == "release" and who.startswith("pod-1-")
        }
        assert released >= before
        assert not [said for said in history.said if said.who == "operator" and said.previous == 1]
        ends = [entry["at"] for who, entry in history.told if entry["k"] == "end" and who.startswith("pod-1-")]
        assert [at for at in ends if since < at < gone], "the process has ended by itself"
        assert ("DENY_NEW_CALL", "Terminating") in await service.reasons(1)
        await service.rounds(1)
        assert not await service.lost(since)
