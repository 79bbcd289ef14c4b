"""A routed service on real nodes, with callers outside the cluster; what all of them did is judged in the end."""

import asyncio
import json
import secrets
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from stateful_route.devcluster.errors import KubectlFailed
from stateful_route.store.connection import StoreOptions
from stateful_route.store.executor import StatefulExecutor
from support import routing_promises as promises
from support.fleet import RoleProcess, start_process
from support.nodes.release import NodeRelease
from support.room import PORT, STORE_SECONDS
from support.routed_service import EXPIRE_SECONDS, REFRESH_SECONDS, SVC, UIDS, UPDATE_SECONDS, Role
from support.routing_history import History, Request, Said, Span
from support.scene import READY, Scene, TestKube
from support.waiting import eventually

DELAY_SECONDS: Final = 3
DRAIN_SECONDS: Final = 10
GRACE_SECONDS: Final = 20
SPEC: Final[Mapping[str, Any]] = {
    "address": {"port": PORT, "template": "{ip}"},
    "failover": {"delaySeconds": DELAY_SECONDS},
    "drain": {"deadlineSeconds": DRAIN_SECONDS},
    "health": {"expireSeconds": 15},
}
CALLERS: Final = ("async", "sync")
PAUSE_SECONDS: Final = 0.03
PATIENCE_SECONDS: Final = 90.0
HOPS: Final = 250
"""For some seconds: so long a user's state may take to be given away."""

TIMES: Final = promises.Times(REFRESH_SECONDS, UPDATE_SECONDS, EXPIRE_SECONDS, 2 * STORE_SECONDS, slack=5.0)
"""The nodes, the control plane and the callers share what processors the machine has."""

LIFE: Final = ("ready", "stats", "end", "replaced", "assume replaced")
"""What pods tell of themselves, in the order in which they do."""

_TOLD_LATER_SECONDS: Final = 10.0


