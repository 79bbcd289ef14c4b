"""The chart installed, upgraded, rolled back and uninstalled: what must outlive that does, and nothing hangs."""

import base64
import json
import subprocess

import pytest

from stateful_route.api.crd import load_crd
from stateful_route.kube.objects import FINALIZER
from support.account import Account, granted, requests, unused, write_kubeconfig
from support.audit import denied
from support.container import ENTRY_POINT
from support.helm import HelmFailed
from support.waiting import always, eventually

CRD = "statefulroutes.statefulroute.io"
BY_THE_TEST = "run=by-the-test"
"""The label of the nodes that take the pods of a release."""


def uid_of_crd(kubectl):
    """None when there is none."""
    return kubectl("get", "crd", CRD, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}") or None


def password(release):
    data = release.get("secret", "stateful-route-valkey")["data"]
    conf = base64.b64decode(data["valkey.conf"]).decode()
    found = base64.b64decode(data["password"]).decode()
    assert f"requirepass {found}\n" in conf
    assert f":{found}@stateful-route-valkey.{release.namespace}.svc:6379" in base64.b64decode(data["url"]).decode()
    return found


async def test_an_upgrade_and_a_rollback_keep_crd_resources_and_password(install, no_crd, kubectl, cluster):
    release = install(
        "--wait",
        "--timeout=60s",
        **{"redis.existingSecret.name": "", "valkey.enabled": True, "valkey.storage.enabled": False},
    )
    crd, secret = uid_of_crd(kubectl), password(release)
    assert len(secret) == 32
    assert f"helm --namespace {release.namespace} test stateful-route" in release.notes
    assert "not for production" in release.notes
    kubectl("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=30s")
    scene = cluster.scene()
    route = await scene.make_route()

    release.upgrade("--wait", "--timeout=60s", values={"replicas": 2})
    assert release.get("deployment")["spec"]["replicas"] == 2
    assert password(release) == secret, "clients have it"
    release.helm("rollback", release.name, "1", "--namespace", release.namespace, "--wait", "--timeout=60s")
    assert release.get("deployment")["spec"]["replicas"] == 1

    assert (uid_of_crd(kubectl), password(release)) == (crd, secret)
    assert (await scene.route())["metadata"]["uid"] == route


async def test_a_rollback_to_a_release_without_the_crd_keeps_it(install, no_crd, kubectl, cluster):
    release = install(**{"crds.enabled": False})
    release.upgrade(values={"crds.enabled": True})
    kubectl("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=30s")
    crd = uid_of_crd(kubectl)
    scene = cluster.scene()
    route = await scene.make_route()

    release.helm("rollback", release.name, "1", "--namespace", release.namespace)

    assert uid_of_crd(kubectl) == crd
    assert (await scene.route())["metadata"]["uid"] == route


def test_a_crd_that_the_administrator_applied_is_taken_over_when_asked(install, crd, kubectl):
    before = uid_of_crd(kubectl)
    with pytest.raises(HelmFailed, match=CRD):
        install()
    install("--take-ownership")
    assert uid_of_crd(kubectl) == before


def test_a_second_release_gets_along_without_the_crd_of_the_first(install, no_crd):
    install()
    with pytest.raises(HelmFailed, match=CRD):
        install()
    install(**{"crds.enabled": False})


