"""``repair`` and ``rebuild``: make the index agree with the links."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated

import typer

from stateful_route.cli.answers import (
    Form,
    Output,
    print_answer,
    print_table,
)
from stateful_route.cli.store.look import named
from stateful_route.cli.store.progress import progress
from stateful_route.cli.store.session import (
    DEFAULT_NAMESPACE,
    KeysPerSecond,
    Namespace,
    RedisUrl,
    run,
)
from stateful_route.store.connection import Store
from stateful_route.store.index import Repaired, Tell, repair_service
from stateful_route.store.index import rebuild as rebuild_index

WHAT = {
    "expired": "entries whose link was gone, dropped",
    "moved": "entries that named another pod than their link, corrected",
    "found": "links that were not in the index, entered",
    "foreign": "links that hold no pod index, left untouched",
    "broken": "entries that cannot be ours, dropped",
}


def repair(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="Whose index.")],
    namespace: Namespace = DEFAULT_NAMESPACE,
    foreign: Annotated[
        bool, typer.Option("--foreign", help="Look at every key of the store for links that foreign clients made, too.")
    ] = False,
    keys_per_second: KeysPerSecond = None,
    redis_url: RedisUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Mends the index of a service where it disagrees with the links. Safe at any time, also when repeated.

    The operator does the same every repair.periodSeconds; this is for who cannot wait, or has no operator.

    [bold]Examples[/bold]

      stateful-route store repair rooms

      stateful-route store repair rooms -n games --foreign --keys-per-second 20000
    """
    target = named(namespace, service)
    report(
        redis_url,
        f"repairing {target}",
        lambda store, tell: repair_service(store, target, foreign=foreign, keys_per_second=keys_per_second, tell=tell),
        output,
    )


def rebuild(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="Whose index.")],
    namespace: Namespace = DEFAULT_NAMESPACE,
    keys_per_second: KeysPerSecond = None,
    redis_url: RedisUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Makes the index of a service anew from its links: after it was lost or damaged. Safe at any time.

    Looks at every key of the store. Links that agree with the index keep their epochs; none falls.

    [bold]Examples[/bold]

      stateful-route store rebuild rooms

      stateful-route store rebuild rooms -n games -o json
    """
    target = named(namespace, service)
    report(
        redis_url,
        f"rebuilding {target}",
        lambda store, tell: rebuild_index(store, target, keys_per_second=keys_per_second, tell=tell),
        output,
    )


def report(
    redis_url: str | None, doing: str, work: Callable[[Store, Tell], Awaitable[Repaired]], output: Output
) -> None:
    """Do it, with its progress on a terminal, and print what was found."""
    with progress(doing) as line:

        def tell(looked_at: int, repaired: Repaired) -> None:
            mended = repaired.expired + repaired.moved + repaired.found + repaired.broken
            line.say(f"{doing}: {looked_at:,} keys looked at, {mended:,} mended")

        done = run(redis_url, lambda store: work(store, tell), writes=True)
    if output is not Output.TABLE:
        print_answer(output, asdict(done))
    else:
        rows = [(name, f"{count:,}", WHAT[name]) for name, count in asdict(done).items()]
        print_table(("FOUND", "COUNT", "WHAT WAS DONE"), rows, frozenset({"COUNT"}))
