"""``python -m benchmarks [events|migration|operator …]``: prints tables of figures; all of them by default."""

import argparse
import asyncio
import sys

from rich.console import Console

from benchmarks import events, migration, operator_size
from benchmarks.bed import bed
from benchmarks.figures import machine

PARTS = {"events": events.measure, "operator": operator_size.measure, "migration": migration.measure}


def main() -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description="Prints tables of figures.")
    parser.add_argument("parts", nargs="*", choices=PARTS, help="default: all of them")
    chosen = parser.parse_args().parts or list(PARTS)
    console = Console(highlight=False)
    console.print(f"[bold]{machine()}[/bold]")
    with bed(console) as running:
        for name in chosen:
            asyncio.run(PARTS[name](running, console))
    return 0


if __name__ == "__main__":
    sys.exit(main())
