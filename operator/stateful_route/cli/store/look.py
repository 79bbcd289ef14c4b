"""``links`` and ``pods``: what stands in the store; they only read."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from stateful_route.cli.answers import (
    COLOURS,
    Form,
    Output,
    duration,
    notes,
    print_answer,
    print_table,
)
from stateful_route.cli.store.session import (
    DEFAULT_NAMESPACE,
    Namespace,
    RedisUrl,
    run,
)
from stateful_route.domain.aliveness import PodView
from stateful_route.domain.errors import InvalidArgument
from stateful_route.domain.names import check_uid
from stateful_route.store.archive import StoredLink, read_links
from stateful_route.store.connection import Store
from stateful_route.store.index import Bucket, count_links
from stateful_route.store.keys import Service
from stateful_route.store.states import ServiceView, get_service


def links(
    uid: Annotated[str, typer.Argument(metavar="UID", help="Whose links.")],
    namespace: Namespace = DEFAULT_NAMESPACE,
    redis_url: RedisUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Shows every service that a user is linked to: pod, time left, epoch.

    A user without a link is no failure: the table is empty and says so, the exit code is 0.

    [bold]Examples[/bold]

      stateful-route store links alice

      stateful-route store links alice -n games -o json
    """
    try:
        check_uid(uid)
        Service(namespace, "any")
    except InvalidArgument as error:
        raise typer.BadParameter(str(error)) from None

    async def look(store: Store) -> tuple[list[StoredLink], int]:
        found: list[StoredLink] = []
        now = 0
        for name in sorted(await store.command("HKEYS", Service(namespace, "any").links(uid))):
            try:
                service = Service(namespace, name.decode())
            except (InvalidArgument, UnicodeDecodeError):
                continue  # a foreign client's field, which is no service
            read = await read_links(store, service, [Bucket(service.bucket(uid), [uid])])
            found += read.links
            now = read.time_ms
        return found, now

    found, now = run(redis_url, look)
    lives = {link: None if link.expires is None else max(0.0, (link.expires - now) / 1000) for link in found}
    if output is not Output.TABLE:
        print_answer(
            output,
            [
                {
                    "service": link.service.name,
                    "pod": link.ordinal,
                    "persistent": seconds is None,
                    "secondsLeft": seconds,
                    "epoch": link.epoch,
                }
                for link, seconds in lives.items()
            ],
        )
    elif found:
        rows = [
            (
                link.service.name,
                str(link.ordinal),
                "persistent" if seconds is None else duration(seconds) + " left",
                "not indexed" if link.epoch is None else str(link.epoch),
            )
            for link, seconds in lives.items()
        ]
        print_table(("SERVICE", "POD", "LIFE", "EPOCH"), rows, frozenset({"POD"}))
    else:
        notes().print(f"{uid!r} has no link in namespace {namespace!r}", markup=False)


def pods(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="Whose pods.")],
    namespace: Namespace = DEFAULT_NAMESPACE,
    redis_url: RedisUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Shows the pods of a service: state, reason, load, links, age of what they published.

    Links are counted by the index; a temporary one that has expired counts until the next repair. A pod of which
    nothing but links is known has no state.

    [bold]Examples[/bold]

      stateful-route store pods rooms

      stateful-route store pods rooms -n games -o json
    """
    target = named(namespace, service)

    async def look(store: Store) -> tuple[ServiceView, dict[int, int]]:
        return await get_service(store, target), await count_links(store, target)

    view, counts = run(redis_url, look)
    ordinals = sorted({*view.pods, *counts})
    if output is not Output.TABLE:
        shown = [pod_fields(ordinal, view.pods.get(ordinal), counts.get(ordinal, 0)) for ordinal in ordinals]
        print_answer(output, {"service": service, "namespace": namespace, "owner": view.owner, "pods": shown})
    elif ordinals:
        rows = [pod_row(ordinal, view, counts.get(ordinal, 0)) for ordinal in ordinals]
        head = ("POD", "STATE", "REASON", "LOAD", "LINKS", "AGE")
        print_table(head, rows, frozenset({"POD", "LOAD", "LINKS", "AGE"}))
        notes().print(f"owner: {view.owner or 'nobody'}", markup=False, style="dim")
    else:
        notes().print(
            f"nothing is known of service {service!r} in namespace {namespace!r}: no state, no link", markup=False
        )


def named(namespace: str, service: str) -> Service:
    """The service of the two names; a bad one is a usage error."""
    try:
        return Service(namespace, service)
    except InvalidArgument as error:
        raise typer.BadParameter(str(error)) from None


def pod_fields(ordinal: int, view: PodView | None, links: int) -> dict[str, Any]:
    """A pod for machines."""
    state, record = (view.state, view.record) if view else (None, None)
    return {
        "pod": ordinal,
        "state": view.effective if view else None,
        "reason": record.reason if record else None,
        "load": state.load if state else None,
        "links": links,
        "ageSeconds": view.age_seconds if view else None,
        "author": state.author if state else None,
        "app": state.word if state else None,
        "operator": record.state if record else None,
        "address": record.address if record else None,
        "incarnation": str(record.incarnation) if record and record.incarnation else None,
    }


def pod_row(ordinal: int, view: ServiceView, links: int) -> Sequence[str | Text]:
    """A pod for people."""
    pod = view.pods.get(ordinal)
    if pod is None:
        return str(ordinal), "-", "no state, links only", "-", f"{links}", "-"
    state = Text(pod.effective, style=COLOURS[pod.effective])
    reason = pod.record.reason if pod.record else "unparsable state" if ordinal in view.unparsable else "no operator"
    load = f"{pod.state.load:g}" if pod.state else "-"
    age = "-" if pod.age_seconds is None else duration(pod.age_seconds)
    return str(ordinal), state, reason, load, f"{links}", age
