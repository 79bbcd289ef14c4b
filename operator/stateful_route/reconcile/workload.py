"""The pods of one workload, as the watch and the periodic LIST tell of them."""

from collections.abc import Iterable

from stateful_route.domain.pod import PodFacts
from stateful_route.domain.workload_ref import WorkloadFacts
from stateful_route.reconcile.roster import Aside

Seen = PodFacts | Aside


class Workload:
    """Merges two sources that are each late in their own way.

    Pods are kept by uid, not by name: the late end of a pod must not take away its successor. Resource versions tell
    whether an event or a LIST is the newer one: either may come late.
    """

    def __init__(self) -> None:
        self.facts: WorkloadFacts | None = None
        """The workload, or None: it does not exist."""
        self.listed = False
        self.current = False
        """The last LIST was answered; while it is not, a pod may be there of which nothing is known."""
        self._listed_version = 0
        self._pods: dict[str, Seen] = {}
        self._ended: set[str] = set()
        """Pods that have ended while a LIST was under way: its answer may still have them."""

    def observe(self, pod: Seen, *, deleted: bool) -> bool:
        """Take in an event; False when it tells nothing new."""
        if deleted:
            self._ended.add(pod.uid)
            return self._pods.pop(pod.uid, None) is not None
        known = self._pods.get(pod.uid)
        if pod.resource_version <= (self._listed_version if known is None else known.resource_version):
            return False
        self._pods[pod.uid] = pod
        return True

    def forget(self, uid: str) -> Seen | None:
        """The pod has nothing to do with the workload any more; as what it was known, None: it was not."""
        return self._pods.pop(uid, None)

    def known(self, uid: str, version: int) -> Seen | None:
        """The facts of the pod at exactly this resource version; None: its body may say something new."""
        pod = self._pods.get(uid)
        return pod if pod is not None and pod.resource_version == version else None

    def begin_listing(self) -> dict[str, int]:
        """A LIST is about to be sent; the uids of the pods that are known, and their versions."""
        self.current = False
        self._ended.clear()
        return {uid: pod.resource_version for uid, pod in self._pods.items()}

    def misses(self, uids: Iterable[str]) -> bool:
        """Whether a pod that is known is none of these: it may be gone, or not have been asked for."""
        return not self._pods.keys() <= set(uids)

    def end_listing(self, pods: Iterable[Seen], version: int) -> list[Seen]:
        """Take in the LIST's answer; the pods of which the watch should have told something newer than we know.

        Args:
            pods: Those that it names.
            version: The list's own resource version: what is older and not in it is over.
        """
        answer = {pod.uid: pod for pod in pods}
        news = []
        for uid, pod in answer.items():
            known = self._pods.get(uid)
            if uid in self._ended or (known is not None and known.resource_version > pod.resource_version):
                continue
            self._pods[uid] = pod  # also at the version that is known: it may be judged by something else than before
            if self.listed and (known is None or known.resource_version < pod.resource_version):
                news.append(pod)
        for uid in self._pods.keys() - answer.keys():
            if self._pods[uid].resource_version <= version:
                del self._pods[uid]
        self.listed = self.current = True
        self._listed_version = version
        return news

    def by_ordinal(self) -> dict[int, PodFacts]:
        """The pod of each ordinal; the successor while both it and the pod before it are known.

        One object has a name at a time: every version of the successor is higher than all versions of the former.
        """
        pods: dict[int, PodFacts] = {}
        routed = (pod for pod in self._pods.values() if isinstance(pod, PodFacts))
        for pod in sorted(routed, key=lambda pod: pod.resource_version):
            pods[pod.ordinal] = pod
        return pods

    def aside(self) -> list[Aside]:
        """The pods that have one of the workload's names, and are not routed."""
        return [pod for pod in self._pods.values() if isinstance(pod, Aside)]
