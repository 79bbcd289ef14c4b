"""The options that these commands share, and how a command finds what it needs; nothing here needs an extra."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from stateful_route.cli.answers import USAGE, Output, fail

Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        envvar="STATEFUL_ROUTE_NAMESPACE",
        metavar="NAME",
        help="The services' namespace; default: that of the kubeconfig's context.",
    ),
]
Context = Annotated[
    str | None, typer.Option("--context", metavar="NAME", help="The kubeconfig's context; default: its current one.")
]
Kubeconfig = Annotated[
    str | None,
    typer.Option(
        "--kubeconfig",
        envvar="KUBECONFIG",
        metavar="PATH",
        help="Default: ~/.kube/config; in a pod its account.",
    ),
]
RedisUrl = Annotated[
    str | None,
    typer.Option(
        "--redis-url",
        envvar="STATEFUL_ROUTE_REDIS_URL",
        metavar="URL",
        help="The store; default: as the StatefulRoute says. Needed where that address is known in the cluster only.",
    ),
]


@dataclass(frozen=True, slots=True)
class Access:
    """What the user has said of where things are; None: nothing."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: str | None = None
    redis_url: str | None = None
    output: Output = Output.TABLE


@contextmanager
def extra() -> Iterator[None]:
    """Imports within need the extra ``operator``; say so where it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "stateful_route":
            raise
        fail(f"this command needs the package {error.name!r}: pip install 'stateful-route[operator]'", USAGE)
