"""What many clients asked for and were told, in the order of call and return; and whether one order explains it all.

The search for such an order is Wing and Gong's, uid by uid: an operation took effect at one moment between its call and
its return, as the model says, and every epoch is a later one than those before. So it is seen whether a uid had two
links, an epoch fell, or a link moved without the comparison that the operation promises.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stateful_route.domain.errors import StoreRejected, StoreUnavailable
from support.link_model import MODEL, Answer, Standing

NEVER = 2**62
READS = frozenset({"get_link", "get_link_if_persist", "is_owner"})


@dataclass(frozen=True)
class Operation:
    """One call; ``answer`` None: it failed, and may have been carried out at any time after the call, or not at all."""

    uid: str
    name: str
    args: tuple[Any, ...]
    asked: int
    answered: int = NEVER
    answer: Answer | None = None
    epoch: int | None = None
    """Of `is_owner`: the epoch that was asked for."""


@dataclass
class History:
    """Records operations. ``failures``: how many failed, by the error's name and whether it may have been written."""

    operations: list[Operation] = field(default_factory=list)
    failures: Counter[tuple[str, bool]] = field(default_factory=Counter)
    _moments: Iterator[int] = field(default_factory=itertools.count)

    def moment(self) -> int:
        """A number that is higher than all before: one event loop has one order of events."""
        return next(self._moments)

    async def record(
        self, uid: str, name: str, args: tuple[Any, ...], work: Awaitable[Answer], epoch: int | None = None
    ) -> Answer | None:
        """Await an operation; what it was told, or None if it failed.

        One that failed for certain is not recorded: that it was not carried out is checked by all others.
        """
        asked = self.moment()
        answer, answered = None, NEVER
        try:
            answer = await work
            answered = self.moment()
        except (StoreUnavailable, StoreRejected) as error:
            self.failures[type(error).__name__, error.maybe_written] += 1
            if not error.maybe_written:
                return None
        self.operations.append(Operation(uid, name, args, asked, answered, answer, epoch))
        return answer

    def unexplained(self) -> list[str]:
        """For each uid whose history no order explains, a sentence with the operations where the search got stuck."""
        by_uid = defaultdict(list)
        for operation in self.operations:
            by_uid[operation.uid].append(operation)
        return [stuck for operations in by_uid.values() if (stuck := _stuck(operations))]


class _Point(NamedTuple):
    """A point of the search: who has taken effect, and what stands then.

    ``exact``: the epoch is ``floor``; else it is a later one, which nobody has been told yet.
    """

    done: int
    standing: Standing = Standing()
    floor: int = 0
    exact: bool = True


def _stuck(operations: Iterable[Operation]) -> str:
    ordered = sorted(operations, key=lambda operation: operation.asked)
    places = range(len(ordered))
    wanted = sum(1 << place for place in places if ordered[place].answer is not None)
    first = _Point(0)
    stack, seen = [first], {first}
    furthest = first
    while stack:
        point = stack.pop()
        if point.done & wanted == wanted:
            return ""
        if (point.done & wanted).bit_count() > (furthest.done & wanted).bit_count():
            furthest = point
        for then in _next(point, ordered):
            if then not in seen:
                seen.add(then)
                stack.append(then)
    rest = [ordered[place] for place in _open(furthest, ordered)]
    return f"{ordered[0].uid}: {furthest} is followed by none of {rest}"


def _open(point: _Point, ordered: list[Operation]) -> list[int]:
    """The places of those that can be the next to take effect: called before any other that is open has returned."""
    found = []
    limit = NEVER
    first = (~point.done & (point.done + 1)).bit_length() - 1
    for place in range(first, len(ordered)):
        if ordered[place].asked > limit:
            break
        if not point.done >> place & 1:
            found.append(place)
            limit = min(limit, ordered[place].answered)
    return found


def _next(point: _Point, ordered: list[Operation]) -> list[_Point]:
    """The points that can follow; the likeliest last."""
    found = []
    for place in sorted(_open(point, ordered), key=lambda place: -ordered[place].answered):
        then = _taken(point, ordered[place])
        if then is None:
            continue
        then = then._replace(done=point.done | 1 << place)
        if ordered[place].name in READS and then[1:] == point[1:]:
            return [then]  # now is as good as later; not so a write that happens to change nothing now
        found.append(then)
    return found


def _taken(point: _Point, operation: Operation) -> _Point | None:
    """What stands when the operation has taken effect now; None: it was told something else."""
    step = MODEL[operation.name](point.standing, *operation.args)
    answer = operation.answer
    then = point._replace(standing=step.after)
    if step.renewed:
        then = then._replace(floor=point.floor if point.exact else point.floor + 1, exact=False)
    if answer is None:
        return then
    if operation.name == "is_owner":
        return _owned(then, step.reply, operation)
    if answer.reply != step.reply or (answer.epoch is not None) is not step.told:
        return None
    return then if answer.epoch is None else _pinned(then, answer.epoch)


def _pinned(point: _Point, epoch: int) -> _Point | None:
    fits = epoch == point.floor if point.exact else epoch > point.floor
    return point._replace(floor=epoch, exact=True) if fits else None


def _owned(point: _Point, named: bool, operation: Operation) -> _Point | None:
    """The fence: yes pins the epoch; no fits any owner but the one asked for."""
    assert operation.answer is not None
    assert operation.epoch is not None
    mine = _pinned(point, operation.epoch) if named else None
    if operation.answer.reply:
        return mine
    return None if mine is not None and point.exact else point
