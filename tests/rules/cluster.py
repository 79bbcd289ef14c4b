"""Kubernetes: an API server, a StatefulSet controller, nodes with kubelets, and the processes that really run."""

import marshal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rules.clocks import Time, stamp
from stateful_route.domain.routing import RoutingState
from stateful_route.domain.selector import Selector
from stateful_route.domain.workload_ref import WorkloadFacts, WorkloadRef

REF = WorkloadRef("room")
LABELS = {"app": "room"}
SELECTOR = Selector.from_body({"matchLabels": LABELS})

REPORT_SECONDS = 0.15
"""From when something has happened on a node until its kubelet has said so."""
START_SECONDS = 1.0
RESTART_SECONDS = 0.5
"""From the end of a container until the next one starts."""
READY_SECONDS = 2.0
"""From when a container has started until it is Ready."""
RESIZE_SECONDS = 4.0
STRAY_SECONDS = 1.5
"""A process whose pod was deleted by force goes on for so long."""
GRACE_SECONDS = 30.0
LOST_SECONDS = 12.0
"""From when a node is lost until its pods are said not to be Ready (40 s in the field)."""
EVICTED_SECONDS = 40.0
"""And until its pods are deleted (350 s in the field)."""


@dataclass(eq=False)
class Process:
    """One process of the routed container: what it has in memory ends with it.

    Attributes:
        pod_uid: Of its pod.
        container: The id of its container.
        library: It runs our library.
        born: When it started.
        ended: When it has ended; None: it runs.
        word: What its application says.
        hangs: Since when it hangs: it neither publishes nor serves; None: it does not.
        since_ms: When it spoke first, as it was told; None: it has not.
        replaced: It was told that it has a successor.
        published_at: When it has published last; None: never.
        shut_down_until: When it last said that it serves nobody.
    """

    pod_uid: str
    container: str
    library: bool
    born: float
    ended: float | None = None
    word: RoutingState = RoutingState.READY
    hangs: float | None = None
    since_ms: int | None = None
    replaced: bool = False
    published_at: float | None = None
    shut_down_until: float = 0.0

    @property
    def runs(self) -> bool:
        """It has not ended."""
        return self.ended is None


@dataclass(eq=False)
class Pod:
    """One pod: what is so, and below ``said`` what the API server has been told.

    Attributes:
        process: Which runs in it, or ran last.
        probe: Its readiness probe succeeds, as far as that depends on the process.
        stops_at: When its grace period is over in truth; None: it is not asked to stop.
        deleted_at: When that was asked first.
        said: The body at the API server.
        unready_since: Since when that says that it is not Ready; None: it is.
        ready_since: Since when it says that it is.
        ever_ready: It has been said to be Ready since the present process is known.
        served: It has ever been.
    """

    uid: str
    ordinal: int
    node: str
    said: dict[str, Any]
    created: float
    unready_since: float | None
    ready_since: float | None = None
    process: Process | None = None
    restarts: int = 0
    containers: int = 0
    probe: bool = True
    stops_at: float | None = None
    deleted_at: float | None = None
    ever_ready: bool = False
    served: bool = False
    exists: bool = True

    @property
    def ready(self) -> bool:
        """The API server says that it is Ready."""
        return self.unready_since is None

    @property
    def terminating(self) -> bool:
        """It is asked to stop."""
        return "deletionTimestamp" in self.said["metadata"]

    @property
    def finished(self) -> bool:
        """Its phase says that it has ended."""
        return self.said["status"]["phase"] in {"Failed", "Succeeded"}


@dataclass
class Node:
    """One node.

    Attributes:
        shift: By how much its clock is wrong, in seconds.
        up: It is there.
        lost: The API server says that it is not Ready.
    """

    shift: float = 0.0
    up: bool = True
    lost: bool = False


@dataclass(frozen=True)
class Seen:
    """An event of the watch, and what was so when it was made (for those who judge, not for the operator)."""

    body: dict[str, Any]
    deleted: bool
    unready_since: float | None
    ever_ready: bool
    served: bool


