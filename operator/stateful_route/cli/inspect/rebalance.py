"""``rebalance``: even out the links of the READY pods, by the migration loop that moves links off failed pods, too."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence

from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.cli.answers import FAILED, Output, confirm, fail, notes, print_answer, print_table
from stateful_route.cli.inspect.session import Session
from stateful_route.cli.store.progress import progress
from stateful_route.domain.aliveness import is_routable
from stateful_route.domain.errors import StatefulRouteError
from stateful_route.domain.placement import Target
from stateful_route.domain.rebalance import Plan, Shift, plan_rebalance
from stateful_route.domain.routing import LinkAction, Reason
from stateful_route.reconcile.spec import placement_of
from stateful_route.router.failover import Progress, Task, move_links
from stateful_route.router.pace import Pace
from stateful_route.store.connection import Store
from stateful_route.store.index import count_links
from stateful_route.store.keys import Service
from stateful_route.store.states import ServiceView, get_service

LOOK_SECONDS = 0.5
"""Between two looks at who is READY while links move: to a pod that fails meanwhile none goes from then on."""


async def rebalance(session: Session, service: str, max_moves: int, *, dry_run: bool, yes: bool) -> None:
    """Plan, show the plan, ask, move, tell what was moved."""
    route = await session.route(service)
    store, target = await session.store(route), session.service(route)
    view, links = await get_service(store, target), await count_links(store, target)
    ready = _ready(view)
    plan = plan_rebalance([Target(o, links=links.get(o, 0)) for o in sorted(ready)], placement_of(route), max_moves)
    _show(session, route, plan)
    moved: Counter[tuple[int, int]] = Counter()
    if plan.moves and not dry_run:
        if not yes:
            confirm(f"Move {plan.moves:,} users of {target} to other pods, which know nothing of them yet?")
        why = "it was interrupted, and can be repeated"
        try:
            await _carry_out(store, target, plan, _rate(route), moved)
            why = "their users or pods have changed meanwhile"
        finally:  # the store may have gone away, too
            _tell(plan, moved, why)
    if session.access.output is not Output.TABLE:
        print_answer(session.access.output, _fields(route, plan, moved, dry_run=dry_run))
    if plan.moves and not dry_run and not moved:
        fail("nothing was moved; the service changes meanwhile: look at stateful-route events", FAILED)


class PlannedTargets:
    """Hands out one pod's share of the plan, link by link; nothing goes to, or off, a pod that has left READY."""

    def __init__(self, source: int, shifts: Iterable[Shift], ready: set[int]) -> None:
        self._source, self._ready = source, ready
        """The latter is kept up to date by whoever made this."""
        self._left = deque([shift.to, shift.links] for shift in shifts if shift.source == source)

    def take(self) -> int | None:
        """The pod index for the next link, in turn; None: all that was planned has gone."""
        while self._left and self._source in self._ready:  # else its links are the operator's to move
            to, links = self._left.popleft()
            if to not in self._ready:
                continue
            if links > 1:
                self._left.append([to, links - 1])
            return int(to)
        return None


async def _carry_out(store: Store, service: Service, plan: Plan, rate: float, moved: Counter[tuple[int, int]]) -> None:
    """Move what is planned; ``moved`` is told how many links went from which pod to which."""
    view = await get_service(store, service)
    ready = set(_ready(view))
    watching = asyncio.create_task(_watch(store, service, ready))
    pace = Pace(rate, time.monotonic)
    try:
        with progress("rebalancing") as line:
            for source in dict.fromkeys(shift.source for shift in plan.shifts):
                targets = PlannedTargets(source, plan.shifts, ready)
                done = Progress()
                task = Task(source=source, reason=Reason.REBALANCE, spread=lambda t=targets: t, owner=view.owner or "")  # type: ignore[misc]
                try:
                    await move_links(store, service, task, pace, done, plan.moves)
                finally:
                    for to, links in done.moved.items():
                        moved[source, to] += links
                line.say(f"rebalancing {service}: {sum(moved.values()):,} of {plan.moves:,}")
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch(store: Store, service: Service, ready: set[int]) -> None:
    """Keep ``ready`` up to date."""
    try:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            ready.intersection_update(_ready(await get_service(store, service)))
    except StatefulRouteError:
        ready.clear()  # nobody knows any more: nothing moves


def _ready(view: ServiceView) -> list[int]:
    """The pods that take new users and are to keep theirs."""
    config = view.config
    return [
        ordinal
        for ordinal, pod in view.pods.items()
        if is_routable(pod, config.heartbeat, config.expire_seconds)
        and (pod.record is None or (pod.record.links is LinkAction.STAY and pod.record.release is None))
    ]


def _rate(route: StatefulRoute) -> float:
    """Links a second: as of a drain, which is no emergency either."""
    return float(route.spec.drain.links_per_second)


def _show(session: Session, route: StatefulRoute, plan: Plan) -> None:
    if session.access.output is not Output.TABLE:
        return
    if not plan.before:
        notes().print("no pod is READY: there is nobody to even out", markup=False)
    elif not plan.moves:
        text = f"nothing to do: {_sizes(route, plan.before.items())}"
        if plan.needed:
            text = f"{plan.needed:,} moves would even it out, --max-moves allows none"
        notes().print(text, markup=False)
    else:
        rows = [
            (f"{route.workload_name}-{o}", f"{n:,}", _signed(plan.after[o] - n), f"{plan.after[o]:,}")
            for o, n in plan.before.items()
        ]
        print_table(("POD", "LINKS", "MOVES", "AFTER"), rows, frozenset({"LINKS", "MOVES", "AFTER"}))
        if plan.moves < plan.needed:
            text = f"{plan.moves:,} of the {plan.needed:,} moves that would even it out (--max-moves)"
            notes().print(text, markup=False, style="dim")


def _signed(moves: int) -> str:
    return f"{moves:+,}" if moves else "0"


def _tell(plan: Plan, moved: Counter[tuple[int, int]], why: str) -> None:
    total = sum(moved.values())
    text = f"{total:,} links moved"
    if total < plan.moves:
        text += f"; {plan.moves - total:,} stay: {why}"
    notes().print(text, markup=False)


def _sizes(route: StatefulRoute, links: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"{route.workload_name}-{ordinal} {count:,}" for ordinal, count in links)


def _fields(route: StatefulRoute, plan: Plan, moved: Counter[tuple[int, int]], *, dry_run: bool) -> dict[str, object]:
    def shown(shifts: Sequence[Shift]) -> list[dict[str, object]]:
        name = route.workload_name
        return [{"from": f"{name}-{s.source}", "to": f"{name}-{s.to}", "links": s.links} for s in shifts]

    return {
        "service": route.service_name,
        "namespace": route.metadata.namespace,
        "dryRun": dry_run,
        "needed": plan.needed,
        "planned": shown(plan.shifts),
        "moved": shown([Shift(source, to, links) for (source, to), links in sorted(moved.items())]),
    }
