"""The chart installed, tested and uninstalled.

What is expected, written down before it was tried:

`helm install --wait` with the chart's defaults and `valkey.enabled`, where the restricted standard is enforced
    Operator and Valkey are Ready and the operator leads, as user 65532, who has no name, on a read-only file system.
`helm test`
    It succeeds.
Users are asked for from outside
    Each is served by the pod that the link names, and each pod has some. Every request is answered.
`helm uninstall` with a StatefulRoute still there
    It succeeds. The StatefulRoute stays, without a finalizer; its namespace and that of the release are gone soon after
    they are deleted.
"""

import json

import pytest

from stateful_route.devcluster.errors import KubectlFailed
from support.nodes.rooms import PATIENCE_SECONDS
from support.waiting import eventually


async def test_the_chart_installs_a_ready_operator_with_the_users_own_rights_and_helm_test_passes(release, cluster):
    (pod,) = release.pods("operator")
    (status,) = pod["status"]["containerStatuses"]
    assert status["ready"]
    lease = json.loads(cluster.kubectl("get", "lease", release.name, "-n", release.namespace, "-o", "json"))
    assert lease["spec"]["holderIdentity"] == pod["metadata"]["name"]
    inside = ("exec", "-n", release.namespace, pod["metadata"]["name"], "--")
    assert cluster.kubectl(*inside, "id", "-u").strip() == "65532"
    with pytest.raises(KubectlFailed, match="Read-only file system"):
        cluster.kubectl(*inside, "touch", "/app/here")
    assert "Succeeded" in release.test()


async def test_users_reach_their_pods_from_outside(rooms):
    async with rooms() as service:
        began = service.phase("at work")
        await service.rounds(2)
        links = await service.links()
        assert {link.ordinal for link in links.values()} == {0, 1, 2}
        history = await service.history()
        late = [request for request in history.requests if request.began > began]
        assert late
        assert {request.hops[-1].pod for request in late} == {0, 1, 2}
        await service.all_answered(began)


async def test_an_uninstallation_leaves_statefulroutes_and_no_namespace_that_cannot_go(release, cluster):
    namespace = "games-left"
    cluster.kubectl("create", "namespace", namespace)
    body = {
        "apiVersion": "statefulroute.io/v1alpha1",
        "kind": "StatefulRoute",
        "metadata": {"name": "room", "namespace": namespace},
    }
    cluster.kubectl("apply", "-f", "-", text=json.dumps(body))

    async def finalizers():
        return json.loads(cluster.kubectl("get", "sroute", "room", "-n", namespace, "-o", "json"))["metadata"].get(
            "finalizers", []
        )

    await eventually(finalizers, bool, "the operator holds it", seconds=PATIENCE_SECONDS)
    release.uninstall()
    assert await finalizers() == []
    assert not release.pods("operator")
    for name in (namespace, release.namespace):
        cluster.kubectl("delete", "namespace", name, "--timeout=80s", timeout_seconds=PATIENCE_SECONDS)
