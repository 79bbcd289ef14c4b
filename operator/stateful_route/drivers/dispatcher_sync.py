# Generated from dispatcher.py by tools/twins.py: change that one, then run: make twins
"""Calls the app's hooks: those of one uid in the order of what happened, those of different uids side by side."""

from collections import deque
from collections.abc import Callable
from typing import Any

from stateful_route.drivers.dispatcher import _Call
from stateful_route.drivers.runtime_sync import Crew, Guard, Notice, tell


class HookDispatcher:
    """Calls hooks in the background, at most so many at the same time; one that hangs holds up its own uid alone."""

    def __init__(self, at_once: int) -> None:
        """Nothing is called before `start`; what is queued until then is called then."""
        self._at_once = at_once
        self._calls: dict[object, deque[_Call]] = {}
        """Key → what is due, in order; the first one may be under way."""
        self._ready: deque[object] = deque()
        """Keys of which no call is under way."""
        self._guard = Guard()
        self._crew: Crew | None = None

    def start(self) -> None:
        """Begin; nothing happens if it runs."""
        if self._crew is None:
            self._crew = Crew(self._ready, self._call_first, self._at_once)

    def call(
        self, key: object, hook: Callable[..., Any] | None, *args: Any, then: Callable[[], None] | None = None
    ) -> None:
        """Call a hook after all others of the same key; ``then``: a plain function, called when it has returned.

        A hook that raises is logged.
        """
        with self._guard:
            calls = self._calls.setdefault(key, deque())
            calls.append(_Call(hook, args, then))
            if len(calls) == 1:
                self._ready.append(key)
        if self._crew is not None:
            self._crew.call_in()

    def caught_up(self, key: object, seconds: float) -> bool:
        """Wait, at most so long, for all calls of a key that are due; whether they are over."""
        if key not in self._calls:
            return True
        over = Notice()
        self.call(key, None, then=over.give)
        return over.wait(seconds)

    def stop(self, seconds: float) -> None:
        """Wait, at most so long, for all that is due, and end; a call that takes longer is abandoned."""
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.done(seconds)
            crew.dismiss()

    def _call_first(self, key: object) -> None:
        call = self._calls[key][0]
        try:
            if call.hook is not None:
                tell(call.hook, *call.args)
        finally:
            if call.then is not None:
                call.then()
            with self._guard:
                calls = self._calls[key]
                calls.popleft()
                if calls:
                    self._ready.append(key)
                else:
                    del self._calls[key]
