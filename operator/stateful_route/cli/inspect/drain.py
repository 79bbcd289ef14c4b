"""``drain`` and ``undrain``: ask the operator, by an annotation on the pod, to empty it, or not to."""

from http import HTTPStatus

from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.cli.answers import FAILED, NO, Output, fail, notes, print_answer
from stateful_route.cli.inspect.session import Session
from stateful_route.cli.inspect.status import say_how_to_watch
from stateful_route.cli.inspect.wait_drained import Pod, obstacle_to_moving, wait_drained
from stateful_route.domain.errors import StatefulRouteError
from stateful_route.domain.pod import PodFacts
from stateful_route.kube.client import KubeError
from stateful_route.kube.pods import DRAIN_ANNOTATION, pod_facts
from stateful_route.store.index import count_links


async def drain(session: Session, name: str, wait_seconds: float | None) -> None:
    """Ask for a drain; with ``wait_seconds``, wait so long at most until nobody is linked to the pod."""
    route, pod = await session.pod(name)
    already = pod.drain_requested
    if not already:
        await _annotate(session, route, pod, "true")
    notes().print(
        f"{pod.name} {'was asked to drain before' if already else 'is asked to drain'}: it takes nobody new, "
        f"its users move within {route.spec.drain.deadline_seconds} s",
        markup=False,
    )
    left = None
    if wait_seconds is not None:
        store = await session.store(route)
        where = Pod(session.service(route), pod.ordinal, pod.name)
        left = await wait_drained(store, where, wait_seconds, lambda text: notes().print(text, markup=False))
    else:
        await _warn(session, route, pod)
        say_how_to_watch(route.metadata.name, session.namespace)
    _answer(session, pod, changed=not already, drain_requested=True, left=left)
    if wait_seconds is not None and left != 0:
        what = "the store does not answer" if left is None else f"{left:,} users are left on {pod.name}"
        fail(f"{what} after {wait_seconds:g} s; the drain goes on", NO)


async def undrain(session: Session, name: str) -> None:
    """Take the request back."""
    route, pod = await session.pod(name)
    if pod.drain_requested:
        await _annotate(session, route, pod, None)
        text = f"{pod.name} takes users again; those who have moved stay where they are"
    else:
        text = f"{pod.name} was not asked to drain"
    notes().print(text, markup=False)
    _answer(session, pod, changed=pod.drain_requested, drain_requested=False, left=None)


async def _annotate(session: Session, route: StatefulRoute, pod: PodFacts, value: str | None) -> None:
    """Annotate this very pod: its successor of the same name is another."""
    path = f"/api/v1/namespaces/{session.namespace}/pods/{pod.name}"
    patch = {"metadata": {"uid": pod.uid, "annotations": {DRAIN_ANNOTATION: value}}}
    try:
        body = await session.kube.merge(path, patch)
    except KubeError as error:
        if error.status in {HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}:
            fail(f"{pod.name} was replaced meanwhile: look at it and repeat the command", FAILED)
        raise
    written = pod_facts(body, route.spec.health.container)
    if written is None or written.drain_requested != (value is not None):
        fail(f"{pod.name}: the API server has not kept the annotation {DRAIN_ANNOTATION}", FAILED)


async def _warn(session: Session, route: StatefulRoute, pod: PodFacts) -> None:
    """Say so when nobody can take the users; what cannot be found out is no reason not to drain."""
    try:
        store, target = await session.store(route), session.service(route)
        obstacle = await obstacle_to_moving(store, target, pod.ordinal)  # first: those who move take the room
        links = await count_links(store, target)
    except StatefulRouteError as error:
        notes().print(f"whether there are pods to move to is unknown: {error}", markup=False, style="yellow")
        return
    if links.get(pod.ordinal) and obstacle:
        text = f"{obstacle}: its {links[pod.ordinal]:,} users stay until one can take them"
        notes().print(text, markup=False, style="yellow")


def _answer(session: Session, pod: PodFacts, *, changed: bool, drain_requested: bool, left: int | None) -> None:
    if session.access.output is not Output.TABLE:
        fields = {"pod": pod.name, "changed": changed, "drainRequested": drain_requested, "linksLeft": left}
        print_answer(session.access.output, fields)
