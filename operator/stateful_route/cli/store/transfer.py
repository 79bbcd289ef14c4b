"""``export`` and ``import``: links and workload states, as lines of JSON; both can be interrupted and go on."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from stateful_route.cli.answers import (
    FAILED,
    USAGE,
    Form,
    Output,
    notes,
    print_answer,
)
from stateful_route.cli.store.look import named
from stateful_route.cli.store.progress import progress
from stateful_route.cli.store.session import (
    DEFAULT_NAMESPACE,
    KeysPerSecond,
    Namespace,
    RedisUrl,
    fail,
    run,
)
from stateful_route.domain.errors import InvalidArgument
from stateful_route.store.archive import (
    Imported,
    Mark,
    StoredLink,
    Workload,
    decode,
    encode,
    import_links,
    import_workload,
    services,
)
from stateful_route.store.archive import export as export_service
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service

LINES_PER_TRIP = 1000


def export(  # noqa: PLR0913, PLR0917  each option is a flag
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="Which service; default: all.")] = "",
    namespace: Namespace = DEFAULT_NAMESPACE,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="Write there instead of to stdout.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with FILE where it ends.")] = False,
    keys_per_second: KeysPerSecond = None,
    redis_url: RedisUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Writes the links and workload states of a service, or of a namespace, as lines of JSON; it only reads.

    Times to live are kept as points in time. Not written: index entries, which the import makes anew, and the states of
    pods, which their pods and operator publish again.

    [bold]Examples[/bold]

      stateful-route store export rooms --file rooms.jsonl

      stateful-route store export rooms --file rooms.jsonl --resume

      stateful-route store export -n games | gzip > games.jsonl.gz
    """
    if service:
        named(namespace, service)
    if resume and file is None:
        fail("--resume needs the --file to go on with", USAGE)
    if file is not None and file.exists() and not resume:
        fail(f"{file} is there already: go on with it by --resume, or name another", USAGE)
    marks = _marks(file) if file is not None and file.exists() else {}
    counts = {"links": 0, "unreadable": 0}
    begun = bool(marks)

    async def write(store: Store) -> None:
        nonlocal begun
        for name in [service] if service else await services(store, namespace):
            target = Service(namespace, name)
            after = marks.get(target)
            if after is not None and after.done:
                continue
            async for portion in export_service(store, target, after=after, keys_per_second=keys_per_second):
                lines = [encode(entry) for entry in (*portion.entries, portion.mark)]
                out.write("\n".join(lines) + "\n")
                begun = True
                counts["links"] += sum(isinstance(entry, StoredLink) for entry in portion.entries)
                counts["unreadable"] += portion.unreadable
                line.say(f"exporting {target}: {counts['links']:,} links")

    again = "repeat the command with --resume to continue" if file is not None else "with --file it can be continued"
    with _written(file) as out, progress("exporting") as line, _saying(lambda: again if begun else ""):
        run(redis_url, write)
    if output is not Output.TABLE and file is not None:
        print_answer(output, counts)
        return
    notes().print(f"{counts['links']:,} links exported", markup=False)
    if counts["unreadable"]:
        notes().print(f"{counts['unreadable']:,} links that hold no pod index were left out", markup=False)


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What export has written; - for stdin.")],
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", metavar="NAME", help="Write there; default: as the archive says.")
    ] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write over links that stand; default: they are kept.")
    ] = False,
    from_line: Annotated[int, typer.Option(metavar="N", min=1, help="Skip the lines before this one.")] = 1,
    redis_url: RedisUrl = None,
    output: Form = Output.TABLE,
) -> None:
    """Writes the links and workload states of an archive into the store.

    Each link gets an epoch above the one that it had, so that none falls. It can be repeated: links that stand are
    kept, those that have expired are left out. Nobody is told of links that --overwrite changes.

    [bold]Examples[/bold]

      stateful-route store import rooms.jsonl

      zcat games.jsonl.gz | stateful-route store import - -n games-2 -o json
    """
    total, workloads, reached = Imported(), 0, from_line
    unfinished: set[Service] = set()

    async def read(store: Store) -> None:
        nonlocal total, workloads, reached
        pending: list[StoredLink] = []
        for number, text in enumerate(source, 1):
            if number < from_line or not text.strip():
                continue
            entry = _entry(number, text, namespace)
            unfinished.add(entry.service)
            if isinstance(entry, StoredLink):
                pending.append(entry)
            elif isinstance(entry, Workload):
                workloads += await import_workload(store, entry, overwrite=overwrite)
            elif entry.done:
                unfinished.discard(entry.service)
            if len(pending) == LINES_PER_TRIP:
                total += await import_links(store, pending, overwrite=overwrite)
                pending, reached = [], number + 1
                line.say(f"importing: {total.written:,} links written, {total.kept:,} kept")
        total += await import_links(store, pending, overwrite=overwrite)

    opened = nullcontext(sys.stdin.buffer) if file == "-" else _opened(Path(file), "rb")
    with opened as source, progress("importing") as line, _saying(lambda: _continued(from_line, reached)):
        run(redis_url, read, writes=True)
    if output is not Output.TABLE:
        print_answer(output, {**asdict(total), "workloads": workloads})
    else:
        text = f"{total.written:,} links written, {total.kept:,} kept as they stood, {total.expired:,} expired since"
        notes().print(text, markup=False)
        for target in sorted(unfinished, key=str):
            notes().print(f"the archive of {target} is not complete: go on with the export by --resume", markup=False)


def _continued(began: int, reached: int) -> str:
    return f"repeat the command with --from-line {reached} to continue" if reached > began else ""


def _entry(number: int, text: bytes, namespace: str) -> StoredLink | Workload | Mark:
    try:
        entry = decode(text)
        return replace(entry, service=Service(namespace, entry.service.name)) if namespace else entry
    except InvalidArgument as error:
        raise InvalidArgument(f"line {number} cannot be imported: {error}") from None


def _marks(file: Path) -> dict[Service, Mark]:
    """The last mark of each service in an archive; a last line without an end is cut off."""
    marks = {}
    with _opened(file, "r+b") as lines:
        end = 0
        for text in lines:
            if not text.endswith(b"\n"):
                lines.truncate(end)
                break
            end += len(text)
            if isinstance(entry := _entry_or_usage(file, text), Mark):
                marks[entry.service] = entry
    return marks


def _entry_or_usage(file: Path, text: bytes) -> StoredLink | Workload | Mark:
    try:
        return decode(text)
    except InvalidArgument as error:
        fail(f"{file} is no archive to go on with: {error}", USAGE)


@contextmanager
def _written(file: Path | None) -> Iterator[IO[str]]:
    """Where the archive is written; a new file to which nothing was written is removed when the work fails."""
    if file is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    is_new = not file.exists()
    try:
        with _opened(file, "a") as out:
            yield out
    except BaseException:
        if is_new and file.is_file() and file.stat().st_size == 0:
            file.unlink()
        raise


@contextmanager
def _opened(file: Path, mode: str) -> Iterator[IO[Any]]:
    try:
        stream = file.open(mode)
    except OSError as error:
        fail(f"{file}: {error.strerror}", USAGE)
    with stream:
        yield stream


@contextmanager
def _saying(go_on: Callable[[], str]) -> Iterator[None]:
    """How to continue, when the work fails after a part of it; an empty text: there is nothing to continue."""
    try:
        yield
    except typer.Exit as ended:
        if ended.exit_code not in {0, USAGE} and (text := go_on()):
            before = "when the cause has been removed, " if ended.exit_code == FAILED else ""
            notes().print(before + text, markup=False)
        raise