class Rooms:
    """A namespace with the StatefulSet ``room`` and its StatefulRoute."""

    def __init__(self, cluster: Any, release: NodeRelease, kube: TestKube, executor: StatefulExecutor) -> None:
        """Use `at_work`."""
        self.cluster, self.release, self.kube, self.executor = cluster, release, kube, executor
        self.namespace = f"games-{secrets.token_hex(3)}"
        self.folder = cluster.journals / self.namespace
        self.callers: list[RoleProcess] = []
        self.scene: Scene
        self.sleeps: list[Span] = []
        self._frozen: dict[int, float] = {}
        self._phases: list[tuple[str, float]] = []

    # Kubernetes

    def kubectl(self, *words: str, text: str = "", seconds: float = PATIENCE_SECONDS) -> str:
        return str(self.cluster.kubectl(*words, "-n", self.namespace, text=text, timeout_seconds=seconds))

    async def calls(self, *words: str, text: str = "", seconds: float = PATIENCE_SECONDS) -> str:
        """The same, while others go on."""
        return await asyncio.to_thread(self.kubectl, *words, text=text, seconds=seconds)

    async def start(self, replicas: int, apart: str) -> None:
        """Pods Ready, the route Ready, callers at full speed; ``apart``: see `at_work`."""
        self.folder.mkdir()
        self.folder.chmod(0o777)
        await asyncio.to_thread(self.cluster.kubectl, "create", "namespace", self.namespace)
        self.scene = Scene(self.kube, self.namespace, await self.executor.store(), SVC)
        await self.calls("create", "secret", "generic", "store", f"--from-literal=url={self.release.url}")
        if apart:
            await self._apart(replicas, apart)
        else:
            await self.calls("apply", "-f", "-", text=json.dumps(self.workload(replicas)))
        await self.scene.make_route(SPEC)
        await self.all_ready(range(replicas))
        url = self.release.outer_url
        for number, colour in enumerate(CALLERS):
            role = Role(f"caller-{number}", url, str(self.folder), colour, namespace=self.namespace, port=PORT)
            patient = replace(
                role,
                pause_seconds=PAUSE_SECONDS,
                answer_seconds=5.0,
                hops=HOPS,
                again=True,
                store_seconds=STORE_SECONDS,
            )
            self.callers.append(start_process("support.calling_process", patient))
        await self.rounds(1)

    async def _apart(self, replicas: int, node: str) -> None:
        """The last pod on that node, the others elsewhere."""
        others = [name for name in self.cluster.nodes if name != node]
        for shut, count in (([node], replicas - 1), (others, replicas)):
            for name in shut:
                self.cluster.kubectl("cordon", name)
            try:
                await self.calls("apply", "-f", "-", text=json.dumps(self.workload(count)))
                await self.calls("wait", "--for=create", f"pod/{SVC}-{count - 1}", "--timeout=60s")
                await self.calls("wait", "--for=condition=PodScheduled", "pod", "--all", "--timeout=60s")
            finally:
                for name in shut:
                    self.cluster.kubectl("uncordon", name)

    def workload(self, replicas: int) -> dict[str, Any]:
        """The StatefulSet, as the operator's documents want it."""
        fields = {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace", "POD_UID": "metadata.uid"}
        environment: list[dict[str, Any]] = [
            {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()
        ]
        environment.append({"name": "REDIS_URL", "valueFrom": {"secretKeyRef": {"name": "store", "key": "url"}}})
        environment.append({"name": "PYTHONPATH", "value": "/tests"})
        container = {
            "name": SVC,
            "image": self.release.images.room,
            "imagePullPolicy": "Never",
            "env": environment,
            "ports": [{"containerPort": PORT}],
            "readinessProbe": {"httpGet": {"port": PORT, "path": "/"}, "periodSeconds": 1, "timeoutSeconds": 5},
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "192Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [{"name": "journals", "mountPath": "/journals"}],
        }
        labels = {"app": SVC}
        spread = {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
        }
        pod = {
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "automountServiceAccountToken": False,
            "topologySpreadConstraints": [spread],
            "containers": [container],
            "volumes": [self.cluster.mount_of_journals()],
        }
        spec = {
            "replicas": replicas,
            "serviceName": SVC,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        }
        return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": SVC}, "spec": spec}

    async def pod(self, ordinal: int) -> dict[str, Any]:
        """The pod's body; empty: there is none."""
        return await self.scene.pod(ordinal)

    async def node_of(self, ordinal: int) -> str:
        return str((await self.pod(ordinal))["spec"]["nodeName"])

    async def restarts(self, ordinal: int) -> int:
        """How often its container was restarted."""
        (status,) = (await self.pod(ordinal))["status"]["containerStatuses"]
        return int(status["restartCount"])

    async def ready(self) -> set[int]:
        """The pods that Kubernetes calls Ready."""
        return await self.scene.ready_pods()

    async def all_ready(self, ordinals: Sequence[int]) -> None:
        """By Kubernetes' word, and by the operator's."""
        await eventually(
            self.ready, lambda ready: ready == set(ordinals), f"pods {list(ordinals)} Ready", seconds=PATIENCE_SECONDS
        )
        await self.scene.wait_states(dict.fromkeys(ordinals, READY), seconds=PATIENCE_SECONDS)

    async def order(self, ordinal: int, what: str) -> None:
        """Tell a pod to do something, see `support.room`."""
        reader, writer = await asyncio.open_connection((await self.pod(ordinal))["status"]["podIP"], PORT)
        writer.write(json.dumps({"do": what}).encode() + b"\n")
        assert json.loads(await reader.readline()) == {"did": what}
        writer.close()

    def freeze(self, ordinal: int) -> None:
        """Its process stands still, as all do on a machine that is lost."""
        self.cluster.kill_container(self.namespace, f"{SVC}-{ordinal}", signal.SIGSTOP)
        self._frozen[ordinal] = time.monotonic()

    def wake(self, ordinal: int) -> None:
        """Its process goes on, and does not know that time has passed."""
        name = self._journals(ordinal)[-1].stem
        self.cluster.kill_container(self.namespace, f"{SVC}-{ordinal}", signal.SIGCONT)
        self.sleeps.append(Span(self._frozen.pop(ordinal), time.monotonic(), name))

    # What is so

    async def rounds(self, count: int = 2) -> None:
        """Until each caller has asked for all users so many times more."""
        wanted = [(process, process.noted("round") + count) for process in self.callers]
        for process, rounds in wanted:
            await process.notes("round", rounds)

    async def links(self) -> dict[str, Any]:
        """uid → link, or None."""
        return dict((await self.executor.get_links(self.namespace, UIDS, SVC)).done)

    async def users_of(self, ordinal: int) -> set[str]:
        """Who is linked to the pod."""
        return {uid for uid, link in (await self.links()).items() if link is not None and link.ordinal == ordinal}

    async def nobody_left(self, ordinal: int, seconds: float = PATIENCE_SECONDS) -> None:
        """Until no user is linked to the pod."""
        await eventually(
            lambda: self.users_of(ordinal), lambda users: not users, f"nobody on pod {ordinal}", seconds=seconds
        )

    async def changes(self, ordinal: int) -> list[tuple[str, str, float]]:
        """The pod's states, each with its reason and when it was written, in seconds."""
        store = await self.executor.store()
        found = []
        for stamp, flat in await store.command("XRANGE", self.scene.service.changes, "-", "+"):
            entry = _entry(flat)
            if entry["pod"] == str(ordinal):
                found.append((entry["to"], entry["reason"], _seconds(stamp)))
        return found

    async def reasons(self, ordinal: int) -> list[tuple[str, str]]:
        """The same without the time."""
        return [(state, reason) for state, reason, _ in await self.changes(ordinal)]

    # What was done

    def phase(self, name: str) -> float:
        """From now on this is what goes on; now, by the clock of the histories."""
        now = time.monotonic()
        self._phases.append((name, now))
        return now

    async def history(self) -> History:
        """All that is known so far."""
        history = History()
        for journal in sorted(self.folder.glob("*.jsonl")):
            history.read(journal)
        history.said += await self._moved()
        history.sleeps += self.sleeps
        ends = [began for _, began in self._phases[1:]] + [time.monotonic()]
        history.phases = [Span(began, end, name) for (name, began), end in zip(self._phases, ends, strict=True)]
        return history

    async def lost(self, since: float) -> list[Request]:
        """The requests since then that nobody has served, their callers having tried as often as they do."""
        history = await self.history()
        return [
            request
            for request in history.requests
            if request.began >= since and not (request.hops and request.hops[-1].answer == "served")
        ]

    async def all_answered(self, since: float) -> None:
        """Each request since then was; else what is known of those that were not, and of what pods did meanwhile."""
        if lost := await self.lost(since):
            history = await self.history()
            told = [
                f"{who} {entry['k']} at {entry['at'] - since:.2f}" for who, entry in history.told if entry["k"] in LIFE
            ]
            for request in lost[: promises.SHOWN]:
                hops = [(hop.pod, hop.answer, hop.cached, round(hop.ended - since, 2)) for hop in request.hops]
                told.append(
                    f"{request.caller} {request.uid} {hops} until {request.ended - since:.2f} {request.error or ''}"
                )
            raise AssertionError(f"{len(lost)} requests were not answered:\n" + "\n".join(told))

    async def _moved(self) -> list[Said]:
        """What the operator has moved: it says so some time after it has done so."""
        ahead = time.time() - time.monotonic()
        found = []
        store = await self.executor.store()
        for stamp, flat in await store.command("XRANGE", self.scene.service.moves, "-", "+"):
            entry = _entry(flat)
            at = _seconds(stamp) - ahead
            times = (at - _TOLD_LATER_SECONDS, at + 1.0, "operator", "placed", int(entry["from"]))
            found += [Said(uid, to, epoch, *times) for uid, to, epoch in json.loads(entry["moves"]) if to >= 0]
        return found

    # The end

    async def judge(self) -> None:
        """Stop the callers; every user has one owner, who knows it, and the histories keep the promises."""
        self.phase("settling")
        await self.rounds(2)
        for process in self.callers:
            process.popen.send_signal(signal.SIGTERM)
        for process in self.callers:
            await process.ends(0)
            text = process.text()
            assert "Traceback" not in text, f"{process.role.name}: {text}"
        await eventually(self._wrong_end, lambda found: not found, "everybody has one owner", seconds=PATIENCE_SECONDS)
        history = await self.history()
        print("", promises.summary(history, TIMES), sep="\n")
        found = [
            *promises.fallen_epochs(history),
            *promises.links_nobody_made(history),
            *promises.placements_against_the_view(history, TIMES),
            *promises.wrong_errors(history, TIMES),
            *promises.slow_answers(history, TIMES),
            *promises.unsaved_releases(history),
            *promises.broken_fences(history),
            *promises.stale_serves(history, TIMES),
        ]
        assert not found, promises.shown(found)

    async def _wrong_end(self) -> list[str]:
        ordinals = await self.ready()
        held = {ordinal: self._held(ordinal) for ordinal in ordinals}
        end = promises.End(
            links=await self.links(),
            held=held,
            counts=await self.executor.count_links(self.namespace, SVC),
            word=await self.executor.get_workload_state(self.namespace, SVC),
        )
        return promises.end_breaches(end, UIDS)

    def _held(self, ordinal: int) -> frozenset[str]:
        """What the pod has said last that it holds."""
        with self._journals(ordinal)[-1].open("rb") as lines:
            for line in reversed(lines.readlines()):
                if line.startswith(b'{"k":"holds"') and line.endswith(b"\n"):
                    return frozenset(json.loads(line)["uids"])
        return frozenset()

    def _journals(self, ordinal: int) -> list[Path]:
        """Those of the pod's lives, the present one's last."""
        return sorted(self.folder.glob(f"pod-{ordinal}-*.jsonl"), key=lambda path: path.stat().st_mtime)

    def report(self) -> str:
        """What is to be known when a test has failed."""
        told = []
        for words in (("get", "pods", "-o", "wide"), ("get", "sroute", "-o", "yaml"), ("get", "events")):
            try:
                told.append(self.kubectl(*words, seconds=20))
            except KubectlFailed as error:
                told.append(str(error))
        try:
            told.append(self.release.log())
        except KubectlFailed as error:
            told.append(str(error))
        ended = Counter(process.popen.poll() for process in self.callers)
        return "\n".join([*told, f"callers: {dict(ended)}"])

    def close(self) -> None:
        """End the callers; the namespace goes in the background."""
        for process in self.callers:
            process.popen.kill()
            process.popen.wait(PATIENCE_SECONDS)
        hurry = ("--wait=false", "--ignore-not-found")
        for words in (("sroute", "--all"), ("statefulset", "--all"), ("pod", "--all", "--grace-period=0", "--force")):
            self.kubectl("delete", *words, *hurry)
        self.cluster.kubectl("delete", "namespace", self.namespace, *hurry)


def _entry(flat: Any) -> dict[str, str]:
    pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
    return {name.decode(): value.decode() for name, value in pairs}


def _seconds(stamp: bytes) -> float:
    return int(stamp.partition(b"-")[0]) / 1000


@asynccontextmanager
async def at_work(cluster: Any, release: NodeRelease, replicas: int = 3, apart: str = "") -> AsyncIterator[Rooms]:
    """Rooms with users, asked for by callers all the time; afterwards all settles and is judged.

    ``apart``: the node of the last pod, which the others are not on.
    """
    kube = await TestKube.connect(str(cluster.kubectl.kubeconfig))
    try:
        options = StoreOptions(timeout_seconds=STORE_SECONDS)
        async with StatefulExecutor.from_url(release.outer_url, options) as executor:
            rooms = Rooms(cluster, release, kube, executor)
            try:
                await rooms.start(replicas, apart)
                rooms.phase("quiet")
                yield rooms
                await rooms.judge()
            except BaseException as error:
                error.add_note(rooms.report())
                raise
            finally:
                rooms.close()
    finally:
        await kube.close()
