"""The control plane itself: it starts, it can be stopped and started in parts, and it leaves nothing."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stateful_route.devcluster import ControlPlane
from stateful_route.devcluster.errors import KubectlFailed
from stateful_route.devcluster.run_folder import MARK
from stateful_route.devcluster.toolchain import cache_folder
from stateful_route.devcluster.versions import KUBERNETES

STATEFUL_SET = {
    "apiVersion": "apps/v1",
    "kind": "StatefulSet",
    "metadata": {"name": "rooms"},
    "spec": {
        "replicas": 2,
        "serviceName": "rooms",
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": {"app": "rooms"}},
        "template": {
            "metadata": {"labels": {"app": "rooms"}},
            "spec": {"containers": [{"name": "room", "image": "example.invalid/room"}]},
        },
    },
}

# Starts a control plane, tells its folder at once, and waits to be ended.
OWNER = """
import time
from stateful_route.devcluster import ControlPlane
from stateful_route.devcluster.run_folder import RunFolder
create = RunFolder.create
def telling(purpose):
    folder = create(purpose)
    print(folder.path, flush=True)
    return folder
RunFolder.create = telling
ControlPlane.start()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def own():
    """A control plane that these tests may break without harm to others."""
    with ControlPlane.start(nodes=1) as cluster:
        yield cluster


def processes_of(folder):
    """By the environment that they inherited, whoever their parent is now."""
    mark = f"{MARK}={folder}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry.name, (entry / "cmdline").read_bytes().split(b"\0")[0].decode()))
        except OSError:
            continue
    return found


def wait_until(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def conditions_of(node):
    return {condition["type"]: condition["status"] for condition in node["status"]["conditions"]}


def test_its_three_nodes_are_ready(control_plane):
    nodes = json.loads(control_plane.kubectl("get", "nodes", "-o", "json"))["items"]

    assert len(nodes) >= 3
    assert all(conditions_of(node)["Ready"] == "True" for node in nodes)


def test_pods_of_a_statefulset_become_ready(control_plane, namespace):
    control_plane.kubectl("apply", "-n", namespace, "-f", "-", text=json.dumps(STATEFUL_SET))

    control_plane.kubectl("rollout", "status", "statefulset/rooms", "-n", namespace, "--timeout=30s")


def test_a_namespace_is_deleted_in_the_background(control_plane, namespace):
    control_plane.kubectl("delete", "namespace", namespace, "--wait=false")
    control_plane.kubectl("wait", "--for=delete", f"namespace/{namespace}", "--timeout=60s")
    control_plane.kubectl("create", "namespace", namespace)


def test_it_serves_the_pinned_version_and_asks_who_is_calling(own):
    assert json.loads(own.kubectl("get", "--raw", "/version"))["gitVersion"] == KUBERNETES
    with pytest.raises(KubectlFailed, match="Forbidden"):
        own.kubectl("get", "secrets", "--as=somebody")


def test_it_listens_on_loopback_only(own):
    listening = {
        line.split()[1]
        for table in ("tcp", "tcp6")
        for pid in own.processes()
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and f"socket:[{line.split()[9]}]" in sockets_of(pid)
    }

    assert len(listening) >= 5
    assert all(address.startswith("0100007F:") for address in listening)


def sockets_of(pid):
    return {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}


def test_a_stopped_api_server_refuses_and_a_started_one_has_all_data(own):
    own.kubectl("create", "configmap", "kept", "--from-literal=key=value")
    own.stop_api_server()
    with pytest.raises(KubectlFailed, match="refused"):
        own.kubectl("get", "configmap", "kept")
    own.start_api_server()

    assert own.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.key}") == "value"


def test_controllers_and_nodes_are_at_work_soon_after_the_api_server_is_back(own):
    own.stop_api_server()
    own.start_api_server()
    own.kubectl("apply", "-f", "-", text=json.dumps(STATEFUL_SET))

    own.kubectl("rollout", "status", "statefulset/rooms", "--timeout=15s")


def test_a_paused_api_server_answers_nothing_until_it_goes_on(own):
    own.pause_api_server()
    with pytest.raises(KubectlFailed, match="no answer within"):
        own.kubectl("get", "nodes", timeout_seconds=1)
    own.resume_api_server()

    assert own.kubectl("get", "nodes", "-o", "name")


def test_paused_nodes_start_no_pod_until_they_go_on(own):
    own.pause_nodes()
    own.kubectl("run", "waiting", "--image=example.invalid/none")
    own.kubectl("wait", "--for=condition=PodScheduled", "pod/waiting", "--timeout=15s")
    assert own.kubectl("get", "pod", "waiting", "-o", "jsonpath={.status.phase}") == "Pending"
    own.resume_nodes()

    own.kubectl("wait", "--for=condition=Ready", "pod/waiting", "--timeout=30s")


def test_nodes_can_be_added(own):
    own.scale_nodes(2)

    assert len(own.kubectl("get", "nodes", "-o", "name").split()) == 2


def test_more_arguments_reach_the_components():
    with ControlPlane.start(nodes=0, extra_args=("--extra-args", "kube-apiserver=audit-log-path=-")) as cluster:
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in cluster.processes()]

        assert any(b"kube-apiserver" in command and b"--audit-log-path=-" in command for command in commands)


def test_after_stop_no_process_and_no_file_is_left_and_home_is_untouched(tmp_path, monkeypatch):
    monkeypatch.setenv("STATEFUL_ROUTE_CACHE", str(cache_folder()))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    cluster = ControlPlane.start(nodes=1)
    names = {Path(command).name for _, command in processes_of(cluster.folder)}
    assert names == {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok-controller"}
    cluster.stop()

    assert processes_of(cluster.folder) == []
    assert not cluster.folder.exists()
    assert not (tmp_path / ".kube").exists()
    assert not (tmp_path / ".kwok").exists()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "SIGKILL"])
@pytest.mark.parametrize("moment", ["as soon as one component runs", "as soon as all run", "when it is ready"])
def test_an_owner_that_is_ended_leaves_no_process(end, moment):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    folder = owner.stdout.readline().strip()
    if moment == "when it is ready":
        assert owner.stdout.readline() == "ready\n"
    else:
        count = 2 if "one" in moment else 6  # kwokctl is one of them
        wait_until(lambda: len(processes_of(folder)) >= count, "the components start")
    owner.send_signal(end)
    owner.wait(60)
    owner.stdout.close()

    wait_until(lambda: not processes_of(folder) and not Path(folder).exists(), "all are dead and the folder is gone")
