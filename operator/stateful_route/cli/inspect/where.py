"""``where``: which pod a user is on, in every service of the namespace."""

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.cli.answers import COLOURS, Output, duration, notes, print_answer, print_table
from stateful_route.cli.inspect.session import Session
from stateful_route.domain.names import check_uid
from stateful_route.store.archive import read_links
from stateful_route.store.index import Bucket
from stateful_route.store.states import get_service


async def show(session: Session, uid: str, service: str) -> None:
    """Print the user's pods; ``service``: in that one alone, empty: in all."""
    check_uid(uid)
    routes = [await session.route(service)] if service else await session.routes()
    found = [fields for route in routes if (fields := await _where(session, route, uid)) is not None]
    output = session.access.output
    if output is not Output.TABLE:
        print_answer(output, found)
    elif found:
        head = ("SERVICE", "POD", "STATE", "ADDRESS", "LIFE", "EPOCH")
        print_table(head, [_row(fields) for fields in found], frozenset({"EPOCH"}))
    else:
        services = ", ".join(route.service_name for route in routes) or "none"
        text = (
            f"{uid!r} is on no pod in namespace {session.namespace!r} (services: {services}); its next call finds one"
        )
        notes().print(text, markup=False)


async def _where(session: Session, route: StatefulRoute, uid: str) -> Mapping[str, Any] | None:
    store, target = await session.store(route), session.service(route)
    read = await read_links(store, target, [Bucket(target.bucket(uid), [uid])])
    if not read.links:
        return None
    (link,) = read.links
    view = (await get_service(store, target)).pods.get(link.ordinal)
    record = view.record if view else None
    return {
        "service": target.name,
        "pod": f"{route.workload_name}-{link.ordinal}",
        "index": link.ordinal,
        "state": view.effective if view else None,
        "address": record.address if record else None,
        "persistent": link.expires is None,
        "secondsLeft": None if link.expires is None else max(0.0, (link.expires - read.time_ms) / 1000),
        "epoch": link.epoch,
    }


def life_of(fields: Mapping[str, Any]) -> str:
    """How long a link lives, for people."""
    return "persistent" if fields["persistent"] else f"{duration(fields['secondsLeft'])} left"


def epoch_of(fields: Mapping[str, Any]) -> str:
    """A link's epoch, for people."""
    return "not indexed" if fields["epoch"] is None else str(fields["epoch"])


def _row(fields: Mapping[str, Any]) -> list[str | Text]:
    state = fields["state"] or "unknown"
    return [
        fields["service"],
        fields["pod"],
        Text(state, style=COLOURS.get(state, "yellow")),
        fields["address"] or "-",
        life_of(fields),
        epoch_of(fields),
    ]
