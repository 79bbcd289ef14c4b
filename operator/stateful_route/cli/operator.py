"""``stateful-route operator``."""

import asyncio
import os
import socket
import sys
from secrets import token_hex
from typing import TYPE_CHECKING, Annotated

import typer

from stateful_route.cli.logs import LogFormat, LogLevel, set_up
from stateful_route.cli.periods import period

if TYPE_CHECKING:
    from stateful_route.handlers.operator import Election

KUBERNETES = "Kubernetes"
ELECTION = "Leader election"


def operator(  # noqa: PLR0913, PLR0917  each option is a flag
    redis_url: Annotated[
        str | None,
        typer.Option(
            envvar="STATEFUL_ROUTE_REDIS_URL",
            metavar="URL",
            help="The store of StatefulRoutes that name none: redis://, unix://, redis+cluster://host,… or "
            "redis+sentinel://host,…/set; with TLS rediss://, rediss+cluster://, rediss+sentinel://. "
            "A password belongs in the variable, not on the command line.",
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
    metrics_port: Annotated[
        int,
        typer.Option(envvar="STATEFUL_ROUTE_METRICS_PORT", metavar="PORT", help="Serves /metrics; 0: nowhere."),
    ] = 9090,
    resync_seconds: Annotated[
        float,
        typer.Option(
            envvar="STATEFUL_ROUTE_RESYNC_SECONDS",
            callback=period,
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
            callback=period,
            metavar="S",
            min=1,
            help="How long a deleted StatefulRoute waits for an unreachable store before its keys are left behind.",
        ),
    ] = 60,
    lease_name: Annotated[
        str,
        typer.Option(
            envvar="STATEFUL_ROUTE_LEASE_NAME",
            metavar="NAME",
            rich_help_panel=ELECTION,
            help="The Lease by which one of several operators leads; empty: no election, this one leads.",
        ),
    ] = "",
    lease_namespace: Annotated[
        str,
        typer.Option(
            envvar="STATEFUL_ROUTE_LEASE_NAMESPACE",
            metavar="NAMESPACE",
            rich_help_panel=ELECTION,
            help="Its namespace; in a pod by default that of the ServiceAccount.",
        ),
    ] = "",
    lease_seconds: Annotated[
        int,
        typer.Option(
            envvar="STATEFUL_ROUTE_LEASE_SECONDS",
            metavar="S",
            min=2,
            max=3600,
            rich_help_panel=ELECTION,
            help="How long the others wait for a leader that is not heard of; it stops after two thirds of it.",
        ),
    ] = 15,
    identity: Annotated[
        str,
        typer.Option(
            envvar="STATEFUL_ROUTE_IDENTITY",
            metavar="NAME",
            rich_help_panel=ELECTION,
            help="Who this process is in the Lease, unique among those that run; default: $POD_NAME, else the host's "
            "name and a random part.",
        ),
    ] = "",
    release: Annotated[
        str,
        typer.Option(
            envvar="STATEFUL_ROUTE_RELEASE",
            metavar="NAMESPACE/NAME",
            rich_help_panel=ELECTION,
            help="Which one this is of several operators in one cluster: a namespace that another serves is left to "
            "it. Default: the Lease's; without either it claims no namespace.",
        ),
    ] = "",
    claim_seconds: Annotated[
        int,
        typer.Option(min=3, hidden=True, help="How long others leave a namespace alone that is not served any more."),
    ] = 90,
    watch_seconds: Annotated[
        float,
        typer.Option(callback=period, min=1, hidden=True, help="How late the watch may be before /healthz fails."),
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

      stateful-route operator --lease-name stateful-route --lease-namespace routing   # one of several
    """
    try:
        from stateful_route.handlers.operator import Options, run
        from stateful_route.handlers.serving import PortTaken
        from stateful_route.kube.client import KubeError
        from stateful_route.reconcile.environment import Timing
    except ModuleNotFoundError as error:
        typer.echo(f"The operator needs {error.name!r}: pip install 'stateful-route[operator]'", err=True)
        raise typer.Exit(2) from None
    set_up(log_format or (LogFormat.TEXT if sys.stderr.isatty() else LogFormat.JSON), log_level)
    election = _election(lease_name, lease_namespace, identity, lease_seconds) if lease_name else None
    options = Options(
        redis_url=redis_url,
        namespaces=[name.strip() for name in namespaces.split(",") if name.strip()],
        kubeconfig=kubeconfig,
        health_port=health_port,
        metrics_port=metrics_port,
        timing=Timing(resync_seconds=resync_seconds, finish_seconds=cleanup_seconds, watch_seconds=watch_seconds),
        election=election,
        release=release or (f"{election.namespace}/{election.lease}" if election else ""),
        claim_seconds=max(claim_seconds, 2 * lease_seconds) if election else claim_seconds,
    )
    try:
        asyncio.run(run(options))
    except (KubeError, PortTaken) as error:
        typer.echo(f"stateful-route operator: {error}", err=True)
        raise typer.Exit(1) from None


def _election(name: str, namespace: str, identity: str, seconds: int) -> "Election":
    from stateful_route.handlers.operator import Election
    from stateful_route.kube.lease import account_namespace

    where = namespace or account_namespace()
    if not where:
        raise typer.BadParameter(
            "needed with --lease-name outside of a pod: the namespace of the Lease", param_hint="--lease-namespace"
        )
    me = identity or os.environ.get("POD_NAME") or f"{socket.gethostname()}-{token_hex(4)}"
    return Election(where, name, me, seconds)
