"""``events``: what has happened in a service: states that changed, links that moved."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.cli.answers import COLOURS, Output, notes, print_answer, print_next
from stateful_route.cli.inspect.session import Session
from stateful_route.domain.errors import StoreUnavailable
from stateful_route.store.migrate import NOBODY, PURGED
from stateful_route.store.streams import Happening, News, StateChange

LOOK_SECONDS = 0.5
AWAY_SECONDS = 3.0


async def show(session: Session, service: str, last: int, *, follow: bool) -> None:
    """Print the ``last`` things that have happened; then, if asked for, what happens, until interrupted."""
    route, output = await session.route(service), session.access.output
    news = News(await session.store(route), session.service(route))
    found = await news.latest(last)
    if not follow and output is not Output.TABLE:
        print_answer(output, [_fields(route, happening) for happening in found])
        return
    printer = _Printer(route, output, max(map(len, (_pod(route, happening.ordinal) for happening in found)), default=0))
    printer.print(found)
    if not found:
        text = f"nothing has happened in {session.service(route)} as far as the store remembers"
        notes().print(text, markup=False, style="dim")
    while follow:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            printer.print(await news.more())
        except StoreUnavailable as error:
            notes().print(f"{error}; trying again", markup=False, style="yellow")
            await asyncio.sleep(AWAY_SECONDS)


class _Printer:
    """Prints line by line: what comes later cannot widen a column that is printed already."""

    def __init__(self, route: StatefulRoute, output: Output, width: int) -> None:
        self._route, self._output = route, output
        self._width = max(width, len(_pod(route, 0)))
        self._console = Console(highlight=False, soft_wrap=True)

    def print(self, happenings: list[Happening]) -> None:
        """Print them."""
        for happening in happenings:
            if self._output is Output.TABLE:
                self._console.print(_line(self._route, happening, self._width))
            else:
                print_next(self._output, _fields(self._route, happening))
        self._console.file.flush()


def _pod(route: StatefulRoute, ordinal: int) -> str:
    return "nobody" if ordinal == NOBODY else f"{route.workload_name}-{ordinal}"


def _fields(route: StatefulRoute, happening: Happening) -> dict[str, Any]:
    common = {
        "time": datetime.fromtimestamp(happening.at, UTC).isoformat(timespec="milliseconds"),
        "pod": _pod(route, happening.ordinal),
        "reason": happening.reason,
    }
    if isinstance(happening, StateChange):
        return {**common, "kind": "StateChanged", "from": happening.before or None, "to": happening.after or None}
    moved = {_pod(route, ordinal): links for ordinal, links in sorted(happening.to.items())}
    return {**common, "kind": "LinksMoved", "links": sum(moved.values()), "to": moved}


def _line(route: StatefulRoute, happening: Happening, width: int) -> Text:
    time = datetime.fromtimestamp(happening.at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    line = Text(f"{time}  {_pod(route, happening.ordinal):{width}}  ")
    if isinstance(happening, StateChange):
        before, after = happening.before or "unknown", happening.after or "forgotten"
        line.append(f"{before} → ")
        line.append(after, style=COLOURS.get(after, ""))
    elif happening.reason == PURGED:
        line.append("all links deleted")
    else:
        links = sum(happening.to.values())
        to = ", ".join(f"{_pod(route, ordinal)} {count:,}" for ordinal, count in sorted(happening.to.items()))
        line.append(f"{links:,} {'link' if links == 1 else 'links'} → {to}")
    line.append(f"  ({happening.reason or 'the app'})", style="dim")
    return line
