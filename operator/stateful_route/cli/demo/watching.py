"""What the demo sees: the pods' states, reasons and links, and how long each step took."""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from stateful_route.domain.aliveness import Heartbeat, PodView, is_alive
from stateful_route.store.connection import Store
from stateful_route.store.index import count_links
from stateful_route.store.keys import Service
from stateful_route.store.states import get_service

LOOK_SECONDS = 0.1
EVENTS_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Change:
    """A state change as the stream has it; ``at`` in seconds since the epoch by the store's clock."""

    at: float
    ordinal: int
    state: str
    reason: str


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
        self._last = {service.changes: "0", service.moves: "0"}

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
        for at, fields in await self._news(self._service.changes):
            self._changed(Change(at, int(fields["pod"]), fields["to"], fields["reason"]))
        for at, fields in await self._news(self._service.moves):
            self._moved(at, int(fields["from"]), len(json.loads(fields["moves"])))

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

    async def _news(self, stream: str) -> list[tuple[float, dict[str, str]]]:
        entries = await self._store.command("XRANGE", stream, f"({self._last[stream]}", "+")
        news = []
        for entry, fields in entries:
            self._last[stream] = entry.decode()
            texts = [text.decode() for text in (fields if isinstance(fields, list) else sum(fields.items(), ()))]
            milliseconds = int(entry.partition(b"-")[0])
            news.append((milliseconds / 1000, dict(zip(texts[::2], texts[1::2], strict=True))))
        return news

    def _changed(self, change: Change) -> None:
        for figures in self._about(change.ordinal):
            since = max(0.0, change.at - figures.fact)
            if change.state == "DENY_NEW_CALL" and figures.denied is None:
                figures.denied = since
            if change.state == "SHUTDOWN" and figures.shut is None:
                figures.shut = since
        self.say(f"rooms-{change.ordinal} is {change.state or 'forgotten'} ({change.reason})", change.at)

    def _moved(self, at: float, ordinal: int, links: int) -> None:
        for figures in self._about(ordinal):
            figures.links += links
            figures.last_link = max(0.0, at - figures.fact)
        self.say(f"{links} links moved off rooms-{ordinal}", at)

    def _about(self, ordinal: int) -> list[Figures]:
        return [figures for figures in self.view.figures[-1:] if ordinal in figures.ordinals]
