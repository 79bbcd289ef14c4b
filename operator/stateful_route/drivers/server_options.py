"""How a routed pod behaves, what its app is told, and what it counts."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stateful_route.domain.errors import InvalidArgument
from stateful_route.domain.load import check_cpu_factor
from stateful_route.domain.names import shown
from stateful_route.domain.option_checks import check_limit, check_period

RELEASES_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a routed pod behaves; times are seconds.

    Attributes:
        update_seconds: How often it publishes its state, and compares what it owns with the store. Must be shorter than
            the service's expiry (60, unless its StatefulRoute says otherwise).
        cpu_factor: How much of the published load is that of the process: 0 none, 1 all of it.
        settle_seconds: How long the pod keeps its uids after it has said that it takes no new ones: until every caller
            can have heard of it, so the longest refresh period among them. At most half of the time for stopping.
        releases_at_once: How many uids are given away at the same time, each by a call of ``on_release``. To save a
            state is mostly to wait for a database, and a pod has some 20 seconds for all of its uids: one by one, at
            20 ms each, that is a thousand. Two calls for one uid never overlap; 1 lets none overlap.
        request_seconds: How long a uid's release waits for its requests that are under way (`ServerDriver.serving`), so
            that ``on_release`` saves what they change; afterwards it is released nevertheless.
        stop_seconds: How long stopping may take in all, unless `ServerDriver.stop` is told otherwise; some seconds less
            than the pod's ``terminationGracePeriodSeconds`` (30).
    """

    update_seconds: float = 30.0
    cpu_factor: float = 0.5
    settle_seconds: float = 5.0
    releases_at_once: int = RELEASES_AT_ONCE
    stop_seconds: float = 20.0
    request_seconds: float = 5.0

    def check(self) -> None:
        """See that they make sense.

        Raises:
            InvalidArgument: one does not; the message says what to change.
        """
        check_cpu_factor(self.cpu_factor)
        check_period(self.update_seconds, "update_seconds")
        for name in ("settle_seconds", "stop_seconds", "request_seconds"):
            check_limit(getattr(self, name), name)
        if not isinstance(self.releases_at_once, int) or self.releases_at_once < 1:
            raise InvalidArgument(f"releases_at_once is a number from 1, not {shown(self.releases_at_once)}")

    def check_expiry(self, expire_seconds: float) -> None:
        """See that a pod can run so in a service whose states expire after so long.

        Raises:
            InvalidArgument: the pod would count as dead between two updates.
        """
        if self.update_seconds >= expire_seconds:
            raise InvalidArgument(
                f"update_seconds is {self.update_seconds:g}, and states of this service expire after "
                f"{expire_seconds:g} s (health.expireSeconds): the pod would count as dead between two updates"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerHooks:
    """What the app wants to be told; each may be a function or, with the asynchronous driver, a coroutine function.

    A hook that raises is logged, and stops nothing. Those of one uid are called one after the other, in the order of
    what happened; of different uids as many at the same time as `ServerOptions.releases_at_once`: one that hangs holds
    up its own uid alone.

    Attributes:
        on_release: ``on_release(uid)``: save the uid's state, the pod gives it away. It is called when the uid's
            requests under way (`ServerDriver.serving`) have ended. `ServerDriver.owns` and `ServerDriver.accept` are
            False from here on, `ServerDriver.token` still gives the epoch by which the save can be fenced. When it
            returns, the link is removed; where the uid stays with the pod's next life (`ServerDriver.stop`), it is
            not. If it raises, the link stays and the uid is owned again; it is asked for
            once more a second later, three times in all, while there is time. What is left then stays linked, and is
            moved unsaved once the pod is down. Without this hook nothing is saved, and uids are given away as they are.
        on_gained: ``on_gained(uid, from_pod)``: the pod owns the uid, without having asked for it: it was moved here.
            The pod it was on, or None where that is not known. Whatever is in memory of it is old: load it anew. The
            pod's own index: the uid was this pod's before, and somebody else may have had it in between; nobody is
            served by it until this hook returns. For all others `ServerDriver.owns` is True already: a request may be
            quicker than this hook.
        on_moved: ``on_moved(uid, to_pod)``: the pod has lost the uid: to another one, or (None) to nobody: its link was
            released or has expired. Forget its state, and save nothing: somebody else may have done so since. Without
            ``on_gained`` it is also called for a uid that is this pod's again and that somebody else may have had.
        on_replaced: ``on_replaced()``: the pod has a successor. Nothing is owned or published any more, whatever is
            tried raises `Replaced`; end the process.
        on_assume_replaced: ``on_assume_replaced()``: no state could be published for longer than the expiry, so others
            may have taken this pod for dead. Nothing is owned until the store is back and has been asked.
    """

    on_release: Callable[[str], Any] | None = None
    on_gained: Callable[[str, int | None], Any] | None = None
    on_moved: Callable[[str, int | None], Any] | None = None
    on_replaced: Callable[[], Any] | None = None
    on_assume_replaced: Callable[[], Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStats:
    """What a driver has done since it was made; counts of uids, unless said otherwise.

    Attributes:
        held: That it has now.
        published: States that were published.
        failed: States that could not be.
        compared: That were compared with the store.
        reasserted: Whose link the store had lost, and that were linked again.
        gained: That were moved here.
        moved: That were lost to another pod.
        expired: That were lost to nobody.
        released: That were given away.
        kept: That were saved and were still linked to the pod when it stopped, for its next life.
        unsaved: Calls of ``on_release`` that raised.
        lapses: How often nothing could be published for longer than the expiry.
    """

    held: int
    published: int = 0
    failed: int = 0
    compared: int = 0
    reasserted: int = 0
    gained: int = 0
    moved: int = 0
    expired: int = 0
    released: int = 0
    kept: int = 0
    unsaved: int = 0
    lapses: int = 0


class Tally:
    """Counts what the fields of `ServerStats` are named after; from any thread."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, what: str, count: int = 1) -> None:
        """So many more of these."""
        with self._lock:
            self._counts[what] += count

    def stats(self, held: int) -> ServerStats:
        """All counts."""
        with self._lock:
            return ServerStats(held=held, **self._counts)
