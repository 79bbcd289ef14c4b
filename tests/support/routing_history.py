"""What several processes did and saw, read from their journals: the facts that `support.routing_promises` judges.

All times are seconds by CLOCK_MONOTONIC, which is one clock for all processes of a machine. What a process was told
became true between its asking and its being answered.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

Entry = Mapping[str, Any]

FOREVER = math.inf


class Said(NamedTuple):
    """The store has said that a uid is linked to a pod since an epoch.

    ``how``: ``read``; ``found`` by a caller that computed; ``placed`` by it, off ``previous`` (None: it had no link);
    ``taken`` by the pod itself, for good; ``renewed`` by it: the link named it already, and has another epoch;
    ``refused``: another pod has it for good.
    """

    uid: str
    pod: int
    epoch: int
    asked: float
    answered: float
    who: str
    how: str = "read"
    previous: int | None = None

    @property
    def written(self) -> bool:
        """Whoever was told so had just made it so."""
        return self.how in {"placed", "taken", "renewed"}


class Placement(NamedTuple):
    """A caller has linked a uid to a pod; ``ready``: the pods that were so in its view, of ``read``."""

    said: Said
    begun: float
    ready: frozenset[int]
    read: float | None


class Unknown(NamedTuple):
    """A write of which nobody knows what came of it; ``pod`` None: a removal."""

    uid: str
    pod: int | None
    asked: float
    who: str


class Removal(NamedTuple):
    """A link was removed, if it named the pod."""

    uid: str
    pod: int
    asked: float
    who: str


class Fence(NamedTuple):
    """A pod has asked whether it still owns a uid since an epoch, before it writes or for itself."""

    who: str
    uid: str
    epoch: int
    asked: float
    yes: bool


class Serve(NamedTuple):
    """A pod has served a request by what it had in memory."""

    who: str
    pod: int
    uid: str
    epoch: int
    at: float


class StateWrite(NamedTuple):
    """A pod's effective state, as its publication was acknowledged."""

    pod: int
    state: str
    asked: float
    answered: float
    who: str


class View(NamedTuple):
    """What a caller's snapshot said from then on: pod → effective state."""

    caller: str
    at: float
    states: Mapping[int, str]


class Hop(NamedTuple):
    """One attempt of a request; ``answer``: served, moved, busy, unreachable, error."""

    pod: int | None
    cached: bool
    began: float
    ended: float
    answer: str


class Request(NamedTuple):
    """One request of a caller; ``error``: what computing the pod has raised in the end."""

    caller: str
    uid: str
    began: float
    ended: float
    hops: tuple[Hop, ...]
    error: str | None

    @property
    def direct(self) -> bool:
        """It reached the owner at once."""
        return len(self.hops) == 1 and self.hops[0].answer == "served"


class Span(NamedTuple):
    """From when to when something was so; ``pod`` -1: the store."""

    began: float
    ended: float
    what: str = ""
    pod: int = -1

    def meets(self, began: float, ended: float, slack: float = 0.0) -> bool:
        """Whether it overlaps another span, or does when it lasts so much longer."""
        return self.began <= ended and began <= self.ended + slack


@dataclass
class History:
    """All that is known.

    Attributes:
        troubles: When a pod was signalled, stopped or away.
        sleeps: When which process was stopped, and its name in ``what``.
        outages: When the store was away; ``what`` is ``emptied`` if it came back without its data.
        steps: When the server's clock was stepped.
        phases: What was going on when, for counting.
        lives: Caller → from its first view to its end.
        late: How long processes were not let run, for judging what came late.
    """

    said: list[Said] = field(default_factory=list)
    placements: list[Placement] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)
    fences: list[Fence] = field(default_factory=list)
    serves: list[Serve] = field(default_factory=list)
    state_writes: list[StateWrite] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    troubles: list[Span] = field(default_factory=list)
    sleeps: list[Span] = field(default_factory=list)
    outages: list[Span] = field(default_factory=list)
    steps: list[Span] = field(default_factory=list)
    phases: list[Span] = field(default_factory=list)
    lives: dict[str, Span] = field(default_factory=dict)
    late: list[Span] = field(default_factory=list)
    ahead: dict[str, float] = field(default_factory=dict)
    """Process → its wall clock's seconds before its monotonic clock's."""
    told: list[tuple[str, Entry]] = field(default_factory=list)
    """Process, entry: what hooks and callbacks were told, and counts."""

    def away(self, began: float, ended: float) -> float:
        """For how long of that time the store was."""
        return sum(max(0.0, min(ended, span.ended) - max(began, span.began)) for span in self.outages)

    def lateness(self, who: str, began: float, ended: float) -> float:
        """For how long of that time a process was not let run, by its own pulse."""
        return sum(max(0.0, min(ended, span.ended) - max(began, span.began)) for span in self.late if span.what == who)

    def read(self, path: Path) -> None:
        """Add a process's journal; a last line that was cut is left out."""
        self._read(_entries(path))

    def _read(self, entries: Iterator[Entry]) -> None:
        process = next(entries)
        self.ahead[str(process["name"])] = process["wall"] - process["at"]
        reader = _Reader(self, str(process["name"]), int(process.get("ordinal", -1)))
        for entry in entries:
            reader.take(entry)
        reader.finish()


