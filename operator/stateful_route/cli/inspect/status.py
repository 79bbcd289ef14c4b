"""``status``: the pods of each service, with their states, reasons, loads and links."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from stateful_route.api.conditions import Condition, ConditionType
from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.cli.answers import COLOURS, FAILED, Output, duration, notes, print_answer, print_next, table_of
from stateful_route.cli.inspect.session import NotThere, Session
from stateful_route.cli.store.look import pod_fields
from stateful_route.domain.errors import StatefulRouteError
from stateful_route.domain.pod import PodFacts
from stateful_route.kube.client import KubeError
from stateful_route.store.index import count_links
from stateful_route.store.states import ServiceView, get_service

WATCH_SECONDS = 2.0

HEAD = ("POD", "STATE", "REASON", "SINCE", "LOAD", "LINKS", "KUBERNETES")
RIGHT = frozenset({"SINCE", "LOAD", "LINKS"})
GOOD: Mapping[str, str] = {ConditionType.READY: "True", ConditionType.REDIS_CONNECTED: "True"}
"""Which status of a condition is good news; of all others False is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A service at one moment.

    Attributes:
        route: Its StatefulRoute.
        store: Where its links are, without a password.
        view: What stands in the store.
        links: Pod index → how many links.
        pods: Pod index → the pod in Kubernetes.
        failure: Why the store cannot be read; None: it was.
    """

    route: StatefulRoute
    store: str = ""
    view: ServiceView | None = None
    links: Mapping[int, int]
    pods: Mapping[int, PodFacts]
    failure: str | None = None

    @property
    def ordinals(self) -> list[int]:
        """The indexes of all pods of which anybody knows anything."""
        return sorted({*self.pods, *self.links, *(self.view.pods if self.view else ())})

    def name(self, ordinal: int) -> str:
        """The pod's name; what it would be, where there is none."""
        pod = self.pods.get(ordinal)
        return pod.name if pod else f"{self.route.workload_name}-{ordinal}"

    def since_seconds(self, ordinal: int) -> float | None:
        """How long state and reason have been so; None: the operator has not said."""
        record = self.view.pods[ordinal].record if self.view and ordinal in self.view.pods else None
        if self.view is None or record is None or not record.since:
            return None
        return max(0.0, (self.view.time_ms - record.since) / 1000)


