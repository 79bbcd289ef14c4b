"""A StatefulSet, a StatefulRoute and links in a namespace of their own, and what can happen to them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.kube.client import Kube, KubeError
from stateful_route.kube.objects import GROUP, PLURAL, VERSION
from stateful_route.store.connection import Store
from stateful_route.store.index import count_links
from stateful_route.store.keys import Service
from stateful_route.store.links import set_link_call
from stateful_route.store.states import ServiceView, get_service
from support.waiting import eventually

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

    def __init__(self, kube: TestKube, namespace: str, store: Store, name: str = "rooms") -> None:
        self.kube, self.namespace, self.store, self.name = kube, namespace, store, name
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

    async def make_workload(self, replicas: int = 3, *, start: int = 0, grace_seconds: int = 30) -> None:
        """A StatefulSet whose pods start in parallel; kwok makes them Ready."""
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
        if start:
            spec["ordinals"] = {"start": start}
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
        self, kind: str, status: str, reason: str | None = None, name: str | None = None, seconds: float = 15.0
    ) -> dict[str, Any]:
        return await eventually(
            lambda: self.condition(kind, name),
            lambda c: c.get("status") == status and reason in {None, c.get("reason")},
            f"condition {kind} is {status} ({reason or 'whatever the reason'})",
            seconds=seconds,
        )

    async def events(self) -> list[dict[str, Any]]:
        """The Events on StatefulRoutes in this namespace."""
        items = (await self.kube.get(f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events"))["items"]
        return [e for e in items if (e.get("regarding") or {}).get("kind") == "StatefulRoute"]

    async def wait_event(self, reason: str, seconds: float = 10.0) -> dict[str, Any]:
        found = await eventually(
            self.events, lambda es: any(e["reason"] == reason for e in es), f"an Event {reason}", seconds=seconds
        )
        return next(e for e in found if e["reason"] == reason)

    async def scale(self, replicas: int) -> None:
        await self.kube.merge(f"{self.workload_path}/{self.name}", {"spec": {"replicas": replicas}})

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

    async def hold_pod(self, ordinal: int) -> None:
        """A finalizer of the test keeps a deleted pod Terminating (kwok would end it at once)."""
        await self.kube.merge(self.pod_path(ordinal), {"metadata": {"finalizers": ["test.statefulroute.io/hold"]}})

    async def let_go(self, ordinal: int) -> None:
        await self.kube.merge(self.pod_path(ordinal), {"metadata": {"finalizers": None}})

    async def annotate_pod(self, ordinal: int, name: str, value: str | None) -> None:
        await self.kube.merge(self.pod_path(ordinal), {"metadata": {"annotations": {name: value}}})

    async def set_ready(self, ordinal: int, ready: bool) -> None:
        """As the kubelet would after a probe."""
        body = await self.pod(ordinal)
        conditions = [c for c in body["status"].get("conditions") or () if c["type"] != "Ready"]
        word = "True" if ready else "False"
        conditions.append({"type": "Ready", "status": word, "lastTransitionTime": _now()})
        await self._patch_status(ordinal, {"conditions": conditions})

    async def set_phase(self, ordinal: int, phase: str) -> None:
        await self._patch_status(ordinal, {"phase": phase})

    async def restart_container(self, ordinal: int, *, ready: bool = True) -> None:
        """The container has ended and was started again in place: same pod, one restart more."""
        body = await self.pod(ordinal)
        statuses = body["status"].get("containerStatuses") or [
            {"name": "app", "image": "none", "imageID": "", "restartCount": 0, "state": {"running": {}}}
        ]
        for status in statuses:
            status["restartCount"] += 1
            status["ready"] = ready
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
        indexed = await count_links(self.store, self.service)
        assert indexed == dict(Counter(links.values())), "index and links disagree"
        return links

    async def moved(self) -> dict[str, tuple[int, int]]:
        """uid → (first pod, pod now) of the links that are not where they were made."""
        links = await self.links()
        return {uid: (was, links[uid]) for uid, was in self.linked.items() if links.get(uid) != was}

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

    async def wait_states(self, expected: Expected, seconds: float = 20.0) -> None:
        """Until the given ordinals have the given state (and reason, where one is given)."""

        def holds(seen: Mapping[int, tuple[RoutingState, Reason]]) -> bool:
            return all(
                ordinal in seen and (seen[ordinal] == want if isinstance(want, tuple) else seen[ordinal][0] is want)
                for ordinal, want in expected.items()
            )

        await eventually(self.states, holds, f"states {dict(expected)}", seconds=seconds)

    async def wait_all_ready(self, ordinals: Iterable[int], seconds: float = 30.0) -> None:
        await self.wait_states(dict.fromkeys(ordinals, READY), seconds)

    async def wait_links_off(self, *ordinals: int, seconds: float = 20.0) -> None:
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


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
