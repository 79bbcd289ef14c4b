"""Tells the app what has become of its uids, one thing after the other, without holding anything else up."""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from stateful_route.drivers.runtime import Loop, Notice, tell
from stateful_route.drivers.server_options import ServerHooks

IDLE_SECONDS = 3600.0

LAST_WORDS_SECONDS = 1.0
"""How long a driver that stops waits for a hook that is busy; one that takes longer ends by itself."""


class _Untold(NamedTuple):
    """A call of a hook that is due; ``then``: what follows it."""

    hook: Callable[..., Any] | None
    args: tuple[Any, ...]
    then: Callable[[], None] | None


class Telling:
    """Calls the hooks in the order of what happened; what nobody wants to know is dropped."""

    def __init__(self, hooks: ServerHooks) -> None:
        self._hooks = hooks
        self._untold: deque[_Untold] = deque()
        self._over: Notice | None = None
        self._loop = Loop("hooks", self._step)

    def start(self) -> None:
        """Begin."""
        self._over = None
        self._loop.start()

    def gained(self, uid: str, source: int | None) -> None:
        """The pod owns a uid that it did not own; ``source``: the pod it was on, if that is known."""
        self._queue(self._hooks.on_gained, uid, source)

    def regained(self, uid: str, me: int, then: Callable[[], None]) -> None:
        """The pod owns a uid that it owned before, and somebody else may have owned in between.

        An app that wants to hear only of what is lost is told that: both mean that its memory is old.

        Args:
            uid: Which.
            me: The pod's index.
            then: Is called once the app was told.
        """
        if self._hooks.on_gained is not None:
            self._queue(self._hooks.on_gained, uid, me, then=then)
        elif self._hooks.on_moved is not None:
            self._queue(self._hooks.on_moved, uid, None, then=then)
        else:
            then()

    def moved(self, uid: str, target: int | None, then: Callable[[], None]) -> None:
        """The pod has lost a uid; ``target``: to whom, None: to nobody; ``then``: is called once the app was told."""
        if self._hooks.on_moved is None:
            then()
        self._queue(self._hooks.on_moved, uid, target, then=then)

    def replaced(self) -> None:
        """The pod has a successor."""
        self._queue(self._hooks.on_replaced)

    def assume_replaced(self) -> None:
        """The pod may have been taken for dead."""
        self._queue(self._hooks.on_assume_replaced)

    async def finish(self) -> None:
        """End after what has happened so far was told, or, where a hook takes its time, once it has returned."""
        if not self._loop.running:
            return
        self._over = Notice()
        self._loop.wake()
        await self._over.wait(LAST_WORDS_SECONDS)

    async def caught_up(self, seconds: float) -> bool:
        """Wait, at most so long, until the app was told all that has happened so far; whether it was."""
        told = Notice()
        self._untold.append(_Untold(None, (), told.give))
        self._loop.wake()
        return await told.wait(seconds)

    def _queue(self, hook: Callable[..., Any] | None, *args: Any, then: Callable[[], None] | None = None) -> None:
        if hook is not None:
            self._untold.append(_Untold(hook, args, then))
            self._loop.wake()

    async def _step(self) -> float:
        while self._untold:
            hook, args, then = self._untold.popleft()
            if hook is not None:
                await tell(hook, *args)
            if then is not None:
                then()
        if self._over is not None:
            self._over.give()
            await self._loop.stop()  # it ends with this step
        return IDLE_SECONDS
