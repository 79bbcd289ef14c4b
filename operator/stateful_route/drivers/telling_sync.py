# Generated from telling.py by tools/twins.py: change that one, then run: make twins
"""Tells the app what has become of its uids, without holding anything else up."""

from collections.abc import Callable

from stateful_route.drivers.dispatcher_sync import HookDispatcher
from stateful_route.drivers.server_options import ServerHooks
from stateful_route.drivers.telling import LAST_WORDS_SECONDS, POD


class Telling:
    """Calls the hooks, those of each uid in the order of what happened; what nobody wants to know is dropped."""

    def __init__(self, hooks: ServerHooks, at_once: int) -> None:
        """``at_once``: how many hooks may be called at the same time."""
        self._hooks = hooks
        self._dispatcher = HookDispatcher(at_once)

    def start(self) -> None:
        """Begin."""
        self._dispatcher.start()

    def gained(self, uid: str, source: int | None) -> None:
        """The pod owns a uid that it did not own; ``source``: the pod it was on, if that is known."""
        if self._hooks.on_gained is not None:
            self._dispatcher.call(uid, self._hooks.on_gained, uid, source)

    def regained(self, uid: str, me: int, then: Callable[[], None]) -> None:
        """The pod owns a uid that it owned before, and somebody else may have owned in between.

        An app that wants to hear only of what is lost is told that: both mean that its memory is old.

        Args:
            uid: Which.
            me: The pod's index.
            then: Is called once the app was told.
        """
        if self._hooks.on_gained is not None:
            self._dispatcher.call(uid, self._hooks.on_gained, uid, me, then=then)
        elif self._hooks.on_moved is not None:
            self._dispatcher.call(uid, self._hooks.on_moved, uid, None, then=then)
        else:
            then()

    def moved(self, uid: str, target: int | None, then: Callable[[], None]) -> None:
        """The pod has lost a uid; ``target``: to whom, None: to nobody; ``then``: is called once the app was told."""
        if self._hooks.on_moved is not None:
            self._dispatcher.call(uid, self._hooks.on_moved, uid, target, then=then)
        else:
            then()

    def replaced(self) -> None:
        """The pod has a successor."""
        self._dispatcher.call(POD, self._hooks.on_replaced)

    def assume_replaced(self) -> None:
        """The pod may have been taken for dead."""
        self._dispatcher.call(POD, self._hooks.on_assume_replaced)

    def finish(self, seconds: float = LAST_WORDS_SECONDS) -> None:
        """End after what has happened so far was told, or so much later."""
        self._dispatcher.stop(min(seconds, LAST_WORDS_SECONDS))

    def caught_up(self, uid: str, seconds: float) -> bool:
        """Wait, at most so long, until the app was told all that has happened to a uid so far; whether it was."""
        return self._dispatcher.caught_up(uid, seconds)
