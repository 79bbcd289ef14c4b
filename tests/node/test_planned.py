"""What is planned, while users are asked for all the time.

What is expected, written down before it was tried. In each case every request is answered, and every user has one owner
in the end, a pod that lives.

`kubectl rollout restart` of the StatefulSet
    One pod after the other is terminating, replaced, READY. Users leave each by the pod's own hand; the operator
    moves none.
`stateful-route drain`, then `kubectl scale` to one less
    DENY_NEW_CALL, `DrainRequested`; users leave before the pod is asked to end. The operator moves none.
`helm upgrade`, whose new operator is killed at once, and a pod is deleted meanwhile
    States stay as they are, and so do users, but those of the deleted pod, which hands them over by itself. It is READY
    again when an operator leads.
"""

import asyncio
import os
import subprocess
import sys

from support.nodes.rooms import PATIENCE_SECONDS
from support.waiting import eventually


def operators_moves(history):
    return [said for said in history.said if said.who == "operator"]


def released_by(history, ordinal):
    return {
        entry["uid"] for who, entry in history.told if entry["k"] == "release" and who.startswith(f"pod-{ordinal}-")
    }


async def test_a_rolling_update_under_load_leaves_each_user_with_one_owner_and_no_request_without_an_answer(rooms):
    async with rooms() as service:
        before = {ordinal: await service.scene.pod_uid(ordinal) for ordinal in range(3)}
        began = service.phase("rolling update")
        await service.calls("rollout", "restart", "statefulset/room")
        await service.calls("rollout", "status", "statefulset/room", "--timeout=150s", seconds=160)
        await service.all_ready(range(3))
        assert all([await service.scene.pod_uid(ordinal) != uid for ordinal, uid in before.items()])
        history = await service.history()
        assert all(released_by(history, ordinal) for ordinal in range(3))
        assert not operators_moves(history)
        await service.rounds(1)
        await service.all_answered(began)


async def test_a_pod_is_drained_and_then_scaled_away_and_nobody_notices(rooms):
    async with rooms() as service:
        before = await service.users_of(2)
        assert before
        began = service.phase("drain")
        await drain(service, "room-2")
        assert not await service.users_of(2)
        assert ("DENY_NEW_CALL", "DrainRequested") in await service.reasons(2)
        service.phase("scale down")
        await service.calls("scale", "statefulset/room", "--replicas=2")
        await service.calls("wait", "--for=delete", "pod/room-2", "--timeout=80s")
        await service.all_ready(range(2))
        history = await service.history()
        assert released_by(history, 2) >= before
        assert not operators_moves(history)
        await service.rounds(1)
        await service.all_answered(began)


async def drain(service, pod):
    """As an administrator does, from outside."""
    command = [sys.executable, "-m", "stateful_route", "drain", pod, "--namespace", service.namespace]
    variables = {"KUBECONFIG": str(service.cluster.kubectl.kubeconfig)}
    variables["STATEFUL_ROUTE_REDIS_URL"] = service.release.outer_url
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, "--wait", "--deadline-seconds", "80"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_users_stay_while_the_operator_is_upgraded_and_killed_in_the_middle_of_it(rooms, cluster, release):
    async with rooms() as service:
        before = await service.links()
        began = service.phase("helm upgrade")
        image = {release.images.operator: release.images.next, release.images.next: release.images.operator}
        (now,) = release.pods("operator")
        new = image[now["spec"]["containers"][0]["image"]]
        upgrade = asyncio.create_task(asyncio.to_thread(release.upgrade, new))

        async def started():
            return [pod for pod in release.pods("operator") if new in str(pod["spec"]) and runs(pod)]

        (pod,) = await eventually(started, lambda pods: len(pods) == 1, "the new operator runs", seconds=80)
        service.phase("its operator killed, a pod deleted")
        cluster.kill_container(release.namespace, pod["metadata"]["name"])
        deleted = await service.users_of(1)
        await service.calls("delete", "pod", "room-1", "--wait=true")
        await upgrade
        await eventually(started, ready, "the new operator is Ready", seconds=80)
        service.phase("upgraded")
        await service.all_ready(range(3))

        async def images():
            return [new in str(pod["spec"]) for pod in release.pods("operator")]

        await eventually(images, lambda found: found == [True], "the former operator has gone", seconds=80)
        after = await service.links()
        stayed = {uid for uid, link in before.items() if link is not None} - deleted
        assert not [uid for uid in stayed if after[uid].ordinal != before[uid].ordinal]
        await service.rounds(1)
        await service.all_answered(began)


def runs(pod):
    return any("running" in status["state"] for status in pod["status"].get("containerStatuses", ()))


def ready(pods):
    return bool(pods) and all(status["ready"] for pod in pods for status in pod["status"]["containerStatuses"])
