"""A StatefulSet, a StatefulRoute and links in a namespace of their own, and what can happen to them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.kube.client import Kube, KubeError
from stateful_route.kube.objects import GROUP, PLURAL, VERSION
from stateful_route.store.connection import Store
from stateful_route.store.counts import doubt, kept_counts
from stateful_route.store.index import count_entries, count_links
from stateful_route.store.keys import Service
from stateful_route.store.links import set_link_call
from stateful_route.store.scripts import Call, script
from stateful_route.store.states import ServiceView, get_service
from support.rights import Access, allow_secret
from support.waiting import PATIENCE_SECONDS, eventually

READY, DENY, SHUTDOWN = RoutingState.READY, RoutingState.DENY_NEW_CALL, RoutingState.SHUTDOWN
Expected = Mapping[int, RoutingState | tuple[RoutingState, Reason]]


class TestKube(Kube):
    """The client, with what only tests do."""

    __test__ = False

    async def delete(self, path: str, **query: str | int) -> None:
        try:
            await self._request("DELETE", path, query)
        except KubeError as error:
            if not error.not_found:
                raise


class Scene:
    """One namespace; the workload is called ``rooms`` unless said otherwise."""

    def __init__(
        self, kube: TestKube, namespace: str, store: Store, name: str = "rooms", access: Access | None = None
    ) -> None:
        self.kube, self.namespace, self.store, self.name, self.access = kube, namespace, store, name, access
        self.service = Service(namespace, name)
        self.linked: dict[str, int] = {}
        """uid → pod index as first linked, of all uids that `link` has linked."""

    # Kubernetes

    @property
    def pods_path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"

    @property
    def workload_path(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/statefulsets"

    @property
    def routes_path(self) -> str:
        return f"/apis/{GROUP}/{VERSION}/namespaces/{self.namespace}/{PLURAL}"

    async def make_workload(
        self,
        replicas: int = 3,
        *,
        start: int = 0,
        grace_seconds: int = 30,
        by_hand: bool = False,
        on_delete: bool = False,
    ) -> None:
        """A StatefulSet whose pods start in parallel; kwok makes them Ready.

        ``by_hand``: the pods are on a node that no kubelet serves and kwok does not know, so nothing happens to them
        but what the test does; a deleted one stays Terminating, as on a node that is lost. The garbage collector takes
        such pods for orphans after 40 s. See `run_pods`, `end_pod`.

        ``on_delete``: pods that were there before stay as they are.
        """
        labels = {"app": self.name}
        spec: dict[str, Any] = {
            "replicas": replicas,
            "serviceName": self.name,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": grace_seconds,
                    "containers": [{"name": "app", "image": "none"}],
                },
            },
        }
        if on_delete:
            spec["updateStrategy"] = {"type": "OnDelete"}
        if start:
            spec["ordinals"] = {"start": start}
        if by_hand:
            spec["template"]["spec"]["nodeName"] = f"by-hand-{self.namespace}"
        body = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": self.name}, "spec": spec}
        await self.kube.create(self.workload_path, body)

    async def make_route(self, spec: Mapping[str, Any] | None = None, name: str | None = None) -> str:
        """A StatefulRoute; its uid."""
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "StatefulRoute",
            "metadata": {"name": name or self.name},
            "spec": dict(spec or {}),
        }
        return str((await self.kube.create(self.routes_path, body))["metadata"]["uid"])

    async def change_route(self, spec: Mapping[str, Any], name: str | None = None) -> None:
        await self.kube.merge(f"{self.routes_path}/{name or self.name}", {"spec": spec})

    async def delete_route(self, name: str | None = None) -> None:
        await self.kube.delete(f"{self.routes_path}/{name or self.name}")

    async def route(self, name: str | None = None) -> dict[str, Any]:
        """The StatefulRoute's body; empty when it is gone."""
        try:
            return await self.kube.get(f"{self.routes_path}/{name or self.name}")
        except KubeError as error:
            if error.not_found:
                return {}
            raise

    async def condition(self, kind: str, name: str | None = None) -> dict[str, Any]:
        """One condition of the StatefulRoute; empty when there is none yet."""
        conditions = ((await self.route(name)).get("status") or {}).get("conditions") or ()
        return next((c for c in conditions if c["type"] == kind), {})

    async def wait_condition(
        self,
        kind: str,
        status: str,
        reason: str | None = None,
        name: str | None = None,
        seconds: float = PATIENCE_SECONDS,
    ) -> dict[str, Any]:
        return await eventually(
            lambda: self.condition(kind, name),
            lambda c: c.get("status") == status and reason in {None, c.get("reason")},
            f"condition {kind} is {status} ({reason or 'whatever the reason'})",
            seconds=seconds,
        )

    async def make_secret(self, name: str, values: Mapping[str, str]) -> None:
        """A Secret that the scene's operator may read."""
        await self.let_read_secret(name)
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": dict(values)}
        await self.kube.create(self.secrets_path, body)

    async def let_read_secret(self, name: str) -> None:
        """As the owner of the namespace does, whether there is such a Secret or not."""
        if self.access is not None:
            await allow_secret(self.kube, self.access.account, self.namespace, name)

    async def change_secret(self, name: str, values: Mapping[str, str]) -> None:
        await self.kube.merge(f"{self.secrets_path}/{name}", {"stringData": dict(values)})

    async def delete_secret(self, name: str) -> None:
        await self.kube.delete(f"{self.secrets_path}/{name}")

    @property
    def secrets_path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/secrets"

    async def status(self, name: str | None = None) -> dict[str, Any]:
        """The StatefulRoute's status; empty when there is none yet."""
        return (await self.route(name)).get("status") or {}

    async def wait_status(
        self, holds: Callable[[dict[str, Any]], bool], name: str | None = None, seconds: float = PATIENCE_SECONDS
    ) -> dict[str, Any]:
        """The status as soon as ``holds`` says so of it; a field that is missing holds nothing."""

        def safely(status: dict[str, Any]) -> bool:
            try:
                return holds(status)
            except KeyError:
                return False

        return await eventually(lambda: self.status(name), safely, "the status is as it should be", seconds=seconds)

    async def events(self) -> list[dict[str, Any]]:
        """The Events on StatefulRoutes in this namespace."""
        items = (await self.kube.get(f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events"))["items"]
        return [e for e in items if (e.get("regarding") or {}).get("kind") == "StatefulRoute"]

    async def wait_event(self, reason: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        found = await eventually(
            self.events, lambda es: any(e["reason"] == reason for e in es), f"an Event {reason}", seconds=seconds
        )
        return next(e for e in found if e["reason"] == reason)

    async def scale(self, replicas: int) -> None:
        await self.kube.merge(f"{self.workload_path}/{self.name}", {"spec": {"replicas": replicas}})

    async def change_template(self, pod_spec: Mapping[str, Any]) -> None:
        """Change the pods' spec for those that are made from now on."""
        spec = {"template": {"spec": pod_spec}, "updateStrategy": {"type": "OnDelete", "rollingUpdate": None}}
        await self.kube.merge(f"{self.workload_path}/{self.name}", {"spec": spec})

    async def make_node(self) -> str:
        """A node of this test, Ready; its name. The test deletes it."""
        name = f"node-{self.namespace}"
        await self.kube.create("/api/v1/nodes", {"metadata": {"name": name}, "spec": {"unschedulable": True}})
        await eventually(lambda: self._node_ready(name), lambda word: word == "True", "kwok makes the node Ready")
        return name

    async def set_node_unknown(self, name: str) -> None:
        """As the node controller does when a node has been silent for too long."""
        path = f"/api/v1/nodes/{name}"
        others = [c for c in (await self.kube.get(path))["status"]["conditions"] if c["type"] != "Ready"]
        unknown = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}
        await self.kube.merge(f"{path}/status", {"status": {"conditions": [*others, unknown]}})

    async def _node_ready(self, name: str) -> str | None:
        conditions = (await self.kube.get(f"/api/v1/nodes/{name}"))["status"].get("conditions") or ()
        return next((c["status"] for c in conditions if c["type"] == "Ready"), None)

    def pod_path(self, ordinal: int) -> str:
        return f"{self.pods_path}/{self.name}-{ordinal}"

    async def pod(self, ordinal: int) -> dict[str, Any]:
        """The pod's body; empty when there is none."""
        try:
            return await self.kube.get(self.pod_path(ordinal))
        except KubeError as error:
            if error.not_found:
                return {}
            raise

    async def delete_pod(self, ordinal: int, grace_seconds: int | None = None) -> None:
        """Delete a pod; 0 seconds of grace is ``--force``."""
        query = {} if grace_seconds is None else {"gracePeriodSeconds": grace_seconds}
        await self.kube.delete(self.pod_path(ordinal), **query)

    async def pod_uid(self, ordinal: int) -> str:
        return str((await self.pod(ordinal))["metadata"]["uid"])

    async def wait_successor(self, ordinal: int, former_uid: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Until another pod has taken the name and is Ready, as the API server says; its uid."""

        def holds(body: dict[str, Any]) -> bool:
            conditions = (body.get("status") or {}).get("conditions") or ()
            ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
            return ready and bool(body["metadata"]["uid"] != former_uid)

        what = f"a successor of pod {ordinal} is Ready"
        return str((await eventually(lambda: self.pod(ordinal), holds, what, seconds=seconds))["metadata"]["uid"])

    async def run_pods(self, ordinals: Iterable[int]) -> None:
        """As a kubelet would: the pods, as soon as they exist, are Running and Ready (`make_workload` ``by_hand``)."""
        for ordinal in ordinals:
            await eventually(lambda o=ordinal: self.pod(o), bool, f"pod {ordinal} exists")  # type: ignore[misc]
            started = {"name": "app", "image": "none", "imageID": "", "ready": True, "restartCount": 0}
            statuses = [{**started, "state": {"running": {"startedAt": _stamp()}}}]
            await self._patch_status(ordinal, {"phase": "Running", "containerStatuses": statuses})
            await self.set_ready(ordinal, ready=True)

    async def end_pod(self, ordinal: int) -> None:
        """As a kubelet would: the Terminating pod has stopped and leaves the API."""
        await self.delete_pod(ordinal, grace_seconds=0)

    async def end_containers(self, ordinal: int) -> None:
        """All containers have ended; the pod itself is still there."""
        ended = {"exitCode": 0, "startedAt": _stamp(), "finishedAt": _stamp()}
        statuses = (await self.pod(ordinal))["status"]["containerStatuses"]
        for status in statuses:
            status["state"], status["ready"] = {"terminated": ended}, False
        await self._patch_status(ordinal, {"containerStatuses": statuses})

    async def hold_pod(self, ordinal: int) -> None:
        """A finalizer of the test keeps a deleted pod, or one that has failed.

        kwok still ends its grace period at once; a pod that is to stay Terminating is one ``by_hand``.
        """
        await self.kube.merge(self.pod_path(ordinal), {"metadata": {"finalizers": ["test.statefulroute.io/hold"]}})

    async def let_go(self, ordinal: int) -> None:
        await self.kube.merge(self.pod_path(ordinal), {"metadata": {"finalizers": None}})

    async def ready_pods(self) -> set[int]:
        """The ordinals whose pods Kubernetes calls Ready."""
        items = (await self.kube.get(self.pods_path))["items"]
        return {
            int(pod["metadata"]["name"].rpartition("-")[2])
            for pod in items
            for condition in pod["status"].get("conditions") or ()
            if condition["type"] == "Ready" and condition["status"] == "True"
        }

    async def annotate_pod(self, ordinal: int, name: str, value: str | None) -> None:
        await self.kube.merge(self.pod_path(ordinal), {"metadata": {"annotations": {name: value}}})

    async def set_ready(self, ordinal: int, ready: bool, since: datetime | None = None) -> None:
        """As the kubelet would after a probe; ``since``: a while ago, the report was late."""
        body = await self.pod(ordinal)
        conditions = [c for c in body["status"].get("conditions") or () if c["type"] != "Ready"]
        word = "True" if ready else "False"
        conditions.append({"type": "Ready", "status": word, "lastTransitionTime": _stamp(since)})
        await self._patch_status(ordinal, {"conditions": conditions})

    async def set_unready_at_once(self, *ordinals: int) -> None:
        """Several pods in the same second, told a moment later: a network or a probe has broken."""
        since = datetime.now(UTC) - timedelta(seconds=1)
        await asyncio.gather(*(self.set_ready(ordinal, ready=False, since=since) for ordinal in ordinals))

    async def set_phase(self, ordinal: int, phase: str) -> None:
        await self._patch_status(ordinal, {"phase": phase})

    async def set_ip(self, ordinal: int, address: str) -> None:
        """The pod has this IP address, as its kubelet says."""
        await self._patch_status(ordinal, {"podIP": address, "podIPs": [{"ip": address}]})

    async def restart_container(self, ordinal: int, *, ready: bool = True, started: datetime | None = None) -> None:
        """The container has ended and was started again in place: same pod, one restart more.

        ``started``: when, by the kubelet's clock; None: it says what it said before.
        """
        body = await self.pod(ordinal)
        statuses = body["status"].get("containerStatuses") or [
            {"name": "app", "image": "none", "imageID": "", "restartCount": 0, "state": {"running": {}}}
        ]
        for status in statuses:
            status["restartCount"] += 1
            status["ready"] = ready
            if started is not None:
                status["state"] = {"running": {"startedAt": _stamp(started)}}
        await self._patch_status(ordinal, {"containerStatuses": statuses})

    async def set_container(self, ordinal: int, container_id: str) -> None:
        """Its container has this id, and has not been restarted."""
        statuses = (await self.pod(ordinal))["status"]["containerStatuses"]
        for status in statuses:
            status["containerID"] = container_id
        await self._patch_status(ordinal, {"containerStatuses": statuses})

    async def _patch_status(self, ordinal: int, status: Mapping[str, Any]) -> None:
        await self.kube.merge(f"{self.pod_path(ordinal)}/status", {"status": status})

    # Redis

    async def link(self, count: int, pods: Iterable[int], prefix: str = "user", seconds: int = -1) -> None:
        """Link that many uids, evenly over the pods."""
        ordinals = list(pods)
        uids = [(f"{prefix}-{n}", ordinals[n % len(ordinals)]) for n in range(count)]
        for start in range(0, count, 1000):
            calls = [set_link_call(self.service, uid, pod, seconds) for uid, pod in uids[start : start + 1000]]
            replies = await self.store.run_many(calls)
            assert not [reply for reply in replies if isinstance(reply, Exception)]
        await doubt(self.store, self.service)
        self.linked.update(uids)

    async def links(self) -> dict[str, int]:
        """uid → pod index as the link keys themselves say; the index is not asked."""
        head, tail = f"sf:{{{self.namespace}:lk:", f"}}{self.name}"
        keys = [key async for key in self.store.scan(f"{head}*{tail}", 5000)]
        values = await self.store.pipeline([("GET", key) for key in keys])
        return {
            key.decode()[len(head) : -len(tail)]: int(value)
            for key, value in zip(keys, values, strict=True)
            if value is not None and value.isdigit()
        }

    async def placed(self) -> Counter[int]:
        """How many links each pod has, by the link keys."""
        return Counter((await self.links()).values())

    async def check_links(self, on: Iterable[int] | None = None) -> dict[str, int]:
        """No link is lost, none is on a pod outside ``on``, and the index says the same as the links."""
        links = await self.links()
        lost = self.linked.keys() - links.keys()
        assert not lost, f"{len(lost)} links are lost, e.g. {sorted(lost)[:3]}"
        if on is not None:
            allowed = set(on)
            stray = {uid: pod for uid, pod in links.items() if pod not in allowed}
            assert not stray, f"{len(stray)} links are on other pods than {allowed}: {Counter(stray.values())}"
        indexed = await count_entries(self.store, self.service)
        assert indexed == dict(Counter(links.values())), "index and links disagree"
        if not self.store.cluster:
            assert await kept_counts(self.store, self.service) in (None, indexed), "the counts and the index disagree"
        return links

    async def epochs(self) -> dict[str, int]:
        """uid → epoch, of all uids that `link` has linked."""
        uids, found = sorted(self.linked), dict[str, int]()
        for start in range(0, len(uids), 1000):
            part = uids[start : start + 1000]
            keys = [self.service.uid_keys(uid) for uid in part]
            calls = [
                Call(script("statefulGetLink"), (link, index), (uid,))
                for uid, (link, _, index) in zip(part, keys, strict=True)
            ]
            replies = await self.store.run_many(calls)
            found |= {uid: epoch for uid, (pod, epoch) in zip(part, replies, strict=True) if pod >= 0}
        return found

    async def moved(self) -> dict[str, tuple[int, int]]:
        """uid → (first pod, pod now) of the links that are not where they were made."""
        links = await self.links()
        return {uid: (was, links[uid]) for uid, was in self.linked.items() if links.get(uid) != was}

    async def keys(self, pattern: str) -> set[str]:
        """The keys that match a glob pattern; an asterisk in a name stands for itself only by chance."""
        return {key.decode() async for key in self.store.scan(pattern, 5000)}

    async def existing(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys that are there."""
        listed = sorted(keys)
        replies = await self.store.pipeline([("EXISTS", key) for key in listed])
        return {key for key, there in zip(listed, replies, strict=True) if there}

    async def dump(self) -> dict[str, bytes]:
        """Each key of this service as Redis would save it: states, records, links and index, byte by byte."""
        states = await self.keys(f"{self.service.states}*")
        links = await self.keys(f"sf:{{{self.namespace}:lk:*}}{self.name}")
        index = await self.keys(f"sf:{{*}}ix:{self.namespace}:{self.name}")
        names = sorted(states | links | index)
        values = await self.store.pipeline([("DUMP", key) for key in names])
        return dict(zip(names, values, strict=True))

    async def dump_namespace(self) -> dict[str, bytes]:
        """The same of all services in this namespace, with the hashes that tell all links of a uid."""
        own = await self.keys(f"sf:{{{self.namespace}:*")
        index = await self.keys(f"sf:{{*}}ix:{self.namespace}:*")
        names = sorted(own | index)
        values = await self.store.pipeline([("DUMP", key) for key in names])
        return dict(zip(names, values, strict=True))

    async def counts(self) -> dict[int, int]:
        """How many links each pod has, by the index: quicker than `placed`."""
        return await count_links(self.store, self.service)

    async def owner(self) -> str | None:
        """uid of the StatefulRoute that owns the service."""
        owner = (await self.view()).owner
        return owner and owner.rpartition("/")[2]

    async def raw_states(self) -> dict[str, str]:
        """Pod index → state record in the main hash, as a foreign client reads it."""
        return _fields(await self.store.command("HGETALL", self.service.states))

    async def config(self) -> dict[str, str]:
        """What callers are told of the spec."""
        return _fields(await self.store.command("HGETALL", self.service.config))

    async def moved_off(self) -> dict[int, int]:
        """How many of the links made on each pod are elsewhere now; pods that have kept theirs are missing."""
        return dict(Counter(was for was, _ in (await self.moved()).values()))

    async def view(self) -> ServiceView:
        return await get_service(self.store, self.service)

    async def records(self) -> dict[int, OperatorRecord]:
        return {ordinal: pod.record for ordinal, pod in (await self.view()).pods.items() if pod.record is not None}

    async def states(self) -> dict[int, tuple[RoutingState, Reason]]:
        """Pod index → the effective state in the main hash, and the operator's reason."""
        pods = (await self.view()).pods
        return {
            ordinal: (pod.state.routing_state, pod.record.reason)
            for ordinal, pod in pods.items()
            if pod.state is not None and pod.record is not None
        }

    async def history(self, ordinal: int) -> list[str]:
        """The effective states that a pod has had, oldest first; "" where it was forgotten."""
        return [change["to"] for change in await self.changes() if change["pod"] == str(ordinal)]

    async def wait_resyncs(self, count: int = 1) -> None:
        """Until that many full passes have gone by: each writes the operator's own entries anew."""
        for _ in range(count):
            latest = max(await self._refreshed())
            await eventually(self._refreshed, lambda times, was=latest: min(times) > was, "a full pass")  # type: ignore[misc]

    async def wait_resyncs_of(self, ordinal: int, count: int) -> None:
        """The same, by the entry of one pod that no app writes."""

        async def refreshed() -> int:
            state = (await self.view()).pods[ordinal].state
            return state.update_time if state else 0

        for _ in range(count):
            latest = await refreshed()
            await eventually(refreshed, lambda time, was=latest: time > was, "a full pass")  # type: ignore[misc]

    async def _refreshed(self) -> list[int]:
        return [pod.state.update_time for pod in (await self.view()).pods.values() if pod.state is not None]

    async def wait_states(self, expected: Expected, seconds: float = PATIENCE_SECONDS) -> None:
        """Until the given ordinals have the given state (and reason, where one is given)."""

        def holds(seen: Mapping[int, tuple[RoutingState, Reason]]) -> bool:
            return all(
                ordinal in seen and (seen[ordinal] == want if isinstance(want, tuple) else seen[ordinal][0] is want)
                for ordinal, want in expected.items()
            )

        await eventually(self.states, holds, f"states {dict(expected)}", seconds=seconds)

    async def wait_taken_over(self, ordinal: int, restarts: int = 0) -> None:
        """Until the operator calls the pod's present life READY, and the links of the one before are dealt with."""

        async def look() -> tuple[object, ...]:
            record = (await self.records())[ordinal]
            return f"{await self.pod_uid(ordinal)}/{restarts}", str(record.incarnation), record.state, record.loss

        await eventually(look, lambda seen: seen[1:] == (seen[0], READY, None), "the successor is taken over")

    async def wait_all_ready(self, ordinals: Iterable[int], seconds: float = PATIENCE_SECONDS) -> None:
        await self.wait_states(dict.fromkeys(ordinals, READY), seconds)

    async def wait_links_off(self, *ordinals: int, seconds: float = PATIENCE_SECONDS) -> None:
        """Until no link names one of these pods."""
        await eventually(
            self.placed,
            lambda placed: not any(placed.get(ordinal) for ordinal in ordinals),
            f"no link on {ordinals}",
            seconds=seconds,
        )

    async def changes(self) -> list[dict[str, str]]:
        """The stream of effective state changes, oldest first."""
        entries = await self.store.command("XRANGE", self.service.changes, "-", "+")
        return [_fields(fields) for _, fields in entries]

    async def moves(self) -> list[dict[str, str]]:
        """The stream of moved links, oldest first."""
        entries = await self.store.command("XRANGE", self.service.moves, "-", "+")
        return [_fields(fields) for _, fields in entries]


def _fields(flat: Any) -> dict[str, str]:
    pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
    return {name.decode(): value.decode() for name, value in pairs}


def _stamp(at: datetime | None = None) -> str:
    return (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
