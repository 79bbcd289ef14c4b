"""``python -m benchmarks [events|operator|routes|links|callers|million …]``: prints tables of figures."""

import argparse
import asyncio
import sys

from rich.console import Console

from benchmarks import callers, events, links, many_routes, million, operator_size
from benchmarks.bed import Size, bed
from benchmarks.figures import machine
from stateful_route.devcluster.embedded_store import find_servers

OF_THE_OPERATOR = {"events": events.measure, "operator": operator_size.measure, "routes": many_routes.measure}
OF_THE_STORE = {"links": links.measure, "callers": callers.measure, "million": million.measure}


def main() -> int:
    """Measure what is asked for."""
    servers = {server.name: server for server in find_servers()}
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description="Prints tables of figures.")
    parser.add_argument("parts", nargs="*", choices=[*OF_THE_OPERATOR, *OF_THE_STORE], help="default: all of them")
    parser.add_argument(
        "--links", type=int, default=Size().links, help="how many the million are; default: %(default)s"
    )
    parser.add_argument("--server", choices=servers, help="for links and million; default: Valkey, and what is here")
    asked = parser.parse_args()
    chosen = asked.parts or [*OF_THE_OPERATOR, *OF_THE_STORE]
    console = Console(highlight=False)
    console.print(f"[bold]{machine()}[/bold]")
    size = Size(asked.links, servers.get(asked.server))
    for name in (name for name in chosen if name in OF_THE_STORE):
        asyncio.run(OF_THE_STORE[name](size, console))
    if any(name in OF_THE_OPERATOR for name in chosen):
        with bed(console) as running:
            for name in (name for name in chosen if name in OF_THE_OPERATOR):
                asyncio.run(OF_THE_OPERATOR[name](running, console))
    return 0


if __name__ == "__main__":
    sys.exit(main())
