"""The commands' names, options and help; what they do is imported when one is called, since it takes a second."""

from typing import Annotated

import typer

from stateful_route.cli.answers import Form, Output
from stateful_route.cli.inspect.options import Access, Context, Kubeconfig, Namespace, RedisUrl, extra
from stateful_route.cli.periods import period


def _services(context: typer.Context, incomplete: str) -> list[str]:
    """Names of StatefulRoutes, for the shell."""
    return _proposed(context, incomplete, pods=False)


def _pods(context: typer.Context, incomplete: str) -> list[str]:
    """Names of routed pods, for the shell."""
    return _proposed(context, incomplete, pods=True)


def _proposed(context: typer.Context, incomplete: str, *, pods: bool) -> list[str]:
    try:
        from stateful_route.cli.inspect.proposals import names
    except ModuleNotFoundError:
        return []
    given = context.params
    access = Access(given.get("namespace"), given.get("context"), given.get("kubeconfig"))
    return [name for name in names(access, pods=pods) if name.startswith(incomplete)]


Service = Annotated[
    str,
    typer.Argument(metavar="SERVICE", help="Name of the StatefulRoute, or of its service.", autocompletion=_services),
]
AnyService = Annotated[
    str,
    typer.Argument(
        metavar="SERVICE",
        help="Name of the StatefulRoute, or of its service; default: all.",
        autocompletion=_services,
    ),
]
PodName = Annotated[str, typer.Argument(metavar="POD", help="The pod's name, e.g. rooms-1.", autocompletion=_pods)]