class Cluster:
    """All of it.

    Attributes:
        pods: Those that the API server has.
        nodes: By name.
        facts: The StatefulSet's; None: it was deleted, and its pods live on.
        watch: Is given each event of a pod; the StatefulSet's: without a pod.
        began: Is given each process that starts.
    """

    def __init__(self, time: Time, replicas: int, library: Callable[[int], bool]) -> None:
        self._time = time
        self._library = library
        self._version = 10
        self._uids = 0
        self.pods: dict[str, Pod] = {}
        self.nodes = {f"node-{number}": Node() for number in range(3)}
        self.facts: WorkloadFacts | None = self._workload(0, replicas)
        self._known = self.facts
        self.watch: Callable[[Seen | None], None] = lambda _seen: None
        self.began: Callable[[Pod, Process], None] = lambda _pod, _process: None

    @property
    def version(self) -> int:
        """Of what was changed last."""
        return self._version

    def by_ordinal(self, ordinal: int) -> Pod | None:
        """The pod that has the ordinal's name."""
        return next((pod for pod in self.pods.values() if pod.ordinal == ordinal), None)

    def process(self, ordinal: int) -> Process | None:
        """The process that runs in that pod."""
        pod = self.by_ordinal(ordinal)
        return pod.process if pod and pod.process and pod.process.runs else None

    # The StatefulSet

    def scale(self, start: int, replicas: int) -> None:
        """Set its first ordinal and how many it wants."""
        if self.facts is not None:
            self.facts = self._known = self._workload(start, replicas)
            self._changed_set()

    def orphan(self) -> None:
        """Delete it without its pods, or make it anew."""
        self.facts = None if self.facts else self._workload(self._known.start, self._known.replicas)
        for pod in list(self.pods.values()):
            if "app" in pod.said["metadata"]["labels"]:
                if self.facts is None:
                    pod.said["metadata"].pop("ownerReferences", None)
                else:
                    pod.said["metadata"]["ownerReferences"] = [_owner()]
                self._changed(pod)
        self._changed_set()

    def _workload(self, start: int, replicas: int) -> WorkloadFacts:
        self._version += 1
        return WorkloadFacts(
            name=REF.name,
            uid="set",
            resource_version=self._version,
            start=start,
            replicas=replicas,
            selector=SELECTOR,
            governing_service="room",
            containers=("app",),
        )

    def _changed_set(self) -> None:
        self.watch(None)
        self._time.after(0.1, self.control)

    def control(self) -> None:
        """What the controller does: delete what has failed or is not wanted, make what is missing."""
        if self.facts is None:
            return
        for pod in list(self.pods.values()):
            if pod.terminating or "ownerReferences" not in pod.said["metadata"]:
                continue
            if pod.finished:
                self._remove(pod)
            elif not self.facts.wants(pod.ordinal):
                self.delete(pod)
        for ordinal in range(self.facts.start, self.facts.start + self.facts.replicas):
            if self.by_ordinal(ordinal) is None:
                self._create(ordinal)

    def _create(self, ordinal: int) -> None:
        self._uids += 1
        uid, node = f"{'abcdefghijklmnopqrstuvwxyz'[self._uids % 26]}{self._uids}", f"node-{ordinal % 3}"
        body = {
            "metadata": {
                "name": f"room-{ordinal}",
                "uid": uid,
                "creationTimestamp": stamp(self._time.now),
                "labels": LABELS
                | {
                    "apps.kubernetes.io/pod-index": str(ordinal),
                    "statefulset.kubernetes.io/pod-name": f"room-{ordinal}",
                },
                "annotations": {},
                "ownerReferences": [_owner()],
            },
            "spec": {"nodeName": node, "containers": [{"name": "app"}], "terminationGracePeriodSeconds": GRACE_SECONDS},
            "status": {"phase": "Pending"},
        }
        pod = Pod(uid, ordinal, node, body, self._time.now, self._time.now)
        self.pods[uid] = pod
        self._changed(pod)
        self._time.after(START_SECONDS, lambda: self._run(pod))

    # Kubelets

    def _run(self, pod: Pod, *, says: bool = True) -> None:
        """Start the pod's container."""
        if not pod.exists or pod.finished or not self.nodes[pod.node].up:
            return
        if pod.process is not None and pod.process.runs:
            return
        pod.containers += 1
        process = Process(pod.uid, f"{pod.uid}-{pod.containers}", self._library(pod.ordinal), self._time.now)
        pod.process, pod.ever_ready = process, False
        self.began(pod, process)
        started = self._time.now + self.nodes[pod.node].shift
        if says:
            self._time.after(REPORT_SECONDS, lambda: self._report(pod, process, started))
        self._time.after(READY_SECONDS, lambda: self.probe(pod))

    def _report(self, pod: Pod, process: Process, started: float) -> None:
        """The kubelet says which container runs."""
        if pod.process is not process or not process.runs:
            return
        status = {"name": "app", "restartCount": pod.restarts, "containerID": process.container}
        pod.said["status"] |= {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "containerStatuses": [status | {"state": {"running": {"startedAt": stamp(started)}}}],
        }
        pod.ever_ready = pod.ready
        self._changed(pod)

    def probe(self, pod: Pod) -> None:
        """The kubelet says whether the pod is Ready, if that has changed."""
        process = pod.process
        runs = process is not None and process.runs and "containerStatuses" in pod.said["status"]
        self._say_ready(pod, runs and pod.probe and pod.stops_at is None)

    def _say_ready(self, pod: Pod, ready: bool, *, by_kubelet: bool = True) -> None:
        if not pod.exists or pod.finished or ready == pod.ready or (by_kubelet and not self.nodes[pod.node].up):
            return
        shift = self.nodes[pod.node].shift if by_kubelet else 0.0
        condition = {
            "type": "Ready",
            "status": str(ready),
            "lastTransitionTime": stamp(self._time.now + shift),
        }
        pod.said["status"]["conditions"] = [condition]
        pod.unready_since = None if ready else self._time.now
        pod.ready_since = self._time.now if ready else None
        pod.ever_ready, pod.served = pod.ever_ready or ready, pod.served or ready
        self._changed(pod)

    def end(self, process: Process | None) -> None:
        """A process ends."""
        if process is not None and process.runs:
            process.ended = self._time.now

    def kill(self, pod: Pod) -> None:
        """The container is killed: the pod is not Ready, and another container starts."""
        self.end(pod.process)
        self._time.after(REPORT_SECONDS, lambda: self._say_ready(pod, ready=False))
        self._time.after(RESTART_SECONDS, lambda: self._restart(pod))

    def _restart(self, pod: Pod, *, counts: bool = True) -> None:
        if pod.exists and not pod.finished and not (pod.process and pod.process.runs):
            pod.restarts += counts
            self._run(pod)

    def kill_sandbox(self, pod: Pod, *, counts: bool = True) -> None:
        """Another container runs without the pod ceasing to be Ready; a wiped node may not even count it."""
        self.end(pod.process)
        self._time.after(RESTART_SECONDS, lambda: self._restart(pod, counts=counts))

    def resize(self, pod: Pod) -> None:
        """Its memory is resized with RestartContainer: it is said to be Ready all the time."""
        self.end(pod.process)
        self._time.after(RESIZE_SECONDS, lambda: self._restart(pod))

    def restart_kubelet(self, pod: Pod) -> None:
        """An old kubelet begins anew: its pods are not Ready for a while, and their processes live on."""
        self._say_ready(pod, ready=False)
        self._time.after(5, lambda: self.probe(pod))

    def reject(self, pod: Pod) -> None:
        """A kubelet begins anew under disk pressure: the pod's status vanishes, its process lives on, then it fails."""
        status = pod.said["status"]
        for name in ("conditions", "podIP", "containerStatuses"):
            status.pop(name, None)
        if pod.unready_since is None:
            pod.unready_since, pod.ready_since = self._time.now, None
        self._changed(pod)
        self._time.after(4, lambda: self._fail(pod))

    def evict(self, pod: Pod) -> None:
        """A node under pressure stops a pod with grace: the API is silent until it has failed."""
        process = pod.process
        self._time.after(GRACE_SECONDS, lambda: self._fail(pod))
        self._time.after(GRACE_SECONDS / 2, lambda: self.end(process))

    def _fail(self, pod: Pod) -> None:
        self.end(pod.process)
        if not pod.exists or pod.finished or not self.nodes[pod.node].up:
            return
        pod.said["status"]["phase"] = "Failed"
        pod.unready_since = self._time.now if pod.unready_since is None else pod.unready_since
        pod.said["status"]["conditions"] = [
            {"type": "Ready", "status": "False", "lastTransitionTime": stamp(self._time.now)}
        ]
        self._changed(pod)
        self._time.after(0.3, self.control)

    def delete(self, pod: Pod, grace: float = GRACE_SECONDS, quick: bool = False) -> None:
        """Somebody deletes the pod; a second deletion changes what is said, and nothing on the node."""
        first = pod.stops_at is None
        meta = pod.said["metadata"]
        meta |= {"deletionTimestamp": stamp(self._time.now + grace), "deletionGracePeriodSeconds": int(grace)}
        self._changed(pod)
        if not first:
            return
        pod.stops_at, pod.deleted_at = self._time.now + grace, self._time.now
        process = pod.process
        self._time.after(1.0, lambda: self.probe(pod))
        seconds = 3.0 if quick else grace

        def stopped() -> None:
            if self.nodes[pod.node].up:
                self.end(process)
                self.end(pod.process)
                self._gone(pod)

        self._time.after(seconds, stopped)

    def delete_by_force(self, pod: Pod) -> None:
        """Somebody deletes it by force: its successor is there before its process has ended."""
        process = pod.process
        pod.said["metadata"] |= {"deletionTimestamp": stamp(self._time.now), "deletionGracePeriodSeconds": 0}
        pod.stops_at = self._time.now
        self._changed(pod)
        self._remove(pod)
        self._time.after(STRAY_SECONDS, lambda: self.end(process))

    def _gone(self, pod: Pod) -> None:
        """The kubelet says that all has ended, and lets the pod go."""
        if not pod.exists:
            return
        for status in pod.said["status"].get("containerStatuses", ()):
            status["state"] = {"terminated": {}}
        self._say_ready(pod, ready=False)
        self._changed(pod)
        self._time.after(0.1, lambda: self._remove(pod))

    def _remove(self, pod: Pod) -> None:
        if self.pods.pop(pod.uid, None) is not None:
            pod.exists = False
            self._changed(pod, deleted=True)
            self._time.after(0.1, self.control)

    # Nodes

    def lose(self, name: str, *, dies: bool) -> None:
        """A node is lost; ``dies``: its processes have ended, else they are cut off."""
        node = self.nodes[name]
        node.up = False
        for pod in self._on(name):
            if dies:
                self.end(pod.process)
        self._time.after(LOST_SECONDS, lambda: self._note_lost(name))
        self._time.after(EVICTED_SECONDS, lambda: self._evict_lost(name))

    def _note_lost(self, name: str) -> None:
        if not self.nodes[name].up:
            self.nodes[name].lost = True
            for pod in self._on(name):
                self._say_ready(pod, ready=False, by_kubelet=False)

    def _evict_lost(self, name: str) -> None:
        if self.nodes[name].lost:
            for pod in self._on(name):
                if not pod.terminating:
                    self.delete(pod)

    def bring_back(self, name: str) -> None:
        """It is back: what was deleted meanwhile ends, what had ended starts anew."""
        node = self.nodes[name]
        node.up, node.lost = True, False
        for pod in self._on(name):
            if pod.terminating:
                self.end(pod.process)
                self._gone(pod)
            elif pod.process is None:
                self._run(pod)
            elif not pod.process.runs:
                self._restart(pod)
            else:
                self._time.after(1.0, lambda pod=pod: self.probe(pod))

    def _on(self, name: str) -> list[Pod]:
        return [pod for pod in self.pods.values() if pod.node == name and not pod.finished]

    # What somebody does by kubectl

    def annotate(self, pod: Pod) -> None:
        """Ask to drain it, or not any more."""
        notes = pod.said["metadata"]["annotations"]
        name = "statefulroute.io/drain"
        notes[name] = "false" if notes.get(name) == "true" else "true"
        self._changed(pod)

    def relabel(self, pod: Pod) -> None:
        """Let its labels leave the selector, or come back: the controller lets go of it, and takes it up again."""
        meta = pod.said["metadata"]
        if meta["labels"].pop("app", None) is None:
            meta["labels"] |= LABELS
            if self.facts is not None:
                meta["ownerReferences"] = [_owner()]
        else:
            meta.pop("ownerReferences", None)
        self._changed(pod)
        self._time.after(0.1, self.control)

    def _changed(self, pod: Pod, *, deleted: bool = False) -> None:
        self._version += 1
        pod.said["metadata"]["resourceVersion"] = str(self._version)
        self.watch(seen_as(pod, deleted=deleted))


def seen_as(pod: Pod, *, deleted: bool = False) -> Seen:
    """The pod as the API server says that it is."""
    return Seen(marshal.loads(marshal.dumps(pod.said)), deleted, pod.unready_since, pod.ever_ready, pod.served)


def _owner() -> dict[str, Any]:
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": REF.name, "uid": "set", "controller": True}