class _Reader:
    """Reads one journal, in the order of its lines."""

    def __init__(self, history: History, who: str, ordinal: int) -> None:
        self._history = history
        self._who = who
        self._ordinal = ordinal
        self._open: dict[int, Entry] = {}
        self._views: list[tuple[float, frozenset[int]]] = []
        self._last = 0.0

    def take(self, entry: Entry) -> None:
        self._last = entry["at"]
        kind = entry["k"]
        if kind == "ask":
            self._open[entry["n"]] = {**entry, "ready": self._ready_since(entry)}
        elif kind == "told":
            self._answered(self._open.pop(entry["n"]), entry)
        elif kind == "view":
            self._view(entry)
        elif kind == "call":
            hops = tuple(Hop(*hop) for hop in entry["hops"])
            request = Request(self._who, entry["uid"], entry["began"], entry["at"], hops, entry["error"])
            self._history.requests.append(request)
        elif kind == "served":
            serve = Serve(self._who, self._ordinal, entry["uid"], entry["epoch"], entry["since"])
            self._history.serves.append(serve)
        elif kind == "late":
            self._history.late.append(Span(entry["at"] - entry["seconds"], entry["at"], self._who))
        else:
            self._history.told.append((self._who, entry))

    def finish(self) -> None:
        for entry in self._open.values():
            self._unknown(entry)
        if self._views:
            self._history.lives[self._who] = Span(self._views[0][0], self._last, self._who)

    def _view(self, entry: Entry) -> None:
        states = {int(pod): state for pod, state in entry["states"].items()}
        self._history.views.append(View(self._who, entry["at"], states))
        self._views.append((entry["at"], frozenset(entry["ready"])))

    def _ready_since(self, entry: Entry) -> frozenset[int]:
        """The pods that were READY in a view that counted at some time since the request had begun.

        Threads may have taken an older view than that of the moment when they call the script.
        """
        begun = entry.get("begun")
        found: frozenset[int] = frozenset()
        for at, ready in reversed(self._views):
            found |= ready
            if begun is None or at <= begun:
                break
        return found

    def _answered(self, asked: Entry, told: Entry) -> None:
        if "e" in told:
            if told["w"]:
                self._unknown(asked)
            return
        name, args, reply = asked["s"], asked["a"], told["r"]
        history, times = self._history, (asked["at"], told["at"], self._who)
        match name:
            case "statefulComputeLinkIfAbsent" if reply[0] >= 0:
                self._computed(asked, Said(args[0], reply[0], reply[1], *times), reply[2])
            case "takeLink" if reply[1] >= 0:
                outcome, pod, epoch, _ = reply
                how = ("refused", "renewed" if args[4] == "same" else "taken", "read")[outcome]
                history.said.append(Said(args[0], pod, epoch, *times, how))
            case "statefulGetLink" if reply[0] >= 0:
                history.said.append(Said(args[0], reply[0], reply[1], *times))
            case "isOwner":
                history.fences.append(Fence(self._who, args[0], args[3], asked["at"], bool(reply)))
            case "statefulRemoveLinkWithId" if reply[0]:
                history.removals.append(Removal(args[0], self._ordinal, asked["at"], self._who))
            case "statefulSetState":
                history.state_writes.append(StateWrite(int(args[0]), reply[0], *times))

    def _computed(self, asked: Entry, link: Said, before: int) -> None:
        if link.pod == before:
            self._history.said.append(link._replace(how="found", previous=before))
            return
        said = link._replace(how="placed", previous=None if before < 0 else before)
        self._history.said.append(said)
        begun = asked["at"] if asked["begun"] is None else asked["begun"]
        self._history.placements.append(Placement(said, begun, asked["ready"], asked["read"]))

    def _unknown(self, asked: Entry) -> None:
        args = asked["a"]
        match asked["s"]:
            case "statefulComputeLinkIfAbsent":
                pods: list[int | None] = [int(pod) for pod in args[7::2]]
            case "takeLink":
                pods = [int(args[2])]
            case "statefulRemoveLinkWithId":
                pods = [None]
            case _:
                pods = []
        self._history.unknown += [Unknown(args[0], pod, asked["at"], self._who) for pod in pods]


def by_uid(items: Iterable[Any]) -> dict[str, list[Any]]:
    """The same, sorted into lists by uid."""
    found: dict[str, list[Any]] = {}
    for item in items:
        found.setdefault(item.uid, []).append(item)
    return found


def _entries(path: Path) -> Iterator[Entry]:
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)
