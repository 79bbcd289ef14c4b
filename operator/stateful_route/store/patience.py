"""A store that repeats what may be repeated: with growing pauses, within a deadline for the whole call."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any, Self, TypeVar

from redis.backoff import ExponentialWithJitterBackoff

from stateful_route.domain.errors import StatefulRouteError, StoreUnavailable
from stateful_route.store.connection import Store
from stateful_route.store.runtime import deadline, sleep
from stateful_route.store.scripts import Call

T = TypeVar("T")

LONGEST_PAUSE_SECONDS = 0.5
FIRST_PAUSE_SECONDS = 0.05
"""At most; each further one is twice as long."""
BACKOFF: Any = ExponentialWithJitterBackoff(cap=LONGEST_PAUSE_SECONDS, base=FIRST_PAUSE_SECONDS)

READING_COMMANDS = frozenset({"GET", "MGET", "HGET", "HGETALL", "HKEYS", "XLEN", "XRANGE"})


class PatientStore(Store):
    """As `Store`, but each call ends within the options' ``deadline_seconds``, repeats and all.

    Repeated, at most ``retries`` times, is a call that the store could not serve (`StoreUnavailable`) if that is
    harmless: it is certain that nothing was written, or it only reads, or its script says the same thing twice
    (`REPEATABLE`). Whatever else fails is the caller's to judge.
    """

    @classmethod
    def over(cls, store: Store, seconds: float | None = None) -> Self:
        """The same connections, used patiently; ``seconds``: the deadline of its calls, None: the options'."""
        options = store.options if seconds is None else replace(store.options, deadline_seconds=seconds)
        made = cls(store._client, label=store.label, options=options, seeds=store.seeds)  # noqa: SLF001
        made.meter, made.promised_seconds = store.meter, store.promised_seconds
        return made

    async def run(self, call: Call) -> Any:
        """As `Store.run`, patiently."""
        began = monotonic()
        try:
            return await super().run(call)  # which has the same deadline
        except StatefulRouteError as error:
            first = error
        script = call.script
        return await self._patiently(
            lambda: Store.run(self, call),
            repeatable=script.repeatable,
            writes=script.writes,
            last=first,
            spent=monotonic() - began,
        )

    async def command(self, *words: Any) -> Any:
        """As `Store.command`, patiently; only commands that read are repeated after they may have been carried out."""
        reads = words[0] in READING_COMMANDS
        return await self._patiently(lambda: Store.command(self, *words), repeatable=reads, writes=not reads)

    async def ask(self, *words: Any) -> Any:
        """As `Store.ask`, patiently."""
        return await self._patiently(lambda: Store.ask(self, *words), repeatable=True, writes=False)

    async def pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """As `Store.pipeline`, patiently."""
        reads = all(command[0] in READING_COMMANDS for command in commands)
        return await self._patiently(lambda: Store.pipeline(self, commands), repeatable=reads, writes=not reads)

    async def run_many(self, calls: Sequence[Call]) -> list[Any]:
        """As `Store.run_many`, patiently; the calls are repeated together."""
        repeatable = all(call.script.repeatable for call in calls)
        writes = any(call.script.writes for call in calls)
        return await self._patiently(lambda: Store.run_many(self, calls), repeatable=repeatable, writes=writes)

    async def run_each(self, calls: Sequence[Call]) -> list[Any]:
        """As `Store.run_each`, patiently; each call is repeated by itself, and is given its own error in the end."""
        replies: list[Any] = [None] * len(calls)
        open_places = list(range(len(calls)))
        pauses = _Pauses(self.options.retries)
        sent = False
        try:
            async with deadline(self.options.deadline_seconds):
                while open_places:
                    sent = True
                    answers = await Store.run_each(self, [calls[place] for place in open_places])
                    sent = False
                    for place, answer in zip(open_places, answers, strict=True):
                        if isinstance(answer, StatefulRouteError):
                            answer.maybe_written |= getattr(replies[place], "maybe_written", False)
                        replies[place] = answer
                    open_places = [
                        place for place in open_places if _harmless(replies[place], calls[place].script.repeatable)
                    ]
                    if not open_places or not pauses.left:
                        return replies
                    await sleep(pauses.take())
        except TimeoutError:
            for place in open_places:
                if sent or replies[place] is None:
                    replies[place] = self.late(writes=calls[place].script.writes, before=replies[place])
        return replies

    async def _patiently(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        repeatable: bool,
        writes: bool,
        last: StatefulRouteError | None = None,
        spent: float = 0.0,
    ) -> T:
        """Try; ``last``: the error of an attempt that was made already and has taken ``spent`` seconds."""
        pauses = _Pauses(self.options.retries)
        trying = False
        try:
            async with deadline(self.options.deadline_seconds - spent):
                while True:
                    if last is not None:
                        if not pauses.left or not _harmless(last, repeatable):
                            raise last
                        await sleep(pauses.take())
                    trying = True
                    try:
                        return await attempt()
                    except StatefulRouteError as error:
                        error.maybe_written |= last is not None and last.maybe_written  # by an earlier attempt
                        last = error
                    trying = False
        except TimeoutError:
            earlier = last is not None and last.maybe_written
            raise self.late(writes=earlier or (trying and writes), before=last) from last


def _harmless(error: object, repeatable: bool) -> bool:
    return isinstance(error, StoreUnavailable) and (repeatable or not error.maybe_written)


class _Pauses:
    """Pauses that grow, with jitter, so that those who failed together do not come back together."""

    def __init__(self, count: int) -> None:
        self.left = count
        self._taken = 0

    def take(self) -> float:
        seconds: float = BACKOFF.compute(self._taken)
        self.left -= 1
        self._taken += 1
        return seconds
