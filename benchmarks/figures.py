"""A figure: medians of several runs with their spread, beside the goal."""

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of a table; ``good`` is None where no goal is set."""

    what: str
    value: str
    goal: str = ""
    good: bool | None = None


def spread(values: Sequence[float], unit: str = "", digits: int = 0) -> str:
    """The median, and the least and the greatest value."""
    middle = statistics.median(values)
    if len(values) == 1:
        return f"{middle:,.{digits}f}{unit}"
    return f"{middle:,.{digits}f}{unit} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that ``percent`` of the values do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))]


def machine() -> str:
    """The facts that a figure depends on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} × {cpu}, load {load:.1f}, Python {platform.python_version()}, Linux {platform.release()}"


def show(console: Console, title: str, figures: Sequence[Figure], note: str = "") -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left", caption=note or None, caption_justify="left")
    table.add_column("figure")
    table.add_column("measured: median (least–greatest)", justify="right")
    table.add_column("goal")
    table.add_column("")
    for figure in figures:
        mark = "" if figure.good is None else "[green]met[/green]" if figure.good else "[red]missed[/red]"
        table.add_row(figure.what, figure.value, figure.goal, mark)
    console.print(table)


def version_of(binary: str) -> str:
    """What ``binary --version`` says, in one line."""
    return subprocess.run([binary, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout.strip()
