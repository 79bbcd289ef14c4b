"""What the demo sees: the pods' states, reasons and links, and how long each step took."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from stateful_route.domain.aliveness import Heartbeat, PodView, is_alive
from stateful_route.store.connection import Store
from stateful_route.store.index import count_links
from stateful_route.store.keys import Service
from stateful_route.store.states import get_service
from stateful_route.store.streams import News, StateChange

LOOK_SECONDS = 0.1
EVENTS_SHOWN = 8


@dataclass(slots=True)
class Figures:
    """How long one act took, in seconds from the fact in Kubernetes; None: it has not happened."""

    act: str
    fact: float
    ordinals: tuple[int, ...]
    denied: float | None = None
    shut: float | None = None
    last_link: float | None = None
    links: int = 0


@dataclass(slots=True)
class View:
    """What is on the screen."""

    act: str = "setting up"
    pods: dict[int, PodView] = field(default_factory=dict)
    links: dict[int, int] = field(default_factory=dict)
    events: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=EVENTS_SHOWN))
    figures: list[Figures] = field(default_factory=list)


class Watcher:
    """Looks at the store ten times a second; ``on_event`` is called with each event's time and text."""

    def __init__(self, store: Store, service: Service, on_event: Callable[[float, str], None]) -> None:
        self.view = View()
        self._store, self._service = store, service
        self._on_event = on_event
        self._news = News(store, service)

    def begin(self, act: str, ordinals: tuple[int, ...]) -> Figures:
        """An act begins: its fact is a fact from now on."""
        figures = Figures(act, time.time(), ordinals)
        self.view.figures.append(figures)
        return figures

    def say(self, text: str, at: float | None = None) -> None:
        """Show a line."""
        at = at or time.time()
        self.view.events.append((at, text))
        self._on_event(at, text)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once."""
        seen = await get_service(self._store, self._service)
        self.view.pods = dict(seen.pods)
        self.view.links = await count_links(self._store, self._service)
        for happening in await self._news.more():
            if isinstance(happening, StateChange):
                self._changed(happening)
            else:
                self._moved(happening.at, happening.ordinal, sum(happening.to.values()))

    async def until(self, holds: Callable[[], bool], check: Callable[[], None], what: str, seconds: float) -> None:
        """Wait until ``holds``; ``check`` may raise meanwhile.

        Raises:
            TimeoutError: it did not hold in time.
        """
        deadline = time.monotonic() + seconds
        while not holds():
            check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s: {what}")
            await asyncio.sleep(LOOK_SECONDS / 2)

    def alive(self) -> set[int]:
        """The pods that serve their users now."""
        return {o for o, pod in self.view.pods.items() if is_alive(pod, Heartbeat.AUTO, expire_seconds=60)}

    def _changed(self, change: StateChange) -> None:
        for figures in self._about(change.ordinal):
            since = max(0.0, change.at - figures.fact)
            if change.after == "DENY_NEW_CALL" and figures.denied is None:
                figures.denied = since
            if change.after == "SHUTDOWN" and figures.shut is None:
                figures.shut = since
        self.say(f"rooms-{change.ordinal} is {change.after or 'forgotten'} ({change.reason})", change.at)

    def _moved(self, at: float, ordinal: int, links: int) -> None:
        for figures in self._about(ordinal):
            figures.links += links
            figures.last_link = max(0.0, at - figures.fact)
        self.say(f"{links} links moved off rooms-{ordinal}", at)

    def _about(self, ordinal: int) -> list[Figures]:
        return [figures for figures in self.view.figures[-1:] if ordinal in figures.ordinals]
