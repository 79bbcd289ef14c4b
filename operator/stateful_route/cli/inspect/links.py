"""``links``: the users that are linked to a pod."""

from typing import Any

from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.cli.answers import Output, notes, print_answer, print_table
from stateful_route.cli.inspect.session import NotThere, Session
from stateful_route.cli.inspect.where import epoch_of, life_of
from stateful_route.domain.errors import InvalidArgument
from stateful_route.domain.names import check_ordinal
from stateful_route.store.archive import read_links
from stateful_route.store.connection import Store
from stateful_route.store.index import links_of_pod, portions
from stateful_route.store.keys import Service


async def show(session: Session, pod: str, limit: int) -> None:
    """Print the users of the pod, by its name; at most ``limit`` of them, 0: all."""
    route, ordinal = await _pod(session, pod)
    store, target = await session.store(route), session.service(route)
    found, total = await _links(store, target, ordinal, limit)
    output = session.access.output
    if output is not Output.TABLE:
        print_answer(output, {"pod": pod, "service": target.name, "total": total, "links": found})
    elif found:
        rows = [(fields["uid"], life_of(fields), epoch_of(fields)) for fields in found]
        print_table(("UID", "LIFE", "EPOCH"), rows, frozenset({"EPOCH"}))
    if not found:
        notes().print(f"nobody is linked to {pod}", markup=False)
    elif total > len(found):
        notes().print(f"{len(found):,} of {total:,}; --limit 0 shows all", markup=False, style="dim")


async def _pod(session: Session, name: str) -> tuple[StatefulRoute, int]:
    """The StatefulRoute and the index of a pod; the pod itself may be gone, as long as its name tells both."""
    try:
        route, pod = await session.pod(name)
    except NotThere:
        workload, _, ordinal = name.rpartition("-")
        route_of = {route.workload_name: route for route in await session.routes()}
        if workload not in route_of or not ordinal.isdecimal():
            raise
        try:
            return route_of[workload], check_ordinal(int(ordinal))
        except InvalidArgument:
            raise NotThere(f"there is no pod {name!r} in namespace {session.namespace!r}") from None
    return route, pod.ordinal


async def _links(store: Store, target: Service, ordinal: int, limit: int) -> tuple[list[dict[str, Any]], int]:
    found: list[dict[str, Any]] = []
    total = 0
    async for buckets in links_of_pod(store, target, ordinal):
        total += sum(len(bucket.uids) for bucket in buckets)
        for portion in portions(buckets):
            if limit and len(found) >= limit:
                break
            read = await read_links(store, target, portion)
            found += [
                {
                    "uid": link.uid,
                    "persistent": link.expires is None,
                    "secondsLeft": None if link.expires is None else max(0.0, (link.expires - read.time_ms) / 1000),
                    "epoch": link.epoch,
                }
                for link in read.links
                if link.ordinal == ordinal
            ]
    return found[: limit or None], total
