"""What this pod owns, from memory: which uids, since which epoch, and whether it may still believe so."""

import math
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import NamedTuple, Self

from stateful_route.domain.errors import StatefulRouteError

NEVER = -1


class Holding(NamedTuple):
    """A uid that this pod owns; never changed, only replaced.

    Attributes:
        epoch: Since when, in the store.
        persistent: Its link had no time to live when it was last seen.
        bucket: The hash slot it lies in.
        life: In which life of the lease it was last seen in the store.
        leaving: It is being given away: nobody may be served by it any more.
        stale: Somebody else may have had the uid since the app has loaded its state: nobody is served by it until the
            app was told to load it anew.
    """

    epoch: int
    persistent: bool
    bucket: int
    life: int
    leaving: bool = False
    stale: bool = False

    @property
    def in_transit(self) -> bool:
        """The uid is this pod's, and nobody is served by it for a moment."""
        return self.leaving or self.stale


class Holdings:
    """The uids of one pod, and the lease under which it may believe in them.

    The lease is renewed by each state that is published. Once it has lapsed others may take the pod for dead and give
    its uids away: nothing is owned then, and after the next renewal each uid only when it has been seen in the store.

    Safe to use from any thread; a question takes no lock.
    """

    def __init__(self, bucket: Callable[[str], int], clock: Callable[[], float]) -> None:
        """``bucket``: that of a uid; ``clock``: monotonic seconds."""
        self._clock = clock
        self._book = _Book(bucket)
        self._uids = self._book.uids
        self._until = -math.inf

    # Questions

    def owns(self, uid: str) -> bool:
        """Whether this pod owns the uid, as far as it can know."""
        if self._clock() >= self._until:  # first: who sees a renewed lease sees the new life
            return False
        held = self._uids.get(uid)
        return held is not None and held.life == self._book.life and not held.in_transit

    def keeps(self, uid: str) -> bool:
        """Whether it owns the uid for good: nothing but a move takes it away."""
        return self.owns(uid) and (held := self._uids.get(uid)) is not None and held.persistent

    def token(self, uid: str) -> int | None:
        """Since which epoch; also while the uid is being given away or the lease has lapsed. None: it is not held."""
        held = self._uids.get(uid)
        return None if held is None else held.epoch

    def held(self, uid: str) -> Holding | None:
        """All that is known of a uid."""
        return self._uids.get(uid)

    def uids(self) -> list[str]:
        """All uids that are held."""
        return list(self._uids)

    def __len__(self) -> int:
        return len(self._uids)

    def portions(self, size: int) -> Iterator[list[str]]:
        """All uids, bucket by bucket, in lists of that size; those that come meanwhile may be missing."""
        portion: list[str] = []
        with self._book.lock:
            buckets = list(self._book.buckets)
        for bucket in buckets:
            with self._book.lock:
                portion += self._book.buckets.get(bucket, ())
            while len(portion) >= size:
                yield portion[:size]
                portion = portion[size:]
        if portion:
            yield portion

    # The lease

    @property
    def life(self) -> int:
        """Rises whenever the lease is renewed after it had lapsed."""
        return self._book.life

    @property
    def seconds_left(self) -> float:
        """Of the lease; 0 or less: it has lapsed, or there was none."""
        return self._until - self._clock()

    def renew(self, asked_at: float, expire_seconds: float) -> bool:
        """A state was published, and counts for so long from (at the latest) when that was asked for.

        Returns:
            Whether the lease had lapsed: all that is held must be compared with the store.
        """
        with self._book.lock:
            lapsed = self._clock() >= self._until
            if lapsed:
                self._book.life += 1
            self._until = max(self._until, asked_at + expire_seconds)
            return lapsed

    def end(self) -> None:
        """Own nothing any more."""
        with self._book.lock:
            self._until = -math.inf
            self._book.life += 1
            self._book.uids.clear()
            self._book.buckets.clear()

    # What the app does

    def act(self, uid: str) -> "Act":
        """For the duration of a call by which the app takes or gives away a uid: ``with holdings.act(uid) as act:``."""
        return Act(self._book, uid)

    @property
    def acting(self) -> bool:
        """A call of the app is under way by which it takes or gives away a uid."""
        return bool(self._book.acts)

    # Requests

    def begin_request(self, uid: str) -> bool:
        """A request of a uid begins, to be ended by `end_request`; False: the pod does not keep the uid."""
        with self._book.lock:
            if not self.keeps(uid):
                return False
            self._book.requests[uid] = self._book.requests.get(uid, 0) + 1
            return True

    def end_request(self, uid: str) -> None:
        """A request ends that `begin_request` has let in."""
        with self._book.lock:
            left = self._book.requests[uid] - 1
            if left:
                self._book.requests[uid] = left
                return
            del self._book.requests[uid]
            waiting = self._book.waiting.pop(uid, ())
        for tell in waiting:
            tell()

    def lost(self, uid: str) -> None:
        """The app has yet to be told that it has lost the uid: until `forgotten` its memory is old."""
        with self._book.lock:
            self._book.unforgotten[uid] = self._book.unforgotten.get(uid, 0) + 1

    def forgotten(self, uid: str) -> None:
        """The app was told that it has lost the uid."""
        with self._book.lock:
            left = self._book.unforgotten.get(uid, 0) - 1
            if left > 0:
                self._book.unforgotten[uid] = left
            else:
                self._book.unforgotten.pop(uid, None)

    def when_idle(self, uid: str, tell: Callable[[], None]) -> bool:
        """Whether no request of the uid is under way; else ``tell`` is called, once, as soon as none is."""
        with self._book.lock:
            if uid not in self._book.requests:
                return True
            self._book.waiting.setdefault(uid, []).append(tell)
            return False

    # Giving away

    def leave(self, uid: str) -> Holding | None:
        """Serve nobody by this uid any more, it is being given away; None: it is not owned, or leaves already."""
        with self._book.lock:
            held = self._uids.get(uid)
            if held is None or held.in_transit or held.life != self._book.life or self._clock() >= self._until:
                return None
            return self._book.put(uid, held._replace(leaving=True))

    def stay(self, uid: str, leaving: Holding) -> None:
        """It is not given away after all."""
        with self._book.lock:
            if self._uids.get(uid) is leaving:
                self._book.put(uid, leaving._replace(leaving=False))

    def drop(self, uid: str) -> Holding | None:
        """The uid is owned no more; what was known of it."""
        with self._book.lock:
            return self._book.drop(uid)

    def reissued(self, uid: str, before: int, epoch: int) -> None:
        """This pod has given itself another epoch for the same uid: whoever has the former one in hand has this one."""
        with self._book.lock:
            for act in self._book.acts.get(uid, ()):
                act.reissued[before] = epoch
            held = self._uids.get(uid)
            if held is not None and held.epoch == before and not held.leaving:
                self._book.put(uid, held._replace(epoch=epoch))
                self._book.touch(uid)

    # What the app is told

    def loaded(self, uid: str, epoch: int) -> None:
        """The app was told to load what it knows of the uid anew, as of that epoch: it may be served."""
        with self._book.lock:
            held = self._uids.get(uid)
            if held is not None and held.stale and held.epoch == epoch:
                self._book.put(uid, held._replace(stale=False))

    # What the store says

    def left(self, uid: str, epoch: int) -> bool:
        """The link has gone elsewhere, as of that epoch; False: it is not held, or was given back since."""
        with self._book.lock:
            for act in self._book.acts.get(uid, ()):
                act.gone = max(act.gone, epoch)
            self._book.touch(uid)
            held = self._uids.get(uid)
            if held is None or held.epoch > epoch:
                return False
            self._book.drop(uid)
            return True

    def watch(self) -> "Watch":
        """For the duration of a look at the store: ``with holdings.watch() as watch:``; one at a time."""
        return Watch(self._book)


