"""What the store says on a service's channel, understood (docs/store-layout.md)."""

from collections.abc import Sequence
from typing import NamedTuple

from stateful_route.domain.routing import LinkAction, RoutingState


class PodChange(NamedTuple):
    """What has become of a pod.

    Attributes:
        pod: Its index.
        state: Its effective state now; None: it was forgotten.
        links: What becomes of its links, where an operator has said it; None: the app has changed its word.
    """

    pod: int
    state: RoutingState | None
    links: LinkAction | None


class StatesChanged(NamedTuple):
    """Routing states are others now.

    Attributes:
        before: The stream's last entry before; empty: it was not said.
        last: Its last entry now, likewise; the same if no state has changed, but what becomes of links.
        changes: Pod by pod.
        complete: It says all; False: some of it was not understood, or there is more: all states have to be read.
    """

    before: str = ""
    last: str = ""
    changes: Sequence[PodChange] = ()
    complete: bool = False


class LinksMoved(NamedTuple):
    """Links have moved.

    Attributes:
        before, last: Entries of the stream, as in `StatesChanged`; empty: not understood, the stream has to be read.
        source: The pod that they named.
        targets: The pods that they name now.
    """

    before: str = ""
    last: str = ""
    source: int = -1
    targets: Sequence[int] = ()


class PodDoubted(NamedTuple):
    """A caller cannot reach a pod; which one is read from the store."""


Message = StatesChanged | LinksMoved | PodDoubted


def understood(text: str) -> Message | None:
    """What a message says; None: nothing that this version knows."""
    kind, *words = text.split(" ")
    if kind == "ev":
        return _states(words)
    if kind == "mv":
        return _links(words)
    return PodDoubted() if kind == "hi" else None


def place(entry: str) -> tuple[int, int]:
    """The order of a stream's entries; raises ValueError for what is none."""
    milliseconds, _, number = entry.partition("-")
    return int(milliseconds), int(number)


def _states(words: Sequence[str]) -> StatesChanged:
    changes = [_change(word) for word in words[2:]]
    known = tuple(change for change in changes if change is not None)
    if not changes or not _are_entries(words[:2]):
        return StatesChanged(changes=known)
    return StatesChanged(words[0], words[1], known, len(known) == len(changes))


def _change(word: str) -> PodChange | None:
    pod, _, rest = word.partition("=")
    state, _, links = rest.partition("/")
    try:
        return PodChange(int(pod), RoutingState(state) if rest else None, LinkAction(links) if links else None)
    except ValueError:
        return None


def _links(words: Sequence[str]) -> LinksMoved:
    try:
        before, last, source, targets = words
        moved = LinksMoved(before, last, int(source), tuple(map(int, targets.split(","))))
    except ValueError:
        return LinksMoved()
    return moved if _are_entries((before, last)) else LinksMoved()


def _are_entries(words: Sequence[str]) -> bool:
    try:
        return all(place(word) >= (0, 0) for word in words)
    except ValueError:
        return False
