"""What all commands print, and how they end: answers on stdout as a table, JSON or YAML, all else on stderr."""

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import typer
import yaml
from rich.console import Console
from rich.table import Table

from stateful_route.domain.remedy import remedy

FAILED = 1
USAGE = 2
NO = 3
"""What was asked about does not hold: the pod is not empty in time, the doctor has found an error."""
INTERRUPTED = 130

COLOURS = {"READY": "green", "DENY_NEW_CALL": "yellow", "SHUTDOWN": "red"}


class Output(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Form = Annotated[
    Output,
    typer.Option("--output", "-o", metavar="FORM", help="table, json or yaml; the last two go to stdout, alone."),
]


def notes() -> Console:
    """Where all goes that is no answer: stderr."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def fail(why: str, code: int, command: str = "stateful-route") -> NoReturn:
    """End with a message on stderr."""
    notes().print(f"{command}: {why}", markup=False)
    raise typer.Exit(code) from None


def confirm(question: str, command: str = "stateful-route") -> None:
    """Ask on stderr; ends the process when the answer is no, or nobody is there to give one."""
    if not sys.stdin.isatty():
        fail(f"{question}\nNobody can be asked without a terminal: repeat it with --yes", USAGE, command)
    if not typer.confirm(question, err=True):
        fail("left as it was", FAILED, command)


def advised(error: Exception) -> str:
    """The error's message, and on a second line what to do about it where that is known."""
    cure = remedy(error)
    return f"{error}\n{cure}" if cure else str(error)


def print_answer(output: Output, value: Any) -> None:
    """The answer for machines; a list or mapping of what JSON knows."""
    if output is Output.YAML:
        plain = json.loads(json.dumps(value))  # words of an enumeration become text
        sys.stdout.write(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
    else:
        sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_next(output: Output, value: Any) -> None:
    """One of many answers, at once: a line of JSON, or a document of YAML."""
    if output is Output.YAML:
        sys.stdout.write("---\n")
        print_answer(output, value)
    else:
        sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def table_of(columns: Sequence[str], rows: Sequence[Sequence[Any]], right: frozenset[str] = frozenset()) -> Table:
    """A table for people; a cell is text, or rich's ``Text`` where it has a colour; ``right``: aligned so."""
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], right: frozenset[str] = frozenset()) -> None:
    """The answer for people, as `table_of`."""
    Console(highlight=False).print(table_of(columns, rows, right))


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