class Act:
    """One call of the app that is under way: what the store answers counts, unless a later message says otherwise.

    Attributes:
        gone: The highest epoch with which the uid has gone elsewhere meanwhile, as a message has said.
        uncertain: Once it is over: what has come of it is not known.
    """

    def __init__(self, book: "_Book", uid: str) -> None:
        self.gone = NEVER
        self.uncertain = False
        self.reissued: dict[int, int] = {}
        """Epoch → the later one that this pod has given itself instead, meanwhile."""
        self._book = book
        self._uid = uid
        self._life = book.life

    def __enter__(self) -> Self:
        with self._book.lock:
            self._book.acts.setdefault(self._uid, []).append(self)
            self._book.touch(self._uid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._book.lock:
            acts = self._book.acts[self._uid]
            acts.remove(self)
            if not acts:
                del self._book.acts[self._uid]
            self._book.touch(self._uid)
        if error is not None:
            self.uncertain = not isinstance(error, StatefulRouteError) or error.maybe_written

    def take(self, epoch: int, *, persistent: bool) -> bool:
        """The uid is this pod's since that epoch; False: something else was heard of it meanwhile, or it is leaving.

        What was held since another epoch is stale: somebody else may have had the uid in between. So is what the app
        has not been told yet to forget.
        """
        with self._book.lock:
            while epoch in self.reissued:
                epoch = self.reissued[epoch]
            held = self._book.uids.get(self._uid)
            if self.gone >= epoch or (held is not None and (held.epoch > epoch or held.leaving)):
                self.uncertain = True
                return False
            bucket = self._book.bucket(self._uid)
            stale = held is not None and (held.stale or held.epoch != epoch)
            stale = stale or self._uid in self._book.unforgotten
            self._book.put(self._uid, Holding(epoch, persistent, bucket, self._life, stale=stale))
            return True


class Watch:
    """A look at the store that is under way: what it finds counts for uids of which nothing else was heard meanwhile.

    Attributes:
        life: The lease's life when it began.
        touched: Uids that the app or a message has changed meanwhile.
    """

    def __init__(self, book: "_Book") -> None:
        self.life = book.life
        self.touched: set[str] = set()
        self._book = book

    def __enter__(self) -> Self:
        with self._book.lock:
            self._book.watch = self
            self.touched.update(self._book.acts)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._book.lock:
            self._book.watch = None

    def put(self, uid: str, before: Holding | None, epoch: int, *, persistent: bool, undisputed: bool = False) -> bool:
        """The uid is this pod's; False: something was heard of it meanwhile, and nothing is changed.

        What was held since another epoch is stale, as in `Act.take`, unless it is known that nobody else has had the
        uid in between (``undisputed``).
        """
        with self._book.lock:
            if not self._undisturbed(uid, before):
                return False
            bucket = self._book.bucket(uid) if before is None else before.bucket
            renewed = before is not None and before.epoch != epoch and not undisputed
            stale = renewed or (before is not None and before.stale) or uid in self._book.unforgotten
            self._book.put(uid, Holding(epoch, persistent, bucket, self.life, stale=stale))
            return True

    def drop(self, uid: str, before: Holding) -> bool:
        """It is not; False as for `put`."""
        with self._book.lock:
            if not self._undisturbed(uid, before):
                return False
            self._book.drop(uid)
            return True

    def undisturbed(self, uid: str, before: Holding | None) -> bool:
        """Whether nothing else was heard of the uid since the look began."""
        with self._book.lock:
            return self._undisturbed(uid, before)

    def _undisturbed(self, uid: str, before: Holding | None) -> bool:
        return uid not in self.touched and self._book.uids.get(uid) is before


class _Book:
    """What the three write in; ``lock`` is held by whoever changes it."""

    def __init__(self, bucket: Callable[[str], int]) -> None:
        self.bucket = bucket
        self.lock = threading.Lock()
        self.life = 0
        self.uids: dict[str, Holding] = {}
        self.buckets: dict[int, set[str]] = {}
        self.acts: dict[str, list[Act]] = {}
        self.requests: dict[str, int] = {}
        """How many of each uid are under way."""
        self.unforgotten: dict[str, int] = {}
        """Uids that the pod has lost, and how often the app has yet to be told so."""
        self.waiting: dict[str, list[Callable[[], None]]] = {}
        """Whom to tell when the last of them has ended."""
        self.watch: Watch | None = None

    def put(self, uid: str, holding: Holding) -> Holding:
        if uid not in self.uids:
            self.buckets.setdefault(holding.bucket, set()).add(uid)
        self.uids[uid] = holding
        return holding

    def drop(self, uid: str) -> Holding | None:
        held = self.uids.pop(uid, None)
        if held is not None:
            members = self.buckets[held.bucket]
            members.discard(uid)
            if not members:
                del self.buckets[held.bucket]
        return held

    def touch(self, uid: str) -> None:
        if self.watch is not None:
            self.watch.touched.add(uid)
