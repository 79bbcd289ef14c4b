"""``stateful-route operator``."""

import asyncio
import sys
from typing import Annotated

import typer

from stateful_route.cli.logs import LogFormat, LogLevel, set_up

KUBERNETES = "Kubernetes"


def operator(  # noqa: PLR0913, PLR0917  each option is a flag
    redis_url: Annotated[
        str | None,
        typer.Option(
            envvar="STATEFUL_ROUTE_REDIS_URL",
            metavar="URL",
            help="The store of StatefulRoutes that name none: redis://, rediss://, unix://, redis+cluster:// or "
            "redis+sentinel://host,…/set. A password belongs in the variable, not on the command line.",
        ),
    ] = None,
    namespaces: Annotated[
        str,
        typer.Option(
            envvar="STATEFUL_ROUTE_NAMESPACES",
            metavar="A,B",
            help="The namespaces to serve, separated by commas; empty: all.",
        ),
    ] = "",
    kubeconfig: Annotated[
        str | None,
        typer.Option(
            envvar="KUBECONFIG", metavar="PATH", help="Path of a kubeconfig; in a pod its ServiceAccount serves."
        ),
    ] = None,
    health_port: Annotated[
        int,
        typer.Option(
            envvar="STATEFUL_ROUTE_HEALTH_PORT", metavar="PORT", help="Serves /healthz and /readyz; 0: nowhere."
        ),
    ] = 8080,
    resync_seconds: Annotated[
        float,
        typer.Option(
            envvar="STATEFUL_ROUTE_RESYNC_SECONDS",
            metavar="S",
            min=0.5,
            max=50,
            help="Between two full comparisons of all facts.",
        ),
    ] = 30,
    cleanup_seconds: Annotated[
        float,
        typer.Option(
            envvar="STATEFUL_ROUTE_CLEANUP_SECONDS",
            metavar="S",
            min=1,
            help="How long a deleted StatefulRoute waits for an unreachable store before its keys are left behind.",
        ),
    ] = 60,
    watch_seconds: Annotated[
        float,
        typer.Option(min=1, hidden=True, help="How late the watch may be before /healthz fails."),
    ] = 90,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(
            envvar="STATEFUL_ROUTE_LOG_FORMAT",
            metavar="FORMAT",
            help="text or json; default: text on a terminal, else json.",
        ),
    ] = None,
    log_level: Annotated[
        LogLevel,
        typer.Option(
            envvar="STATEFUL_ROUTE_LOG_LEVEL",
            case_sensitive=False,
            metavar="LEVEL",
            help="DEBUG, INFO, WARNING or ERROR.",
        ),
    ] = LogLevel.INFO,
) -> None:
    """Runs the operator, in a pod or with a kubeconfig, until SIGTERM.

    [bold]Examples[/bold]

      stateful-route operator --redis-url redis://valkey:6379

      STATEFUL_ROUTE_REDIS_URL=redis+sentinel://s1,s2/mymaster stateful-route operator --namespaces games,chat
    """
    try:
        from stateful_route.handlers.operator import Options, run
        from stateful_route.kube.client import KubeError
        from stateful_route.reconcile.environment import Timing
    except ModuleNotFoundError as error:
        typer.echo(f"The operator needs {error.name!r}: pip install 'stateful-route[operator]'", err=True)
        raise typer.Exit(2) from None
    set_up(log_format or (LogFormat.TEXT if sys.stderr.isatty() else LogFormat.JSON), log_level)
    options = Options(
        redis_url=redis_url,
        namespaces=[name.strip() for name in namespaces.split(",") if name.strip()],
        kubeconfig=kubeconfig,
        health_port=health_port,
        timing=Timing(resync_seconds=resync_seconds, finish_seconds=cleanup_seconds, watch_seconds=watch_seconds),
    )
    try:
        asyncio.run(run(options))
    except KubeError as error:
        typer.echo(f"stateful-route operator: {error}", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        typer.echo(
            f"stateful-route operator: nothing can be served on port {health_port} ({error.strerror}): "
            "give another --health-port, or 0",
            err=True,
        )
        raise typer.Exit(1) from None
