"""What the commands share that need the store alone: their options, the store that they open, how they end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, NoReturn, TypeVar

import typer

from stateful_route.cli import answers
from stateful_route.cli.answers import FAILED, INTERRUPTED, USAGE, advised
from stateful_route.domain.errors import InvalidArgument, StatefulRouteError
from stateful_route.store.connection import Store
from stateful_route.store.layout import check_layout

T = TypeVar("T")

RedisUrl = Annotated[
    str | None,
    typer.Option(
        "--redis-url",
        envvar="STATEFUL_ROUTE_REDIS_URL",
        metavar="URL",
        help="The store: redis://, unix://, redis+cluster://host,… or redis+sentinel://host,…/set; with TLS rediss://, "
        "rediss+cluster://, rediss+sentinel://. A password belongs in the variable, not on the command line.",
    ),
]
Namespace = Annotated[
    str,
    typer.Option(
        "--namespace", "-n", envvar="STATEFUL_ROUTE_NAMESPACE", metavar="NAME", help="The services' namespace."
    ),
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
        fail(advised(error), FAILED)
    except OSError as error:  # a file's, not the store's
        fail(f"{error.filename or 'the output'}: {error.strerror}", FAILED)
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)


def fail(why: str, code: int) -> NoReturn:
    """End with a message on stderr."""
    answers.fail(why, code, "stateful-route store")
