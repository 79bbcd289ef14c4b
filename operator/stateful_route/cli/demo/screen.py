"""How the demo looks: a live table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stateful_route.cli.demo.watching import Figures, View

COLOURS = {"READY": "green", "DENY_NEW_CALL": "yellow", "SHUTDOWN": "red"}
BAR_LINKS = 20


def screen(view: View) -> RenderableType:
    """The whole of it, as it is now."""
    pods = Table(expand=True, box=None, padding=(0, 1))
    pods.add_column("POD")
    pods.add_column("STATE")
    pods.add_column("REASON")
    pods.add_column("LINKS", justify="right")
    pods.add_column("", ratio=1)
    for ordinal, pod in sorted(view.pods.items()):
        state, links = pod.effective, view.links.get(ordinal, 0)
        reason = pod.record.reason if pod.record else ""
        colour = COLOURS[state]
        bar = Text("█" * (links // BAR_LINKS), style=colour)
        pods.add_row(f"rooms-{ordinal}", Text(state, style=colour), reason, str(links), bar)
    events = Text("\n".join(f"{clock(at)}  {text}" for at, text in view.events))
    title = f"[bold]{view.act}[/bold]"
    return Group(Panel(pods, title=title, title_align="left"), Panel(events, title="last events", title_align="left"))


def figures_table(figures: Sequence[Figures]) -> Table:
    """How long each act took."""
    table = Table(title="From the fact in Kubernetes until …", title_justify="left")
    table.add_column("act")
    for name in ("denied in Redis", "SHUTDOWN in Redis", "last link moved", "links moved"):
        table.add_column(name, justify="right")
    for row in figures:
        table.add_row(row.act, _took(row.denied), _took(row.shut), _took(row.last_link), str(row.links))
    return table


def plain_state(view: View) -> str:
    """One line for the pods and their links."""
    pods = sorted(view.pods.items())
    return "  ".join(f"rooms-{o} {pod.effective} {view.links.get(o, 0)}" for o, pod in pods)


def is_live(console: Console) -> bool:
    """True on a terminal that can redraw."""
    return console.is_terminal and not console.is_dumb_terminal


def _took(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def clock(at: float) -> str:
    """The time of day, to the millisecond."""
    return time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at * 1000) % 1000:03d}"