def test_an_older_crd_gets_the_fields_of_the_release(install, no_crd, kubectl):
    older = load_crd()
    older["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "Helm"}
    spec = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del spec["repair"]
    kubectl("apply", "--server-side", "-f", "-", text=json.dumps(older))
    install("--take-ownership", "--force-conflicts")
    assert "periodSeconds" in kubectl("explain", "sroute.spec.repair")


@pytest.mark.parametrize(
    ("watched", "keep"),
    [(True, True), (False, False)],
    ids=["in some namespaces, and the CRD stays", "in all namespaces, and the CRD goes with it"],
)
async def test_after_an_uninstallation_nothing_hangs(watched, keep, install, no_crd, cluster, tmp_path):
    scene, kubectl = cluster.scene(), cluster.control_plane.kubectl
    namespaces = [scene.namespace] if watched else []
    selector = dict([BY_THE_TEST.split("=")])
    release = install(**{"nodeSelector": selector, "watchNamespaces": namespaces, "crds.keep": keep})
    let_operator_pod_run(release)
    kubectl("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=30s")
    operator = release.start_operator()
    await scene.make_workload(2, grace_seconds=1)  # the end of the namespace waits for half of it
    await scene.make_route()
    await scene.wait_all_ready(range(2))
    await scene.link(40, range(2))

    async def finalizers():
        return (await scene.route())["metadata"].get("finalizers", [])

    uninstall = release.helm.begin("uninstall", release.name, "--namespace", release.namespace, "--timeout=90s")
    hook_account = Account(release.namespace, "stateful-route-pre-delete")
    pod = await pod_of_the_hook(release)
    hook = release.start(pod["spec"], pod["metadata"]["name"], tmp_path / "hook.log")
    permissions = granted(kubectl, hook_account)
    await eventually(is_ending(release), bool, "the operator's pod is asked to end")
    await always(finalizers, lambda names: names == [FINALIZER], "a running operator keeps its finalizer", seconds=1.5)
    assert hook.poll() is None, "it waits for the operator's end"
    operator.terminate()
    assert operator.wait(60) == 0
    let_operator_pod_go(release)

    assert hook.wait(60) == 0, (tmp_path / "hook.log").read_text()
    assert f"released: {scene.namespace}/rooms\n" in (tmp_path / "hook.log").read_text()
    end_pod_of_the_hook(release, pod)
    out, err = uninstall.communicate(timeout=60)
    assert uninstall.returncode == 0, out + err

    asked = requests(cluster.folder, hook_account)
    assert denied(asked) == []
    assert unused(permissions, asked) == []
    assert left_of(release) == []
    assert len(await scene.links()) == 40
    if keep:
        assert uid_of_crd(kubectl)
        assert await finalizers() == []
    else:
        kubectl("wait", "--for=delete", f"crd/{CRD}", "--timeout=30s")
    kubectl("delete", "namespace", scene.namespace, "--timeout=60s")


def let_operator_pod_run(release):
    """It gets a node, and later pods get none: the test runs what is in them."""
    release.kubectl("label", "nodes", "--all", BY_THE_TEST)
    hold_operator_pod(release)
    release.kubectl("label", "nodes", "--all", "run-")


def hold_operator_pod(release):
    """Its pod runs, and cannot go before the test says so, as one whose process takes its time."""
    release.kubectl("rollout", "status", f"deployment/{release.name}", "-n", release.namespace, "--timeout=30s")
    (pod,) = release.pods("operator")
    patch = {"metadata": {"finalizers": ["test.statefulroute.io/hold"]}}
    name = pod["metadata"]["name"]
    release.kubectl("patch", "pod", name, "-n", release.namespace, "--type=merge", "-p", json.dumps(patch))


def let_operator_pod_go(release):
    (pod,) = release.pods("operator")
    patch = '{"metadata":{"finalizers":null}}'
    release.kubectl("patch", "pod", pod["metadata"]["name"], "-n", release.namespace, "--type=merge", "-p", patch)


def is_ending(release):
    async def look():
        return [pod for pod in release.pods("operator") if "deletionTimestamp" in pod["metadata"]]

    return look


async def pod_of_the_hook(release):
    async def look():
        return release.pods("pre-delete")

    (pod,) = await eventually(look, bool, "the hook has a pod")
    return pod


def end_pod_of_the_hook(release, pod):
    """As its kubelet would, when the container has ended with 0."""
    name = pod["metadata"]["name"]
    patch = '{"status":{"phase":"Succeeded"}}'
    where = ("-n", release.namespace, "--subresource=status", "--type=merge")
    release.kubectl("patch", "pod", name, *where, "-p", patch)


def left_of(release):
    """What the release has left, but for the CRD."""
    kinds = "deployments,statefulsets,services,serviceaccounts,configmaps,jobs"
    roles = "roles,rolebindings,clusterroles,clusterrolebindings"
    label = f"app.kubernetes.io/instance={release.name}"
    listed = release.kubectl("get", f"{kinds},{roles}", "--all-namespaces", "-l", label, "-o", "json")
    found = (body for body in json.loads(listed)["items"] if release.namespace in json.dumps(body["metadata"]))
    return [f"{body['kind']}/{body['metadata']['name']}" for body in found]


# The command of the hook, for who has to do without


async def test_finalizers_can_be_released_by_hand(crd, cluster, run_command):
    scene = cluster.scene()
    await scene.make_route()
    await scene.make_route(name="theirs")
    for name, finalizers in (("rooms", [FINALIZER, "example.com/other"]), ("theirs", ["example.com/other"])):
        await cluster.kube.merge(f"{scene.routes_path}/{name}", {"metadata": {"finalizers": finalizers}})

    done = run_command("release-finalizers", "--namespaces", scene.namespace)

    assert (done.returncode, done.stdout) == (0, f"released: {scene.namespace}/rooms\n")
    assert (await scene.route())["metadata"]["finalizers"] == ["example.com/other"]
    assert run_command("release-finalizers", "--namespaces", scene.namespace).stdout == ""
    for name in ("rooms", "theirs"):
        await cluster.kube.merge(f"{scene.routes_path}/{name}", {"metadata": {"finalizers": None}})


async def test_of_what_is_being_deleted_it_says_that_keys_are_left(crd, cluster, run_command):
    scene = cluster.scene()
    await scene.make_route()
    await cluster.kube.merge(f"{scene.routes_path}/rooms", {"metadata": {"finalizers": [FINALIZER]}})
    await scene.delete_route()
    assert "keys stay" in run_command("release-finalizers", "--namespaces", scene.namespace).stdout
    assert await scene.route() == {}


def test_without_a_crd_there_is_nothing_to_release(no_crd, run_command):
    done = run_command("release-finalizers")
    assert (done.returncode, done.stdout) == (0, "")


async def test_an_operator_that_does_not_end_is_named(install, crd, run_command):
    release = install(**{"crds.enabled": False})
    hold_operator_pod(release)
    done = run_command(
        "release-finalizers",
        f"--deployment={release.namespace}/stateful-route",
        "--selector=app.kubernetes.io/component=operator",
        "--timeout-seconds=1",
    )
    assert done.returncode == 1
    assert release.pods("operator")[0]["metadata"]["name"] in done.stderr
    assert "--force" in done.stderr
    let_operator_pod_go(release)


@pytest.mark.parametrize(
    "arguments", [["--deployment=stateful-route"], ["--deployment=a/b"], ["--timeout-seconds=0"]], ids=str
)
def test_wrong_use_ends_with_2(run_command, arguments):
    done = run_command("release-finalizers", *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_without_permission_it_says_so(crd, kubectl, make_namespace, tmp_path, run_command):
    namespace = make_namespace()
    path = write_kubeconfig(kubectl, Account(namespace, "default"), tmp_path / "kubeconfig")
    done = run_command("release-finalizers", f"--kubeconfig={path}")
    assert done.returncode == 1
    assert "forbidden" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def run_command(control_plane):
    """``stateful-route …`` as the administrator."""

    def run(*arguments):
        return subprocess.run(
            [*ENTRY_POINT, *arguments],
            env=control_plane.kubectl.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run
