"""``stateful-route release-finalizers``."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from stateful_route.cli.periods import period
from stateful_route.domain.errors import StatefulRouteError

if TYPE_CHECKING:
    from stateful_route.kube.deployments import Deployment


def release_finalizers(
    deployment: Annotated[
        str,
        typer.Option(
            metavar="NAMESPACE/NAME", help="The operator's Deployment, which is stopped first; empty: none runs."
        ),
    ] = "",
    selector: Annotated[
        str, typer.Option(metavar="LABELS", help="The labels of that Deployment's pods: name=value,…")
    ] = "",
    namespaces: Annotated[
        str, typer.Option(metavar="A,B", help="The namespaces that it serves, separated by commas; empty: all.")
    ] = "",
    timeout_seconds: Annotated[
        float, typer.Option(callback=period, metavar="S", min=1, help="How long to wait for the operator's end.")
    ] = 60,
    kubeconfig: Annotated[
        str | None,
        typer.Option(
            envvar="KUBECONFIG", metavar="PATH", help="Path of a kubeconfig; in a pod its ServiceAccount serves."
        ),
    ] = None,
) -> None:
    """Prepares an uninstallation: stops the operator and takes its finalizer off all StatefulRoutes.

    Else a namespace with a StatefulRoute in it would hang in Terminating once no operator is there. StatefulRoutes,
    links and states stay. The Helm chart runs this before it deletes anything. Exit codes: 0 done; 1 not done, and
    it can be repeated; 2 wrong use.

    [bold]Examples[/bold]

      stateful-route release-finalizers

      stateful-route release-finalizers --deployment routing/operator --selector app=operator --namespaces games,chat
    """
    try:
        from stateful_route.kube.deployments import Deployment
    except ModuleNotFoundError as error:
        typer.echo(f"This needs {error.name!r}: pip install 'stateful-route[operator]'", err=True)
        raise typer.Exit(2) from None
    namespace, slash, name = deployment.partition("/")
    if deployment and not (namespace and slash and name and selector):
        raise typer.BadParameter("--deployment is NAMESPACE/NAME, and --selector says which pods it has")
    running = Deployment(namespace, name, selector) if deployment else None
    served = [part.strip() for part in namespaces.split(",") if part.strip()]
    try:
        asyncio.run(_release(running, served, timeout_seconds, kubeconfig))
    except StatefulRouteError as error:
        typer.echo(f"stateful-route release-finalizers: {error}", err=True)
        raise typer.Exit(1) from None


async def _release(
    running: "Deployment | None", namespaces: list[str], timeout_seconds: float, kubeconfig: str | None
) -> None:
    from stateful_route.kube.client import Kube
    from stateful_route.reconcile.departure import is_being_deleted, release_finalizers, stop

    kube = await Kube.connect(kubeconfig)
    try:
        if running is not None:
            await stop(kube, running, timeout_seconds)
            typer.echo(f"operator stopped: {running.namespace}/{running.name}")
        release = f"{running.namespace}/{running.name}" if running is not None else ""
        for route in await release_finalizers(kube, namespaces, release):
            meta = route["metadata"]
            left = "; its keys stay in the store" if is_being_deleted(route) else ""
            typer.echo(f"released: {meta['namespace']}/{meta['name']}{left}")
    finally:
        await kube.close()
