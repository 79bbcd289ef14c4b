"""Links that a caller has found, for as long as they can be relied upon; bounded, and emptied by what is told."""

import random
import threading
from collections import Counter
from collections.abc import Collection

from stateful_route.drivers.bounded import Bounded
from stateful_route.store.keys import Service

SHARD_LINKS = 512
"""About how many links share a dict. A dict is rebuilt now and then, as a whole: one of 100,000 takes milliseconds."""

Key = tuple[str, str, str]
"""Namespace, uid, service name."""


class Lease:
    """What all cached links to one pod have in common: they end together, at once.

    Attributes:
        service, ordinal: The pod.
        good: False: it has ended, and its links count no more.
        hits: Computations that it has answered. Counted without a lock: a thread in a thousand may lose its one.
        links: How many links the cache holds under it.
    """

    __slots__ = ("good", "hits", "links", "ordinal", "service")

    def __init__(self, service: Service, ordinal: int) -> None:
        self.service = service
        self.ordinal = ordinal
        self.good = True
        self.hits = 0
        self.links = 0


class _Entry:
    """A link in the order of entering; the ends of the order are one entry that is no link."""

    __slots__ = ("key", "lease", "newer", "older", "until")

    key: Key
    lease: Lease
    until: float
    older: "_Entry"
    newer: "_Entry"


class LinkCache:
    """uid → pod, each until a time; the oldest give way when it is full.

    A look-up is one in a dict and a look at the clock; nobody waits for anybody. What a change costs does not depend on
    how many links there are: the order is a chain of the entries, and the dicts are many small ones.
    """

    def __init__(self, size: int) -> None:
        """``size``: how many links it holds at most, one at least."""
        shards = 1 << (max(1, size // SHARD_LINKS) - 1).bit_length()
        self._shards: tuple[dict[Key, _Entry], ...] = tuple({} for _ in range(shards))
        self._mask = shards - 1
        self._size = max(1, size)
        self._count = 0
        self._ends = _Entry()
        self._ends.older = self._ends.newer = self._ends
        self._leases: dict[tuple[str, str, int], Lease] = {}
        """Those that are good and have links, by namespace, service name and pod index."""
        self._ended_hits: Bounded[Service, int] = Bounded()
        """Of leases that have ended."""
        self._guard = threading.Lock()

    def __len__(self) -> int:
        """How many links are held, those that have expired or ended among them."""
        return self._count

    def get(self, key: Key, now: float) -> int | None:
        """The pod; None: nothing is known, or not any more."""
        entry = self._shards[hash(key[1]) & self._mask].get(key)
        return entry.lease.ordinal if entry is not None and now < entry.until and entry.lease.good else None

    def hit(self, key: Key, now: float) -> int | None:
        """As `get`, for a computation: it is counted."""
        entry = self._shards[hash(key[1]) & self._mask].get(key)
        if entry is None or now >= entry.until:
            return None
        lease = entry.lease
        if not lease.good:
            return None
        lease.hits += 1
        return lease.ordinal

    def until(self, key: Key) -> float | None:
        """Until when a link counts that is held, if its pod's links have not ended; None: it is not held."""
        entry = self._shards[hash(key[1]) & self._mask].get(key)
        return None if entry is None else entry.until

    def hits(self) -> Counter[Service]:
        """How many computations of each service have been answered from here."""
        with self._guard:
            total = Counter(self._ended_hits)
            for lease in self._leases.values():
                total[lease.service] += lease.hits
        return total

    def put(self, service: Service, uid: str, ordinal: int, until: float) -> None:
        """Enter a link, in place of a former one."""
        namespace, name = service.namespace, service.name
        key = (namespace, uid, name)
        shard, ends, entry = self._shards[hash(uid) & self._mask], self._ends, _Entry()
        with self._guard:
            lease = self._leases.get((namespace, name, ordinal))
            if lease is None:
                lease = self._leases[namespace, name, ordinal] = Lease(service, ordinal)
            lease.links += 1
            if (former := shard.get(key)) is not None:
                self._unchain(former)
            elif self._count < self._size:
                self._count += 1
            else:
                oldest = ends.newer
                del self._shards[hash(oldest.key[1]) & self._mask][oldest.key]
                self._unchain(oldest)
            newest = ends.older
            entry.key, entry.until, entry.lease, entry.older, entry.newer = key, until, lease, newest, ends
            newest.newer = ends.older = shard[key] = entry

    def take(self, key: Key, now: float) -> int | None:
        """Forget a link; the pod, or None as `get`."""
        with self._guard:
            ordinal, entry = self.get(key, now), self._shards[hash(key[1]) & self._mask].get(key)
            if entry is not None:
                self._remove(entry)
        return ordinal

    def clear(self) -> None:
        """Forget all links."""
        with self._guard:
            while (oldest := self._ends.newer) is not self._ends:
                self._remove(oldest)

    def end(self, service: Service, ordinals: Collection[int]) -> None:
        """Forget all links to these pods, however many."""
        with self._guard:
            for ordinal in ordinals:
                lease = self._leases.get((service.namespace, service.name, ordinal))
                if lease is not None:
                    self._close(lease)

    def end_all(self, service: Service) -> None:
        """Forget all links of a service."""
        self.end(service, self.pods(service))

    def has(self, service: Service, ordinal: int) -> bool:
        """Whether links to the pod may be here."""
        return (service.namespace, service.name, ordinal) in self._leases

    def pods(self, service: Service) -> list[int]:
        """The pods to which links may be here."""
        with self._guard:
            return [lease.ordinal for lease in self._leases.values() if lease.service == service]

    def _remove(self, entry: _Entry) -> None:
        del self._shards[hash(entry.key[1]) & self._mask][entry.key]
        self._unchain(entry)
        self._count -= 1

    def _unchain(self, entry: _Entry) -> None:
        """Take an entry out of the order, and end its lease with its last link."""
        older, newer, lease = entry.older, entry.newer, entry.lease
        older.newer, newer.older = newer, older
        lease.links -= 1
        if not lease.links:
            self._close(lease)

    def _close(self, lease: Lease) -> None:
        """End a lease, if it has not ended, and keep what it has counted."""
        if not lease.good:
            return
        lease.good = False
        of = lease.service
        del self._leases[of.namespace, of.name, lease.ordinal]
        if lease.hits:
            self._ended_hits[of] = self._ended_hits.get(of, 0) + lease.hits


def spread_out(seconds: float) -> float:
    """A little less, by chance: links that were entered together need not expire together."""
    return seconds * random.uniform(0.9, 1.0)  # noqa: S311  no secret
