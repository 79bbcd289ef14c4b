"""What all commands share: their options, the store that they open, how they print, and how they end."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from stateful_route.domain.errors import (
    AuthenticationFailed,
    InvalidArgument,
    StatefulRouteError,
    StoreRejected,
    StoreUnavailable,
)
from stateful_route.store.connection import Store
from stateful_route.store.layout import check_layout

T = TypeVar("T")

FAILED = 1
USAGE = 2
INTERRUPTED = 130

ADVICE = {
    AuthenticationFailed: "correct the user or password in --redis-url, or the user's permissions (docs/tenants.md)",
    StoreUnavailable: "is it running, and is --redis-url right, rediss:// for TLS included?",
    StoreRejected: "nothing was written by the refused call",
}


class Output(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"


RedisUrl = Annotated[
    str | None,
    typer.Option(
        "--redis-url",
        envvar="STATEFUL_ROUTE_REDIS_URL",
        metavar="URL",
        help="The store: redis://, rediss://, unix://, redis+cluster:// or redis+sentinel://host,…/set. "
        "A password belongs in the variable, not on the command line.",
    ),
]
Namespace = Annotated[
    str,
    typer.Option(
        "--namespace", "-n", envvar="STATEFUL_ROUTE_NAMESPACE", metavar="NAME", help="The services' namespace."
    ),
]
Form = Annotated[
    Output, typer.Option("--output", "-o", metavar="FORM", help="table or json; json goes to stdout, alone.")
]
KeysPerSecond = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Look at so many keys a second at most; default: as a fifth of Redis's time allows.",
    ),
]

DEFAULT_NAMESPACE = "default"


def notes() -> Console:
    """Where all goes that is no answer: stderr."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def run(redis_url: str | None, work: Callable[[Store], Awaitable[T]], *, writes: bool = False) -> T:
    """Open the store, do the work, close it; ends the process with a message when that fails."""
    if not redis_url:
        fail("no store is given: use --redis-url or STATEFUL_ROUTE_REDIS_URL", USAGE)

    async def session() -> T:
        store = Store.from_url(redis_url)
        try:
            await check_layout(store, stamp=writes)
            return await work(store)
        finally:
            await store.close()

    try:
        return asyncio.run(session())
    except InvalidArgument as error:
        fail(str(error), USAGE)
    except StatefulRouteError as error:
        advice = next((text for kind, text in ADVICE.items() if isinstance(error, kind)), None)
        fail(f"{error}\n{advice}" if advice else str(error), FAILED)
    except OSError as error:  # a file's, not the store's
        fail(f"{error.filename or 'the output'}: {error.strerror}", FAILED)
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)


def fail(why: str, code: int) -> NoReturn:
    """End with a message on stderr."""
    notes().print(f"stateful-route store: {why}", markup=False)
    raise typer.Exit(code) from None


def print_json(value: Any) -> None:
    """The answer for machines."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], right: frozenset[str] = frozenset()) -> None:
    """The answer for people; a cell is text, or rich's ``Text`` where it has a colour."""
    console = Console(highlight=False)
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def duration(seconds: float) -> str:
    """So long, in two units at most: ``4m10s``."""
    left = int(seconds)
    units = [("d", 86400), ("h", 3600), ("m", 60), ("s", 1)]
    parts: list[str] = []
    for unit, size in units:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"
