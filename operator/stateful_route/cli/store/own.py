"""``adopt``: take a service over from an owner that is gone."""

from typing import Annotated

import typer

from stateful_route.cli.answers import (
    Form,
    Output,
    confirm,
    notes,
    print_answer,
)
from stateful_route.cli.store.look import named
from stateful_route.cli.store.session import (
    DEFAULT_NAMESPACE,
    Namespace,
    RedisUrl,
    run,
)
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service
from stateful_route.store.ownership import adopt as hand_over
from stateful_route.store.states import get_service


def adopt(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="Which service.")],
    namespace: Namespace = DEFAULT_NAMESPACE,
    owner: Annotated[
        str, typer.Option(metavar="ID", help="Who has it from now on; default: the operator that claims it next.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    redis_url: RedisUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Takes a service away from its owner, when that cluster is gone and another is to go on.

    The operator of the other cluster, whose StatefulRoute says OwnedElsewhere, claims it at its next pass (30 s). While
    the former owner still runs, name the new one, or the former may be quicker to claim it again. An owner is
    <uid of the namespace kube-system>/<uid of the StatefulRoute>; on the new cluster:

      kubectl get namespace kube-system -o jsonpath={.metadata.uid}

      kubectl get statefulroute rooms -o jsonpath={.metadata.uid}

    [bold]Examples[/bold]

      stateful-route store adopt rooms

      stateful-route store adopt rooms -n games --owner 0b6c…/77aa… --yes
    """
    target = named(namespace, service)
    before = run(redis_url, lambda store: owner_of(store, target))
    if before == (owner or None):
        notes().print(f"nothing to do: {target} belongs to {before or 'nobody'} already", markup=False)
    else:
        to = owner or "the operator that claims it next"
        if not yes:
            confirm(f"{target} belongs to {before or 'nobody'}. Hand it to {to}?", "stateful-route store")
        run(redis_url, lambda store: hand_over(store, target, before, owner or None), writes=True)
        notes().print(f"{target}: from {before or 'nobody'} to {to}", markup=False)
    if output is not Output.TABLE:
        print_answer(output, {"service": service, "namespace": namespace, "before": before, "owner": owner or None})


async def owner_of(store: Store, service: Service) -> str | None:
    """Who has it; None: nobody."""
    return (await get_service(store, service)).owner
