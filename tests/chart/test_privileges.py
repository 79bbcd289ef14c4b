"""The operator does its work with what the chart grants its ServiceAccount; nothing is lacking, nothing too much."""

import subprocess

import pytest

from stateful_route.domain.routing import Reason
from support import container
from support.account import granted, requests, unused
from support.audit import denied
from support.process import OperatorProcess
from support.rights import allow_secret
from support.scene import SHUTDOWN


@pytest.mark.parametrize("watched", [False, True], ids=["in all namespaces", "in some namespaces"])
async def test_the_operator_serves(watched, install, crd, cluster, redis_url):
    rooms = cluster.scene()
    namespace = rooms.namespace
    release = install(
        **{
            "crds.enabled": False,
            "watchNamespaces": [namespace] if watched else [],
            "redis.secretNames": {namespace: ["rooms"]},
            "operator.resyncSeconds": 2,
        }
    )
    process = release.start_operator()

    await rooms.make_workload(3)
    await rooms.make_secret("rooms", {"url": redis_url})
    await rooms.make_route({"redis": {"urlSecretRef": {"name": "rooms", "key": "url"}}})
    await rooms.wait_all_ready(range(3))
    await rooms.wait_condition("Ready", "True")
    await rooms.link(90, range(3))
    await rooms.delete_pod(1)
    await rooms.wait_links_off(1)
    await rooms.wait_event("LinksMoved")

    halls = cluster.scene("halls", namespace=namespace)  # whose store is the operator's, from the chart's Secret
    await halls.make_workload(2, by_hand=True)
    await halls.run_pods(range(2))
    await halls.make_route()
    await halls.wait_all_ready(range(2))
    await halls.delete_pod(1, grace_seconds=60)
    await halls.set_ready(1, ready=False)
    await halls.wait_states({1: (SHUTDOWN, Reason.NODE_LOST)})
    for ordinal in range(2):
        await halls.end_pod(ordinal)

    helm_test_passes(release)
    assert process.poll() is None
    release.stop()
    asked = requests(cluster.folder, release.account)
    permissions = granted(cluster.control_plane.kubectl, release.account)
    assert any(request.verb == "patch" and request.resource == "statefulroutes/status" for request in asked)
    assert denied(asked) == []
    assert unused(permissions, asked) == []
    assert "Traceback" not in release.log.read_text()


def helm_test_passes(release):
    """What the pod of ``helm test`` runs, with the operator at its place on this machine."""
    (pod,) = release.hooks("Pod")
    *words, url, _ = container.command(pod["spec"]["containers"][0])
    assert url == f"http://stateful-route.{release.namespace}.svc:{release.health_port}"
    here = f"http://127.0.0.1:{release.health_port}"
    done = subprocess.run([*words, here, "20"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    health, readiness = done.stdout.splitlines()
    assert health == f"{here}/healthz ok"
    assert readiness.startswith(f"{here}/readyz ")
    nobody = subprocess.run(
        [*words, "http://127.0.0.1:9", "0"], capture_output=True, text=True, check=False, timeout=60
    )
    assert nobody.returncode == 1
    assert "http://127.0.0.1:9/healthz" in nobody.stderr


async def test_a_secret_is_read_when_its_owner_binds_the_role_of_the_how_to_page(
    chart_rights, crd, cluster, redis_url, request, tmp_path
):
    scene, kube = cluster.scene(), cluster.kube
    namespaces = [cluster.make_namespace(), scene.namespace]
    access = await chart_rights.grant(kube, namespaces, request.node.nodeid, lacks={"secrets"})
    with OperatorProcess(access.kubeconfig, None, tmp_path / "log", scene.namespace, resync_seconds=1):
        await scene.make_workload(1)
        await scene.make_secret("rooms-store", {"url": redis_url})
        await scene.make_route({"redis": {"urlSecretRef": {"name": "rooms-store", "key": "url"}}})
        refused = await scene.wait_condition("RedisConnected", "False", "SecretNotFound")
        assert "rooms-store" in refused["message"]

        await allow_secret(kube, access.account, scene.namespace, "rooms-store")

        await scene.wait_condition("Ready", "True")
    await chart_rights.revoke(kube, access)
