"""All StatefulRoutes that this operator serves: who hears of which event, and who has what two of them claim."""

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from stateful_route.api.conditions import ConditionType, Reason
from stateful_route.api.statefulroute import InvalidResource, Metadata, StatefulRoute, former_status
from stateful_route.domain.meter import RouteReading
from stateful_route.domain.precedence import Contender, incumbent
from stateful_route.kube.client import KubeError
from stateful_route.kube.membership import workload_names
from stateful_route.kube.objects import (
    FINALIZER,
    Notice,
    list_routes,
    patch_status,
    post_event,
    set_finalizers,
)
from stateful_route.kube.workloads import stateful_set_facts
from stateful_route.reconcile.environment import Environment
from stateful_route.reconcile.reconciler import Reconciler
from stateful_route.reconcile.status import refusal
from stateful_route.store.keys import Service

log = logging.getLogger(__name__)

Body = Mapping[str, Any]
K = TypeVar("K")

RETRY_SECONDS = 2.0
SETTLE_SECONDS = 0.05


class Routes:
    """Keeps a reconciler for each StatefulRoute, and hands it the events of its pods and its StatefulSet."""

    def __init__(self, env: Environment, namespaces: Collection[str]) -> None:
        self._env = env
        self._namespaces = tuple(namespaces)
        self._reconcilers: dict[str, Reconciler] = {}
        self._of_service: defaultdict[Service, dict[str, Reconciler]] = defaultdict(dict)
        """Service → uid → who claims it; in the order in which they came."""
        self._of_name: defaultdict[tuple[str, str], dict[str, Reconciler]] = defaultdict(dict)
        """Namespace and name of a workload → uid → who routes it."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._deleted: set[str] = set()
        self._complete = False
        self._complaints: dict[str | None, str] = {}
        """Namespace (None: all) → why its StatefulRoutes cannot be listed."""
        self._left: dict[str, Body] = {}
        """StatefulRoutes that another release of the operator serves."""
        self._refused: dict[str, tuple[int, bool]] = {}
        """uid → generation of what does not fit and has been told of, and whether it was being deleted."""
        self._unfit: dict[str, RouteReading] = {}
        """uid → what there is to say of one that nobody serves, because it does not fit."""
        self._chores: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        """Of StatefulRoutes that are gone: their last words."""
        self.synced = False
        """The StatefulRoutes have been listed once, and each has been looked at."""
        env.claims.changed = self._reconsider

    @property
    def problem(self) -> str | None:
        """What of all StatefulRoutes cannot be seen, which stores cannot be used, and why; None: all is well."""
        away = self._env.stores.away
        return "; ".join([*self._complaints.values(), *([away] if away else [])]) or None

    @property
    def cut_off(self) -> bool:
        """Whether nothing can be done for any StatefulRoute: none of their stores can be used."""
        return self._env.stores.all_away

    # Events

    def observe_route(self, body: Body, *, deleted: bool) -> None:
        """A StatefulRoute was made, changed or deleted."""
        meta = body["metadata"]
        uid = meta["uid"]
        self._env.watchdog.seen(uid, int(meta["resourceVersion"]), deleted=deleted)
        if deleted:
            self._drop(uid)
        else:
            self._env.claims.observe(body)
            self._take(body)

    def observe_pod(self, body: Body, *, deleted: bool) -> None:
        """A pod event; pods that nobody routes are dropped at once."""
        names = workload_names(body)
        for reconciler in self._of_workload(body["metadata"]["namespace"], names):
            reconciler.observe_pod(body, deleted=deleted)

    def observe_workload(self, body: Body, *, deleted: bool) -> None:
        """A StatefulSet was made, scaled, changed or deleted."""
        meta = body["metadata"]
        self._env.watchdog.seen(meta["uid"], int(meta["resourceVersion"]), deleted=deleted)
        for reconciler in self._of_workload(meta["namespace"], {meta["name"]}):
            if not reconciler.route.workload.built_in:
                continue
            facts = None if deleted else stateful_set_facts(body)
            known = reconciler.workload.facts
            if facts is None or known is None:
                reconciler.workload.facts = facts
                reconciler.wake(full=True)
            elif facts.resource_version > known.resource_version:
                reconciler.workload.facts = facts
                judged_alike = (facts.selector, facts.containers) == (known.selector, known.containers)
                reconciler.wake(full=not judged_alike)

    def readings(self) -> list[RouteReading]:
        """How things are with each StatefulRoute."""
        return [*(reconciler.reading() for reconciler in self._reconcilers.values()), *self._unfit.values()]

    # Its task

    async def run(self) -> None:
        """List the StatefulRoutes now and on a period, and serve them until the API server's data were put back."""
        census_at = probe_at = 0.0
        claiming = asyncio.create_task(self._env.claims.run(), name="claim namespaces")
        pulse = asyncio.create_task(self._env.pulse.run(), name="pulse")
        self._chores |= {claiming, pulse}
        try:
            while not self._env.revisions.put_back.is_set():
                if time.monotonic() >= census_at:
                    listed = await self._listed()
                    census_at = time.monotonic() + (self._env.timing.resync_seconds if listed else RETRY_SECONDS)
                self._settle()
                if time.monotonic() >= probe_at and (written := self._written()) is not None:
                    probe_at = time.monotonic() + self._env.timing.probe_seconds
                    written.probe()
                pause = max(0.0, census_at - time.monotonic()) if self.synced else SETTLE_SECONDS
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._env.revisions.put_back.wait()
        finally:
            for reconciler in self._reconcilers.values():
                reconciler.dismissed = True
            for task in (*self._tasks.values(), *self._chores):
                task.cancel()
            await asyncio.gather(*self._tasks.values(), *self._chores, *self._ending, return_exceptions=True)
            for reconciler in self._reconcilers.values():  # who leads next shows them
                self._env.meter.forget(reconciler.service)

    def _settle(self) -> None:
        self.synced = self.synced or (
            self._complete and all(reconciler.passed for reconciler in self._reconcilers.values())
        )

    async def _listed(self) -> bool:
        """Take the census; False when it failed somewhere. What of it succeeded is served all the same."""
        await self._env.definition.look(self._env.kube)
        await self._env.watches.look(self._env.kube, self._namespaces, time.monotonic())
        self._deleted.clear()
        for namespace in self._namespaces or (None,):
            try:
                await self._census(namespace)
            except KubeError as error:
                self._complain(namespace, error)
            except Exception:
                log.exception("the StatefulRoutes cannot be listed")
                self._complaints[namespace] = "the StatefulRoutes cannot be listed: see the operator's log"
            else:
                self._complaints.pop(namespace, None)
        if not self._complete and (len(self._complaints) < len(self._namespaces) or not self._complaints):
            self._complete = True
            for uid in self._reconcilers:
                self._start(uid)
        return not self._complaints

    async def _census(self, namespace: str | None) -> None:
        """Take in what a LIST shows: StatefulRoutes of which the watch has not told, or not told the end."""
        known = {uid for uid, where in self._places() if namespace in {None, where}}
        listed = {body["metadata"]["uid"]: body for body in await list_routes(self._env.kube, namespace)}
        present = [body for uid, body in listed.items() if uid not in self._deleted]
        self._env.claims.observe_all(present)  # before any is taken up: the oldest one says whose the namespace is
        for body in present:
            self._take(body)
        for uid in known - listed.keys():
            self._drop(uid)

    def _places(self) -> list[tuple[str, str]]:
        """Uid and namespace of each StatefulRoute that is known."""
        served = [(uid, reconciler.service.namespace) for uid, reconciler in self._reconcilers.items()]
        return served + [(uid, body["metadata"]["namespace"]) for uid, body in self._left.items()]

    def _complain(self, namespace: str | None, error: KubeError) -> None:
        """Say once of each failure what to do about it."""
        where = f" of namespace {namespace!r}" if namespace else ""
        what = f"the StatefulRoutes{where} cannot be listed"
        if error.not_found:
            what += ": apply the CRD (kubectl apply -f crds/)"
        elif error.forbidden:
            what += ": grant the operator's ServiceAccount list on statefulroutes.statefulroute.io"
        text = f"{what} ({error})"
        if self._complaints.get(namespace) != text:
            log.warning(what, extra={"error": str(error)})
        self._complaints[namespace] = text

    def _reconsider(self, namespace: str) -> None:
        """Another release of the operator serves the namespace from now on, or does no more, or is set to as well."""
        if self._env.claims.leaves(namespace):
            for uid, reconciler in list(self._reconcilers.items()):
                if reconciler.service.namespace == namespace:
                    reconciler.left = True
                    self._end(uid)
            return
        for uid, body in list(self._left.items()):
            if body["metadata"]["namespace"] == namespace:
                del self._left[uid]
                self._take(body)
        for reconciler in self._reconcilers.values():
            if reconciler.service.namespace == namespace:
                reconciler.wake()  # what it reports may have changed

    def _take(self, body: Body) -> None:
        meta = body["metadata"]
        uid = meta["uid"]
        if self._env.claims.leaves(meta["namespace"]):
            self._left[uid] = body
            self._unfit.pop(uid, None)
            return
        try:
            route = StatefulRoute.parse(body)
        except InvalidResource as error:
            self._refuse(body, error)
            return
        self._unfit.pop(uid, None)
        reconciler = self._reconcilers.get(uid)
        if reconciler is not None:
            if int(route.metadata.resource_version) > int(reconciler.route.metadata.resource_version):
                self._unindex(uid, reconciler)
                reconciler.observe_route(route)
                self._index(uid, reconciler)
            return
        self._reconcilers[uid] = Reconciler(self._env, route, self._rival)
        self._index(uid, self._reconcilers[uid])
        if self._complete:  # before that the one that has the service may not be known yet
            self._start(uid)

    def _index(self, uid: str, reconciler: Reconciler) -> None:
        self._of_service[reconciler.service][uid] = reconciler
        self._of_name[reconciler.service.namespace, reconciler.route.workload_name][uid] = reconciler

    def _unindex(self, uid: str, reconciler: Reconciler) -> None:
        _discard(self._of_service, reconciler.service, uid)
        _discard(self._of_name, (reconciler.service.namespace, reconciler.route.workload_name), uid)

    def _refuse(self, body: Body, error: InvalidResource) -> None:
        """Say once of each generation what does not fit; whoever serves an earlier one goes on with that."""
        meta = body["metadata"]
        uid, generation = meta["uid"], int(meta.get("generation", 1))
        reconciler = self._reconcilers.get(uid)
        if reconciler is None:
            conditions: Mapping[str, bool] = {ConditionType.READY: False, ConditionType.STALLED: True}
            self._unfit[uid] = RouteReading(
                namespace=meta["namespace"], route=meta["name"], service="", workload="", conditions=conditions
            )
        if reconciler is not None and meta.get("deletionTimestamp"):
            metadata = Metadata.model_validate(meta)
            reconciler.observe_route(reconciler.route.model_copy(update={"metadata": metadata}))
        if self._refused.get(uid) == (generation, bool(meta.get("deletionTimestamp"))):
            return
        self._refused[uid] = (generation, bool(meta.get("deletionTimestamp")))
        log.error("StatefulRoute ignored", extra={"error": str(error)})
        if reconciler is None:
            task = asyncio.create_task(self._tell(body, str(error)), name=f"refuse {meta['namespace']}/{meta['name']}")
            self._chores.add(task)
            task.add_done_callback(self._chores.discard)

    async def _tell(self, body: Body, why: str) -> None:
        meta, kube = body["metadata"], self._env.kube
        try:
            if meta.get("deletionTimestamp"):
                service = (body.get("spec") or {}).get("serviceName") or meta["name"]
                keys = f"sf:{{{meta['namespace']}:state:{service}}}*"
                note = f"{why}; it was deleted without a look at the store, where these keys may be left: {keys}"
                await post_event(kube, meta, Notice("Warning", "CleanupIncomplete", note))
                finalizers = [name for name in meta.get("finalizers") or () if name != FINALIZER]
                await set_finalizers(kube, meta["namespace"], meta["name"], finalizers, meta["resourceVersion"])
                return
            status = refusal(former_status(body), int(meta.get("generation", 1)), why, datetime.now(UTC))
            await patch_status(kube, meta["namespace"], meta["name"], status.body())
            await post_event(kube, meta, Notice("Warning", Reason.INVALID_RESOURCE, why))
        except KubeError as error:
            log.warning("status not written", extra={"error": str(error)})
            self._refused.pop(meta["uid"], None)  # the next census tries again

    def _start(self, uid: str) -> None:
        reconciler = self._reconcilers[uid]
        name = f"{reconciler.route.metadata.namespace}/{reconciler.route.metadata.name}"
        self._tasks[uid] = asyncio.create_task(reconciler.run(), name=f"reconcile {name}")
        log.info("StatefulRoute taken up", extra={"route": name})

    def _drop(self, uid: str) -> None:
        self._deleted.add(uid)
        self._refused.pop(uid, None)
        self._unfit.pop(uid, None)
        self._left.pop(uid, None)
        self._end(uid)
        self._env.claims.forget(uid)

    def _end(self, uid: str) -> None:
        self._env.watchdog.forget(uid)
        reconciler = self._reconcilers.pop(uid, None)
        if reconciler is None:
            return
        self._unindex(uid, reconciler)
        if (task := self._tasks.pop(uid, None)) is not None:
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            task.add_done_callback(lambda _: self._forget(reconciler.service))  # until then it may tell something
            reconciler.dismissed = True
            if not reconciler.ended:
                task.cancel()
        for other in self._of_service.get(reconciler.service, {}).values():
            other.wake(full=True)

    def _forget(self, service: Service) -> None:
        """Show nothing more of it, unless another StatefulRoute has it."""
        if service not in self._of_service:
            self._env.meter.forget(service)

    def _rival(self, route: StatefulRoute, owner: str) -> StatefulRoute | None:
        """The other StatefulRoute that has the service of this one, or None.

        One that names another store does not, unless ``owner`` says that it is the same store.
        """
        owning = owner.rpartition("/")[2]
        rivals = self._of_service.get(Service(route.metadata.namespace, route.service_name), {})
        contenders = {
            uid: other for uid, other in rivals.items() if other.route.spec.redis == route.spec.redis or uid == owning
        }
        first = incumbent((Contender(uid, other.serves) for uid, other in contenders.items()), owning)
        return None if first in {"", route.metadata.uid} else contenders[first].route

    def _of_workload(self, namespace: str, names: Collection[str]) -> list[Reconciler]:
        return [one for name in names for one in self._of_name.get((namespace, name), {}).values()]

    def _written(self) -> Reconciler | None:
        """The one into whose status something is written for the watch to bring: the same as ever, if it is there."""
        return min(self._reconcilers.values(), key=_never_written, default=None)


def _discard(index: dict[K, dict[str, Reconciler]], key: K, uid: str) -> None:
    index[key].pop(uid, None)
    if not index[key]:
        del index[key]


def _never_written(reconciler: Reconciler) -> tuple[bool, str]:
    return reconciler.route.status.last_probe_time is None, reconciler.route.metadata.uid
