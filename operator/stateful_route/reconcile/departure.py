"""What is to be done before an operator is uninstalled, so that StatefulRoutes can be deleted without it."""

import asyncio
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Final

from stateful_route.api.statefulroute import former_status
from stateful_route.domain.errors import StatefulRouteError
from stateful_route.kube.client import Kube, KubeError
from stateful_route.kube.deployments import Deployment, running_pods, scale_to_zero
from stateful_route.kube.objects import FINALIZER, Body, is_namespace_ending, list_routes, set_finalizers

_POLL_SECONDS: Final = 0.5


class StillRunning(StatefulRouteError):  # noqa: N818  names the fact
    """Pods of the operator have not ended in time."""


async def stop(kube: Kube, deployment: Deployment, timeout_seconds: float) -> None:
    """Stop an operator, and wait until none of its pods runs: it would put back what is taken off.

    Raises:
        StillRunning: some run after ``timeout_seconds``, for example on a lost node; the message names them.
        KubeError: the API server refuses, or does not answer.
    """
    await scale_to_zero(kube, deployment)
    deadline = time.monotonic() + timeout_seconds
    while pods := await running_pods(kube, deployment):
        if time.monotonic() > deadline:
            raise StillRunning(
                f"still running {timeout_seconds:g} s after the Deployment was scaled to 0: {', '.join(pods)} in "
                f"namespace {deployment.namespace}; if their node is lost, delete them with --force"
            )
        await asyncio.sleep(_POLL_SECONDS)


async def release_finalizers(kube: Kube, namespaces: Collection[str], release: str = "") -> list[Body]:
    """Take our finalizer off all StatefulRoutes of ``namespaces`` (none: of all); those that had it.

    What the operator wrote to the store stays. Can be repeated. ``release``: the operator that departs; what another
    one serves is left alone.

    Raises:
        KubeError: the API server refuses, or does not answer.
    """
    released = []
    for namespace in namespaces or (None,):
        while True:
            listed = await _listed(kube, namespace)
            others = _of_others(listed, release, kube.clock.now() or datetime.now(UTC))
            held = [body for body in listed if _is_held(body, others)]
            if not held:
                break
            released += [body for body in held if await _release(kube, body)]
    return released


async def leave_with_namespace(kube: Kube, namespace: str, release: str = "") -> list[Body]:
    """`release_finalizers` of the namespace in which the operator itself runs, if that is being deleted; else nothing.

    Its pods are ended before its other objects: nobody comes after us who could take the finalizers off.

    Raises:
        KubeError: the API server refuses, or does not answer.
    """
    if not await is_namespace_ending(kube, namespace):
        return []
    return await release_finalizers(kube, [namespace], release)


def _of_others(routes: Collection[Body], release: str, now: datetime) -> set[tuple[str, str]]:
    """(namespace, name) of the operators but ``release`` that serve some of them, by the time that they wrote there.

    They renew it on one StatefulRoute of a namespace, by the API server's clock; ``now``: by the same.
    """
    claims = [(route["metadata"]["namespace"], former_status(route).operator) for route in routes]
    return {
        (namespace, claim.name)
        for namespace, claim in claims
        if release
        and claim is not None
        and claim.name != release
        and now - claim.renew_time < timedelta(seconds=claim.seconds)
    }


def _is_held(route: Body, others: Collection[tuple[str, str]]) -> bool:
    """True while our finalizer is on it, and no other operator serves it."""
    claim = former_status(route).operator
    of_another = claim is not None and (route["metadata"]["namespace"], claim.name) in others
    return FINALIZER in _finalizers(route) and not of_another


def is_being_deleted(route: Body) -> bool:
    """True when somebody has asked for its deletion: what the store has of it would have been removed."""
    return "deletionTimestamp" in route["metadata"]


async def _release(kube: Kube, route: Body) -> bool:
    """False when somebody changed it meanwhile: look at it again."""
    meta = route["metadata"]
    finalizers = [name for name in _finalizers(route) if name != FINALIZER]
    try:
        await set_finalizers(kube, meta["namespace"], meta["name"], finalizers, meta["resourceVersion"])
    except KubeError as error:
        if not (error.conflict or error.not_found):
            raise
        return False
    return True


async def _listed(kube: Kube, namespace: str | None) -> list[Body]:
    try:
        return await list_routes(kube, namespace)
    except KubeError as error:
        if error.not_found:  # there is no CRD, hence no StatefulRoute
            return []
        raise


def _finalizers(route: Body) -> list[str]:
    return list(route["metadata"].get("finalizers") or ())
