"""Links that a caller has found, for as long as they can be relied upon; bounded, and emptied by what is told."""

import random
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from stateful_route.drivers.bounded import Bounded
from stateful_route.store.keys import Service

LEASES = 1000
"""Pods to which links may have been here before it is looked which of them still have any."""

Key = tuple[str, str, str]
"""Namespace, uid, service name."""


@dataclass(slots=True, eq=False)
class Lease:
    """What all cached links to one pod have in common: they end together, at once."""

    ordinal: int
    good: bool = True
    hits: int = 0
    """Computations that it has answered. Counted without a lock: a thread in a thousand may lose its one."""


class LinkCache:
    """uid → pod, each until a time; the oldest give way when it is full.

    A look-up is one in a dict and a look at the clock; nobody waits for anybody.
    """

    def __init__(self, size: int) -> None:
        """``size``: how many links it holds at most."""
        self.links: dict[Key, tuple[float, Lease]] = {}
        """Until when (monotonic seconds), and the lease; a link counts while both hold."""
        self._size = size
        self._leases: dict[tuple[Service, int], Lease] = {}
        self._leases_at_most = LEASES
        self._ended_hits: Bounded[Service, int] = Bounded()
        """Of leases that have ended."""

    def get(self, key: Key, now: float) -> int | None:
        """The pod; None: nothing is known, or not any more."""
        entry = self.links.get(key)
        return entry[1].ordinal if entry is not None and now < entry[0] and entry[1].good else None

    def hit(self, key: Key, now: float) -> int | None:
        """As `get`, for a computation: it is counted."""
        entry = self.links.get(key)
        if entry is None or now >= entry[0] or not entry[1].good:
            return None
        entry[1].hits += 1
        return entry[1].ordinal

    def hits(self) -> Counter[Service]:
        """How many computations of each service have been answered from here."""
        total = Counter(self._ended_hits)
        for (service, _), lease in list(self._leases.items()):
            total[service] += lease.hits
        return total

    def put(self, service: Service, uid: str, ordinal: int, until: float) -> None:
        """Enter a link, in place of a former one."""
        key = (service.namespace, uid, service.name)
        lease = self._leases.get((service, ordinal))
        if lease is None or not lease.good:
            if len(self._leases) >= self._leases_at_most:
                self._drop_unused()
            lease = self._leases[service, ordinal] = Lease(ordinal)
        self.links.pop(key, None)  # so that the order is that of entering
        while len(self.links) >= self._size:
            self.links.pop(next(iter(self.links), key), None)
        self.links[key] = (until, lease)

    def take(self, key: Key, now: float) -> int | None:
        """Forget a link; the pod, or None as `get`."""
        entry = self.links.pop(key, None)
        return entry[1].ordinal if entry is not None and now < entry[0] and entry[1].good else None

    def end(self, service: Service, ordinals: Collection[int]) -> None:
        """Forget all links to these pods, however many."""
        for ordinal in ordinals:
            lease = self._leases.pop((service, ordinal), None)
            if lease is not None:
                lease.good = False
                if lease.hits:
                    self._ended_hits[service] = self._ended_hits.get(service, 0) + lease.hits

    def end_all(self, service: Service) -> None:
        """Forget all links of a service."""
        self.end(service, [ordinal for known, ordinal in list(self._leases) if known == service])

    def _drop_unused(self) -> None:
        """End the leases to which no link is here any more; there is room for as many again then."""
        used = {id(lease) for _, lease in list(self.links.values())}
        for (service, ordinal), lease in list(self._leases.items()):
            if id(lease) not in used:
                self.end(service, [ordinal])
        self._leases_at_most = max(LEASES, 2 * len(self._leases))

    def has(self, service: Service, ordinal: int) -> bool:
        """Whether links to the pod may be here."""
        return (service, ordinal) in self._leases

    def pods(self, service: Service) -> list[int]:
        """The pods to which links may be here."""
        return [ordinal for known, ordinal in list(self._leases) if known == service]


def spread_out(seconds: float) -> float:
    """A little less, by chance: links that were entered together need not expire together."""
    return seconds * random.uniform(0.9, 1.0)  # noqa: S311  no secret
