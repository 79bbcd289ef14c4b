"""Which container of a pod is the routed one: the one whose restart makes the pod forget its users."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
"""The pod's own word; what injects a sidecar writes it, so that ``kubectl logs`` still finds the application."""

Body = Mapping[str, Any]
NOTHING: Body = {}


def routed_container(body: Body, named: str | None = None, template: Sequence[str] = ()) -> str | None:
    """The name of the routed container; None: the pod has none.

    The first of these that runs as long as the pod does: the one that the spec names; the pod's default container,
    unless only the template's others are the application's own; the first one of the template; the pod's first one.

    Args:
        body: The pod, which may have containers that its template has not: a proxy is often injected as the first one.
        named: ``health.container``; None: nobody has named one.
        template: Names of the containers in the workload's pod template, in their order; empty: not known.
    """
    lasting = lasting_containers(body)
    if named in lasting:
        return named
    own = [name for name in template if name in lasting]
    default = (body["metadata"].get("annotations") or {}).get(DEFAULT_CONTAINER)
    if default in lasting and (default in own or not own):
        return str(default)
    return next(iter([*own, *lasting]), None)


def lasting_containers(body: Body) -> Collection[str]:
    """Names of the containers that run as long as the pod: its own, and native sidecars after them."""
    spec = body.get("spec") or NOTHING
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return [str(container["name"]) for container in (*(spec.get("containers") or ()), *sidecars)]


def status_of(body: Body, container: str | None) -> Body:
    """What the kubelet says of a container; empty: nothing yet."""
    status = body.get("status") or NOTHING
    statuses = (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()))
    return next((c for c in statuses if c.get("name") == container), NOTHING)