def status(  # noqa: PLR0913, PLR0917  each option is a flag
    service: AnyService = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it anew when it changes, until Ctrl-C.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    redis_url: RedisUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Shows the pods of services: state, reason and since when, load, links, and what Kubernetes says.

    Conditions of the StatefulRoute that are bad news stand above. With -w on a terminal the picture is renewed every
    2 s; elsewhere, and as JSON or YAML, it is printed again when something has changed.

    [bold]Examples[/bold]

      stateful-route status

      kubectl stateful-route status rooms -n games -w
    """
    with extra():
        from stateful_route.cli.inspect.session import run
        from stateful_route.cli.inspect.status import show
    access = Access(namespace, context, kubeconfig, redis_url, output)
    run(access, lambda session: show(session, service, watch=watch))


def where(  # noqa: PLR0913, PLR0917  each option is a flag
    uid: Annotated[str, typer.Argument(metavar="UID", help="The user.")],
    service: Annotated[str, typer.Option("--service", metavar="NAME", help="In this one alone; default: all.")] = "",
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    redis_url: RedisUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Shows on which pod a user is, in each service of the namespace, with the pod's state and address.

    A user without a link is no failure: the answer is empty and says so, the exit code is 0.

    [bold]Examples[/bold]

      stateful-route where alice

      stateful-route where alice --service rooms -o json
    """
    with extra():
        from stateful_route.cli.inspect.session import run
        from stateful_route.cli.inspect.where import show
    access = Access(namespace, context, kubeconfig, redis_url, output)
    run(access, lambda session: show(session, uid, service))


def links(  # noqa: PLR0913, PLR0917  each option is a flag
    pod: PodName,
    limit: Annotated[int, typer.Option(metavar="N", min=0, help="Show so many at most; 0: all.")] = 100,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    redis_url: RedisUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Shows the users that are linked to a pod; the pod itself may be gone.

    [bold]Examples[/bold]

      stateful-route links rooms-1

      stateful-route links rooms-1 --limit 0 -o json
    """
    with extra():
        from stateful_route.cli.inspect.links import show
        from stateful_route.cli.inspect.session import run
    access = Access(namespace, context, kubeconfig, redis_url, output)
    run(access, lambda session: show(session, pod, limit))


def drain(  # noqa: PLR0913, PLR0917  each option is a flag
    pod: PodName,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until nobody is linked to the pod any more.")] = False,
    deadline_seconds: Annotated[
        float,
        typer.Option(
            callback=period, metavar="S", min=1, help="With --wait: no longer than this; then the exit code is 3."
        ),
    ] = 300,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    redis_url: RedisUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Asks the operator to empty a pod: it takes nobody new, and its users move to others.

    It sets the annotation statefulroute.io/drain on the pod. The pod goes on running; undrain takes it back. A
    pod that is deleted or scaled away is drained without it.

    [bold]Examples[/bold]

      stateful-route drain rooms-1

      stateful-route drain rooms-1 --wait && kubectl delete pod rooms-1
    """
    with extra():
        from stateful_route.cli.inspect.drain import drain as ask
        from stateful_route.cli.inspect.session import run
    access = Access(namespace, context, kubeconfig, redis_url, output)
    run(access, lambda session: ask(session, pod, deadline_seconds if wait else None))


def undrain(
    pod: PodName,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    redis_url: RedisUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Takes a drain back: the pod takes users again. Those who have moved stay where they are.

    [bold]Examples[/bold]

      stateful-route undrain rooms-1
    """
    with extra():
        from stateful_route.cli.inspect.drain import undrain as ask
        from stateful_route.cli.inspect.session import run
    access = Access(namespace, context, kubeconfig, redis_url, output)
    run(access, lambda session: ask(session, pod))


def wait_drained(context: typer.Context) -> None:
    """Waits until no user is linked to this pod any more: for the preStop hook of an application without the library.

    It needs the store alone, and no extra. Its options: stateful-route wait-drained --help
    """
    from stateful_route.cli.inspect.wait_drained import main

    raise typer.Exit(main(context.args))


def rebalance(  # noqa: PLR0913, PLR0917  each option is a flag
    service: Service,
    max_moves: Annotated[int, typer.Option("--max-moves", metavar="N", min=0, help="Move so many users at most.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, and move nobody.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    redis_url: RedisUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Moves users from fuller to emptier READY pods, as few as even the service out.

    Each of them loses what its pod holds in memory, as in a failover, so it is never done by itself. A link moves if
    it still names the pod that it is to leave; at drain.linksPerSecond, with the reason Rebalance. Pods that are not
    READY are left to the operator. It can be interrupted and repeated.

    [bold]Examples[/bold]

      stateful-route rebalance rooms --max-moves 500 --dry-run

      stateful-route rebalance rooms --max-moves 500 --yes
    """
    with extra():
        from stateful_route.cli.inspect.rebalance import rebalance as even_out
        from stateful_route.cli.inspect.session import run
    access = Access(namespace, context, kubeconfig, redis_url, output)
    run(access, lambda session: even_out(session, service, max_moves, dry_run=dry_run, yes=yes))


def events(  # noqa: PLR0913, PLR0917  each option is a flag
    service: Service,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")] = False,
    last: Annotated[int, typer.Option(metavar="N", min=0, max=500, help="Begin with the last N.")] = 50,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    redis_url: RedisUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Shows what has happened in a service: states that changed and links that moved, with reasons.

    The store remembers about the last 1,000 changes and 4,000 moves of a service. With -f, JSON is a line for each,
    YAML a document.

    [bold]Examples[/bold]

      stateful-route events rooms

      stateful-route events rooms -f --last 0 -o json
    """
    with extra():
        from stateful_route.cli.inspect.events import show
        from stateful_route.cli.inspect.session import run
    access = Access(namespace, context, kubeconfig, redis_url, output)
    run(access, lambda session: show(session, service, last, follow=follow))


def doctor(  # noqa: PLR0913, PLR0917  each option is a flag
    service: AnyService = "",
    operator: Annotated[
        bool,
        typer.Option("--operator", help="Ask for the operator's rights, too: run it in the operator's pod."),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 3 for a warning, too.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    redis_url: RedisUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Looks for what is wrong or will be, and says what to do about it. It changes nothing.

    The resource definition and its version; rights, by SelfSubjectAccessReview; the store: reachable, version,
    persistence, eviction; clocks; where Kubernetes and the store tell different stories; the headless Service; whether
    pods have the time to drain. Exit code 3 when there is an error.

    [bold]Examples[/bold]

      stateful-route doctor

      stateful-route doctor rooms -n games -o json --strict
    """
    with extra():
        from stateful_route.cli.inspect.doctor import examine
        from stateful_route.cli.inspect.session import run
    access = Access(namespace, context, kubeconfig, redis_url, output)
    run(access, lambda session: examine(session, service, operator=operator, strict=strict))
