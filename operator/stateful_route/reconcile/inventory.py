"""What Kubernetes says of a StatefulSet and its pods, read anew; and what the watch should have told of it."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Any

from stateful_route.domain.pod import PodFacts
from stateful_route.kube.client import KubeError
from stateful_route.kube.objects import get_stateful_set
from stateful_route.kube.pods import list_pods, pod_facts, stateful_set_of
from stateful_route.reconcile.environment import Environment
from stateful_route.reconcile.workload import Workload

log = logging.getLogger(__name__)


class Inventory:
    """Reads the pods of one StatefulSet into a `Workload`."""

    def __init__(self, env: Environment, namespace: str, name: str) -> None:
        self._kube, self._watchdog = env.kube, env.watchdog
        self._namespace, self._name = namespace, name
        self.workload = Workload()
        self._awaited: set[str] = set()
        """uids of pods that the watchdog may be waiting for."""
        self.refused: str | None = None
        """What could not be read anew for want of a right; None: all could."""

    def observe(self, body: Mapping[str, Any], container: str | None, *, deleted: bool) -> int | None:
        """Take in an event of one of the pods; its ordinal, None when it tells nothing new.

        ``container``: the routed one.
        """
        pod = pod_facts(body, container)
        if pod is None:
            return None
        self._watchdog.seen(pod.uid, pod.resource_version, deleted=deleted)
        return pod.ordinal if self.workload.observe(pod, deleted=deleted) else None

    async def take(self, container: str | None) -> None:
        """Read the StatefulSet and its pods; when the API server is away, go on with what the watch has told.

        Raises:
            KubeError: they cannot be read, and never could.
        """
        kube, namespace, name = self._kube, self._namespace, self._name
        known = self.workload.facts
        try:
            self.workload.begin_listing()
            selector = known.selector if known else {}
            facts, (bodies, version) = await asyncio.gather(
                get_stateful_set(kube, namespace, name), list_pods(kube, namespace, selector)
            )
            if (anew := facts.selector if facts else {}) != selector:
                bodies, version = await list_pods(kube, namespace, anew)
        except KubeError as error:
            if not self.workload.listed:
                raise
            if not error.forbidden or self.refused != str(error):
                log.warning("API server", extra={"service": f"{namespace}/{name}", "error": str(error)})
            self.refused = str(error) if error.forbidden else self.refused
            return
        self.refused = None
        known = self.workload.facts  # the watch may have told more meanwhile
        if not (facts and known and facts.resource_version < known.resource_version):  # the watch was quicker
            self.workload.facts = facts
        if facts and known and facts.resource_version > known.resource_version:
            self._watchdog.expect(
                facts.uid, f"StatefulSet {facts.name}", facts.resource_version, (namespace, "statefulsets")
            )
        ours = (body for body in bodies if stateful_set_of(body) == name)
        pods = [pod for body in ours if (pod := self._facts_of(body, container))]
        news = {pod.uid: pod for pod in self.workload.end_listing(pods, version)}
        self._expect(news, {pod.uid for pod in pods})

    def close(self) -> None:
        """Nobody waits for news of these pods any more."""
        self._expect({})

    def _facts_of(self, body: Mapping[str, Any], container: str | None) -> PodFacts | None:
        meta = body["metadata"]
        return self.workload.known(meta["uid"], int(meta["resourceVersion"])) or pod_facts(body, container)

    def _expect(self, news: Mapping[str, PodFacts], listed: Collection[str] = ()) -> None:
        """The watch should bring what is news; of pods that are not listed any more it may never tell the end."""
        for uid in self._awaited.difference(listed):
            self._watchdog.forget(uid)
        self._awaited = self._awaited.intersection(listed) | news.keys()
        for uid, pod in news.items():
            self._watchdog.expect(uid, f"Pod {pod.name}", pod.resource_version, (self._namespace, "pods"))
