"""Whether the API server lets the operator watch what it has to: nothing tells of a watch that is refused."""

import logging
from collections.abc import Collection

from stateful_route.kube.client import Kube, KubeError
from stateful_route.kube.objects import GROUP, PLURAL
from stateful_route.reconcile.watchdog import Place, Watchdog

log = logging.getLogger(__name__)

GRANT = (
    "give the operator's ServiceAccount its rights back (they are in the chart's Roles; `stateful-route doctor "
    "--operator` in its pod lists those that are missing)"
)

WATCHED = ((GROUP, PLURAL), ("apps", "statefulsets"), ("", "pods"))

LATE_SECONDS = 15.0
"""A watch that is so late may be one that is refused."""

LOOK_SECONDS = 300.0


class Watches:
    """Which watches are refused; it asks by SelfSubjectAccessReview, as everybody may."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self._refused: frozenset[Place] = frozenset()
        self._next = 0.0

    def refused(self, namespace: str) -> str | None:
        """What of a namespace may not be watched, in words; None: all may be."""
        names = sorted(resource for where, resource in self._refused if where in {None, namespace})
        if not names:
            return None
        what = ", ".join(names)
        return f"the operator may not watch {what} in namespace {namespace!r}, and notices changes by comparison alone"

    async def look(self, kube: Kube, namespaces: Collection[str], now: float) -> None:
        """Ask again if there is a reason to, or it was long ago; ``now``: monotonic. Without an answer it stays so."""
        if now < self._next and not self._refused and not self._watchdog.overdue(LATE_SECONDS):
            return
        self._next = now + LOOK_SECONDS
        places = [(where, group, name) for where in namespaces or (None,) for group, name in WATCHED]
        try:
            refused = frozenset(
                [(where, name) for where, group, name in places if not await _may(kube, where, group, name)]
            )
        except KubeError as error:
            log.debug("rights not looked at", extra={"error": str(error)})
            return
        for where, name in sorted(refused - self._refused, key=str):
            log.warning("watch refused", extra={"resource": name, "namespace": where or "all", "advice": GRANT})
        self._refused = refused
        self._watchdog.excuse(refused)


async def _may(kube: Kube, namespace: str | None, group: str, resource: str) -> bool:
    attributes = {"verb": "watch", "group": group, "resource": resource, "namespace": namespace or ""}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await kube.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    return bool(answer["status"].get("allowed"))
