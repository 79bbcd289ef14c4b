"""The command ``stateful-route demo``."""

import asyncio
import signal
from typing import Annotated, Any

import typer
from rich.console import Console

INTERRUPTED = 130


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running afterwards, to play with, until Ctrl-C.")
    ] = False,
) -> None:
    """Plays the whole story on this machine: pods start, fail, drain and are scaled down; their users move.

    Needs nothing running: it starts a Valkey and a Kubernetes control plane of its own (found, or built once in about
    ten minutes) and stops them at the end; Ctrl-C at any moment leaves no process behind.

    [bold]Examples[/bold]

      stateful-route demo

      stateful-route demo --keep
    """
    console = Console(highlight=False)
    try:
        from stateful_route.cli.demo.stage import Stage, stage
        from stateful_route.cli.demo.story import NAMESPACE, tell
        from stateful_route.devcluster import DevClusterError
        from stateful_route.domain.errors import StatefulRouteError
    except ModuleNotFoundError as error:
        typer.echo(f"The demo needs {error.name!r}: pip install 'stateful-route[demo]'", err=True)
        raise typer.Exit(2) from None

    def show(running: Stage) -> None:
        console.print("\nStill running, until Ctrl-C. In another terminal:")
        console.print(f"  export KUBECONFIG={running.kubeconfig}", soft_wrap=True)
        console.print(f"  export STATEFUL_ROUTE_REDIS_URL={running.store.url}", soft_wrap=True)
        console.print(f"  kubectl -n {NAMESPACE} get sroute,pods")
        signal.pause()

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with stage(NAMESPACE, lambda text: console.print(text, style="dim")) as running:
            asyncio.run(tell(running, console))
            if keep:
                show(running)
    except KeyboardInterrupt:
        console.print("stopped; nothing is left running")
        raise typer.Exit(0 if keep else INTERRUPTED) from None
    except (DevClusterError, StatefulRouteError, TimeoutError) as error:
        typer.echo(f"stateful-route demo: {error}", err=True)
        raise typer.Exit(1) from None


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