async def show(session: Session, service: str, *, watch: bool) -> None:
    """Print the service, all of the namespace where none is named; again and again if that is asked for."""
    output = session.access.output
    if not watch:
        seen = await _look(session, service)
        if output is Output.TABLE:
            (Console(highlight=False) if seen else notes()).print(_picture(session, seen))
        else:
            print_answer(output, [_fields(one) for one in seen])
        if any(one.failure for one in seen):
            raise typer.Exit(FAILED)
        return
    if output is not Output.TABLE:
        async for seen in _changes(session, service):
            print_next(output, [_fields(one) for one in seen])
        return
    console = Console(highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        async for seen in _changes(session, service):
            console.print(_picture(session, seen))
            console.print()
            sys.stdout.flush()
        return
    seen = await _look(session, service)
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            live.update(_picture(session, seen), refresh=True)
            await asyncio.sleep(WATCH_SECONDS)
            seen = await _look_again(session, service, live.console) or seen


def bad_conditions(route: StatefulRoute) -> list[tuple[str, str, str]]:
    """(types, reason, message) of the conditions that are bad news; those that say the same are told together."""
    by_message: dict[str, list[Condition]] = {}
    for condition in route.status.conditions:
        if condition.status != GOOD.get(condition.type, "False"):
            by_message.setdefault(condition.message, []).append(condition)
    return [(", ".join(c.type for c in same), same[-1].reason, message) for message, same in by_message.items()]


def pod_word(pod: PodFacts | None) -> str:
    """What Kubernetes says of a pod, in a word."""
    if pod is None:
        return "no pod"
    if pod.finished:
        return pod.phase
    if pod.terminating:
        return "Terminating"
    if pod.phase != "Running":
        return pod.phase
    return "Ready" if pod.ready else "not Ready"


async def _changes(session: Session, service: str) -> AsyncIterator[list[Seen]]:
    """The services, whenever something but a time has changed."""
    seen, former = await _look(session, service), None
    while True:
        now = [[_steady(one), one.failure] for one in seen]
        if now != former:
            former = now
            yield seen
        await asyncio.sleep(WATCH_SECONDS)
        seen = await _look_again(session, service, notes()) or seen


async def _look_again(session: Session, service: str, console: Console) -> list[Seen]:
    """The services; none while the API server is away, which is told, or has just begun and does not know them yet."""
    try:
        return await _look(session, service)
    except (KubeError, NotThere) as error:
        console.print(f"{error}; trying again", markup=False, style="yellow")
        return []


def _steady(seen: Seen) -> list[Any]:
    """What is worth telling anew."""
    pods = [[value for name, value in pod.items() if "Seconds" not in name] for pod in _pods(seen)]
    return [pods, bad_conditions(seen.route)]


async def _look(session: Session, service: str) -> list[Seen]:
    routes = [await session.route(service)] if service else await session.routes()
    return [await _seen(session, route) for route in routes]


async def _seen(session: Session, route: StatefulRoute) -> Seen:
    _, pods = await session.workload(route)
    try:
        store = await session.store(route)
        target = session.service(route)
        view, links = await get_service(store, target), await count_links(store, target)
    except StatefulRouteError as error:
        return Seen(route=route, links={}, pods=pods, failure=str(error))
    return Seen(route=route, store=store.label, view=view, links=links, pods=pods)


def _pods(seen: Seen) -> list[dict[str, Any]]:
    views = seen.view.pods if seen.view else {}
    return [
        {
            "name": seen.name(ordinal),
            "kubernetes": pod_word(seen.pods.get(ordinal)),
            "sinceSeconds": seen.since_seconds(ordinal),
            **pod_fields(ordinal, views.get(ordinal), seen.links.get(ordinal, 0)),
        }
        for ordinal in seen.ordinals
    ]


def _fields(seen: Seen) -> dict[str, Any]:
    conditions = seen.route.status.conditions
    return {
        "service": seen.route.service_name,
        "namespace": seen.route.metadata.namespace,
        "statefulRoute": seen.route.metadata.name,
        "store": seen.store,
        "failure": seen.failure,
        "owner": seen.view.owner if seen.view else None,
        "links": sum(seen.links.values()),
        "conditions": [
            {"type": c.type, "status": c.status, "reason": c.reason, "message": c.message} for c in conditions
        ],
        "pods": _pods(seen),
    }


def _picture(session: Session, services: Sequence[Seen]) -> RenderableType:
    if not services:
        return Text(
            f"there is no StatefulRoute in namespace {session.namespace!r}; -n NAME looks into another, "
            "kubectl get sroute -A lists all"
        )
    parts: list[RenderableType] = []
    for seen in services:
        if parts:
            parts.append(Text())
        parts += [_title(seen), *_troubles(seen)]
        if seen.view is not None:
            rows = [_row(seen, pod) for pod in _pods(seen)]
            parts.append(table_of(HEAD, rows, RIGHT) if rows else Text("no pods yet", style="dim"))
    return Group(*parts)


def _title(seen: Seen) -> Text:
    meta, status = seen.route.metadata, seen.route.status
    ready = next((c for c in status.conditions if c.type == ConditionType.READY), None)
    word = ready.message if ready and ready.status == "True" else "not routing" if ready else "no operator has seen it"
    style = "green" if ready and ready.status == "True" else "red"
    title = Text(f"{meta.namespace}/{seen.route.service_name}", style="bold")
    title.append(f"   {word}", style=f"not bold {style}")
    if seen.view is not None:
        title.append(f"   {sum(seen.links.values()):,} links", style="not bold")
    return title


def _troubles(seen: Seen) -> list[Text]:
    lines = [f"{kinds}: {reason}: {message}" for kinds, reason, message in bad_conditions(seen.route)]
    if seen.failure:
        lines.append(seen.failure)
    return [Text(f"! {line}", style="yellow") for line in lines]


def _row(seen: Seen, pod: Mapping[str, Any]) -> list[str | Text]:
    state, since = pod["state"], pod["sinceSeconds"]
    unparsable = seen.view is not None and pod["pod"] in seen.view.unparsable
    reason = pod["reason"] or ("unparsable state" if unparsable else "no operator" if state else "links only")
    if state and pod["operator"] and state != pod["operator"]:
        reason = "its app says so"
    return [
        pod["name"],
        Text(state or "-", style=COLOURS.get(state or "", "")),
        reason,
        "-" if since is None else duration(since),
        "-" if pod["load"] is None else f"{pod['load']:g}",
        f"{pod['links']:,}",
        Text(pod["kubernetes"], style="" if pod["kubernetes"] == "Ready" else "yellow"),
    ]


def say_how_to_watch(service: str, namespace: str) -> None:
    """What to type to see what happens next."""
    notes().print(f"watch it: stateful-route status {service} -n {namespace} -w", markup=False, style="dim")
