# Generated from push.py by tools/twins.py: change that one, then run: make twins
"""What the store tells by itself: one connection to each node, subscribed to the channels of all services asked about.

Messages are lost while a connection is: whoever listens reads the states anew when it is told that all is restored.
"""

from collections.abc import Callable

from redis import exceptions as rx

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.drivers.line_sync import Line
from stateful_route.drivers.push import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, PING_SECONDS, log
from stateful_route.drivers.runtime_sync import Loop
from stateful_route.store.connection_sync import Store
from stateful_route.store.failures import FAILURES, as_ours
from stateful_route.store.runtime_sync import Lock


class Push:
    """Subscribes to channels, and comes back by itself when a connection is lost."""

    def __init__(
        self,
        store: Store,
        heard: Callable[[str, str], None],
        broken: Callable[[], None] = lambda: None,
        restored: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is connected before the first `subscribe`. None of the functions may take long or raise.

        Args:
            store: Where.
            heard: Is called with channel and message.
            broken: Is called when messages may be getting lost.
            restored: Is called when, after that, channels are subscribed again; again for those that follow later.
        """
        self._store = store
        self._heard = heard
        self._tell_broken = broken
        self._tell_restored = restored
        self._channels: dict[str, Line | None] = {}
        """Where each is subscribed; None: nowhere, for now."""
        self._lines: dict[str | None, Line] = {}
        self._lost = False
        self._rejoined = False
        """Channels are subscribed again, and nobody has been told yet."""
        self._pause = FIRST_PAUSE_SECONDS
        self._complaints: set[str] = set()
        self._away: set[str | None] = set()
        """Nodes that could not be reached in this round: they are tried once, not for each channel."""
        self._joining = Lock()
        self._mending = Loop("push", self._mend)

    @property
    def complete(self) -> bool:
        """All channels that were asked for are subscribed."""
        return all(self._channels.values())

    def subscribe(self, channel: str) -> bool:
        """Listen to a channel from now on; False: not yet, it is tried again, and `restored` told then."""
        self._channels.setdefault(channel, None)
        self._mending.start()
        if self._join(channel):
            return True
        self._lost = True
        return False

    def unsubscribe(self, channel: str) -> None:
        """Forget a channel; messages of it are dropped from now on, and the server is told to send none."""
        line = self._channels.pop(channel, None)
        if line is None:
            return
        with self._joining:
            if channel not in self._channels and line.open:
                try:
                    line.leave(channel, sharded=self._store.cluster)
                except FAILURES as error:
                    log.debug("a channel could not be left: %s", error)

    def close(self) -> None:
        """Close all connections."""
        self._mending.stop()
        self._channels.clear()
        for line in list(self._lines.values()):
            line.close()
        self._lines.clear()

    def _join(self, channel: str) -> bool:
        with self._joining:
            if self._channels.get(channel) is not None:
                return True
            try:
                line = self._line_to(channel)
                line.join(channel, sharded=self._store.cluster)
            except StatefulRouteError as error:
                self._complain(str(error))
                return False
            except FAILURES as error:
                if not isinstance(error, rx.NoPermissionError):
                    self._store.doubt_slots()
                self._complain(str(as_ours(error, self._store.label, writes=False)))
                return False
            if line.open and channel in self._channels:
                self._channels[channel] = line
                self._rejoined = self._rejoined or self._lost
            return line.open

    def _line_to(self, channel: str) -> Line:
        node = self._store.node_of(channel)
        line = self._lines.get(node)
        if line is None or not line.open:
            if node in self._away:
                raise rx.ConnectionError("it could not be reached a moment ago")
            options = self._store.options
            line = Line(self._store.own_connection(node), options.timeout_seconds, self._take, self._over)
            self._away.add(node)
            line.connect()
            self._away.discard(node)
            self._lines[node] = line
        return line

    def _take(self, channel: str, message: str) -> None:
        if channel in self._channels:
            self._heard(channel, message)

    def _over(self, line: Line) -> None:
        """A line has ended: its channels are subscribed nowhere."""
        for node, known in list(self._lines.items()):
            if known is line:
                self._lines.pop(node, None)
        affected = [channel for channel, where in list(self._channels.items()) if where is line]
        if not affected:
            return
        for channel in affected:
            self._channels[channel] = None
        self._lost = True
        self._pause = FIRST_PAUSE_SECONDS
        self._tell_broken()
        self._mending.wake()

    def _mend(self) -> float:
        for line in list(self._lines.values()):
            try:
                line.ping()
            except FAILURES:
                line.close()
        self._away.clear()
        lost = [channel for channel, where in list(self._channels.items()) if where is None]
        joined = [self._join(channel) for channel in lost]  # one that is refused keeps no other away
        if self._rejoined:
            self._rejoined = False
            self._tell_restored()
        if not all(joined):
            pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            return pause
        self._pause = FIRST_PAUSE_SECONDS
        self._complaints.clear()
        self._lost = not self.complete
        return PING_SECONDS

    def _complain(self, why: str) -> None:
        if why not in self._complaints:
            self._complaints.add(why)
            log.warning("no push for now, what has changed is seen at the next period: %s", why)
