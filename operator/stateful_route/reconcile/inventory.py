"""What Kubernetes says of a workload and its pods, read anew; and what the watch should have told of it."""

import asyncio
import logging
import math
from collections.abc import Collection, Mapping
from typing import Any

from stateful_route.api.conditions import Reason
from stateful_route.domain.selector import Selector
from stateful_route.domain.workload_ref import WorkloadFacts, WorkloadRef
from stateful_route.kube.client import KubeError
from stateful_route.kube.server_clock import steady
from stateful_route.kube.workloads import UnsupportedWorkload
from stateful_route.reconcile.environment import Environment
from stateful_route.reconcile.problem import Problem
from stateful_route.reconcile.roster import Criteria, classify
from stateful_route.reconcile.workload import Seen, Workload

EVERYTHING = Selector()

log = logging.getLogger(__name__)


class Inventory:
    """Reads the pods of one workload into a `Workload`."""

    def __init__(self, env: Environment, namespace: str) -> None:
        self._listings, self._watchdog, self._revisions = env.listings, env.watchdog, env.revisions
        self._pulse = env.pulse
        self._namespace = namespace
        self._read_at = -math.inf
        """When the last reading that was answered began, by `steady`."""
        self.workload = Workload()
        self._criteria: Criteria | None = None
        """By which the pods that are known have been judged at the last LIST; None: there has been none."""
        self._awaited: set[str] = set()
        """uids of pods that the watchdog may be waiting for."""
        self.refused: str | None = None
        """What could not be read anew for want of a right; None: all could."""

    def observe(
        self, body: Mapping[str, Any], ref: WorkloadRef, container: str | None, *, deleted: bool
    ) -> Seen | None:
        """Take in an event of a pod that may be one of the workload; the pod, None when it tells nothing new.

        ``container``: ``health.container``.
        """
        meta = body["metadata"]
        uid, version = str(meta["uid"]), int(meta["resourceVersion"])
        self._watchdog.seen(uid, version, deleted=deleted)
        pod = classify(body, self._judging(ref, container))
        if pod is None:
            return self.workload.forget(uid)
        return pod if self.workload.observe(pod, deleted=deleted) else None

    @property
    def current(self) -> bool:
        """Nothing that the pods did during a standstill of this process has been missed."""
        return self._read_at >= self._pulse.went_on_at

    async def take(self, ref: WorkloadRef, container: str | None) -> None:
        """Read the workload and its pods; when the API server is away, go on with what the watch has told.

        Raises:
            KubeError: they cannot be read, and never could, or not since this process stood still.
            Problem: what is named cannot be routed.
        """
        if self._criteria is not None and self._criteria.ref != ref:
            self.workload.facts = self._criteria = None  # what is known is said of another object
        began = steady()
        before, latest, former = self.workload.begin_listing(), self._revisions.latest, self.workload.facts
        try:
            facts, bodies, version = await self._read(ref)
        except UnsupportedWorkload as error:
            raise Problem(Reason.UNSUPPORTED_WORKLOAD, f"{ref} cannot be routed: {error}") from error
        except KubeError as error:
            if not self.workload.listed or not self.current:
                if error.forbidden and not ref.built_in:
                    advice = "list its group and resource in the chart's value workloads"
                    raise Problem(Reason.MISSING_PERMISSION, f"{error}: {advice}") from error
                raise
            if not error.forbidden or self.refused != str(error):
                name = f"{self._namespace}/{ref.name}"
                log.warning("API server", extra={"service": name, "error": str(error)})
            self.refused = str(error) if error.forbidden else self.refused
            return
        self.refused, self._read_at = None, began
        known = self.workload.facts  # the watch may have told more meanwhile
        if not (facts and known and facts.resource_version < known.resource_version):  # the watch was quicker
            self.workload.facts = facts
        if ref.built_in and facts and known and facts.resource_version > known.resource_version:
            self._watchdog.expect(
                facts.uid, f"StatefulSet {facts.name}", facts.resource_version, (self._namespace, "statefulsets")
            )
        pods = self._classified(bodies, self._judging(ref, container))
        pairs = [(pod.resource_version, before.get(pod.uid, 0)) for pod in pods]
        pairs += [(facts.resource_version, former.resource_version)] if facts and former else []
        for answered, known_before in ((version, latest), *pairs):
            self._revisions.compare(answered, known_before)
        self._revisions.seen(version)
        news = {pod.uid: pod for pod in self.workload.end_listing(pods, version)}
        self._expect(news, {pod.uid for pod in pods})

    async def _read(self, ref: WorkloadRef) -> tuple[WorkloadFacts | None, list[Mapping[str, Any]], int]:
        """The workload (None: there is none), the bodies of all pods that may be its own, and how new their list is.

        Those that its selector selects are asked for, as others may be many; all of them, where a pod that is known is
        not among these: its labels may have changed, which is no end of it.
        """
        listings, namespace, known = self._listings, self._namespace, self.workload.facts
        selector = known.selector if known and self.workload.listed else EVERYTHING  # at first nobody is known
        facts, pods = await asyncio.gather(
            listings.workload(namespace, ref), listings.pods(namespace, ref.name, selector)
        )
        as_asked = facts is not None and facts.selector == selector
        if not pods.complete and (
            not as_asked or self.workload.misses(str(body["metadata"]["uid"]) for body in pods.bodies)
        ):
            pods = await listings.pods(namespace, ref.name, EVERYTHING)
        return facts, pods.bodies, pods.version

    def _judging(self, ref: WorkloadRef, container: str | None) -> Criteria:
        """What pods are judged by now."""
        template = self._criteria.template if self._criteria else ()
        return Criteria(ref, container, template=template).of(self.workload.facts)

    def _classified(self, bodies: Collection[Mapping[str, Any]], criteria: Criteria) -> list[Seen]:
        """The pods that are anything to the workload; those that were judged by the same need not be judged again."""
        same, self._criteria = criteria == self._criteria, criteria
        pods = []
        for body in bodies:
            meta = body["metadata"]
            known = self.workload.known(str(meta["uid"]), int(meta["resourceVersion"])) if same else None
            if (pod := known or classify(body, criteria)) is not None:
                pods.append(pod)
        return pods

    def close(self) -> None:
        """Nobody waits for news of these pods any more."""
        self._expect({})

    def _expect(self, news: Mapping[str, Seen], listed: Collection[str] = ()) -> None:
        """The watch should bring what is news; of pods that are not listed any more it may never tell the end."""
        for uid in self._awaited.difference(listed):
            self._watchdog.forget(uid)
        self._awaited = self._awaited.intersection(listed) | news.keys()
        for uid, pod in news.items():
            self._watchdog.expect(uid, f"Pod {pod.name}", pod.resource_version, (self._namespace, "pods"))
