"""Looks after the health of pods: asks them on a period, and remembers what was found."""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stateful_route.domain.aliveness import PodView
from stateful_route.domain.errors import AlreadyRunning, NotRunning, StatefulRouteError
from stateful_route.domain.health import NOT_ASKED, Health, ProbeResult, is_unhealthy, life_of
from stateful_route.domain.option_checks import check_count, check_kind, check_period
from stateful_route.domain.routing import Reason
from stateful_route.domain.snapshot import Snapshot
from stateful_route.drivers.cache import ServiceStateCache
from stateful_route.drivers.runtime import Crew, Guard, Loop, each, tell
from stateful_route.router.probes import PROBE_SECONDS, Probe, RecordAgeProbe
from stateful_route.router.runtime import attempted
from stateful_route.store.keys import Service, service_of

log = logging.getLogger(__name__)

PERIOD_SECONDS = 30.0
"""Between two rounds (reference §9)."""

AT_ONCE = 50
"""Pods that are asked at the same time."""

Addresses = Callable[[str, str, int], Awaitable[str]]
"""Namespace, service name, pod index → ``host`` or ``host:port``, as `ClientDriver.address`."""

OnHealth = Callable[[Service, int, Health], Any]
"""Hears of each pod whose judgement has changed; may be a coroutine function."""


Pod = tuple[Service, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthOptions:
    """How pods are looked after.

    Attributes:
        period_seconds: From the beginning of one round to that of the next.
        timeout_seconds: For one pod, finding its address included.
        failures_allowed: A pod is judged unhealthy after more failures in a row.
    """

    period_seconds: float = PERIOD_SECONDS
    timeout_seconds: float = PROBE_SECONDS
    failures_allowed: int = 0

    def __post_init__(self) -> None:
        """See that they can be; raises InvalidArgument."""
        check_period(self.period_seconds, "period_seconds")
        check_period(self.timeout_seconds, "timeout_seconds")
        check_count(self.failures_allowed, "failures_allowed", 0)


class HealthBook:
    """What is known of the health of pods, whoever has found it out; may be shared by threads."""

    def __init__(self, cache: ServiceStateCache) -> None:
        self._cache = cache
        self._found: dict[Service, dict[int, Health]] = {}
        self.version: object = object()
        """Another one after each change."""

    def of(self, service: Service) -> Mapping[int, Health]:
        """Pod index → the last judgement; a pod that nobody has looked at is missing."""
        return dict(self._found.get(service, {}))

    def unhealthy(self, service: Service, snapshot: Snapshot) -> frozenset[int]:
        """The pods that are judged unhealthy in their present incarnation."""
        found = self._found.get(service)
        if not found:
            return frozenset()
        return frozenset(o for o, view in snapshot.pods.items() if is_unhealthy(found.get(o), view))

    def note(self, service: Service, ordinal: int, result: ProbeResult, failures_allowed: int = 0) -> Health:
        """Take down what one look has found; the judgement now."""
        snapshot = self._cache.known(service)
        view = snapshot.pods.get(ordinal) if snapshot is not None else None
        life = life_of(view) if view is not None else None
        found = self._found.setdefault(service, {})
        when = server_time(snapshot, self._cache.clock())
        health = found[ordinal] = Health.judged(found.get(ordinal), result, when, life, failures_allowed)
        self.version = object()
        return health

    def forget(self, service: Service, ordinal: int) -> None:
        """Know nothing of the pod any more."""
        self._found.get(service, {}).pop(ordinal, None)
        self.version = object()


class HealthChecker:
    """Asks the pods of services on a period, from `start` to `stop`.

    A pod that does not answer, whose address cannot be found or whose probe fails in any other way is unhealthy; it
    holds up no other. What is found moves nobody: it keeps new uids from the pod in this process, no more.
    """

    def __init__(
        self,
        cache: ServiceStateCache,
        probe: Probe | RecordAgeProbe,
        options: HealthOptions | None = None,
        *,
        address: Addresses | None = None,
        book: HealthBook | None = None,
    ) -> None:
        """What to ask, and how.

        Args:
            cache: Knows the pods.
            probe: Is given each pod's address.
            options: Period and timeout.
            address: Says where a pod is; None: where the operator's record says. A pod without an address there is
                judged unhealthy.
            book: Where the judgements are kept; None: in one of its own.
        """
        check_kind(options, HealthOptions)
        self.options = options or HealthOptions()
        self.book = book or HealthBook(cache)
        self._cache = cache
        self._probe = probe
        self._address = address
        self._loops: dict[Service, Loop] = {}
        self._callbacks: tuple[OnHealth, ...] = ()
        self._untold: dict[Pod, tuple[OnHealth, ...]] = {}
        """Who must still hear of the judgement of a pod."""
        self._telling: set[Pod] = set()
        self._crews: list[Crew] = []
        self._guard = Guard()

    async def start(self, namespace: str, service: str) -> None:
        """Look after the pods of a service; the first round begins at once.

        Raises:
            AlreadyRunning: it does.
        """
        target = service_of(namespace, service)
        loop = Loop(f"health of {target}", lambda: self._round(target))
        if self._loops.setdefault(target, loop) is not loop:
            raise AlreadyRunning(f"the health checks of {target} are running")
        loop.start()

    async def stop(self, namespace: str, service: str) -> None:
        """Look no more; what was found stays known.

        Raises:
            NotRunning: it does not.
        """
        target = service_of(namespace, service)
        loop = self._loops.pop(target, None)
        if loop is None:
            raise NotRunning(f"the health checks of {target} are not running")
        await loop.stop()

    def is_running(self, namespace: str, service: str) -> bool:
        """Whether it looks after the pods of this service."""
        return service_of(namespace, service) in self._loops

    async def check(self, namespace: str, service: str) -> dict[int, Health]:
        """Look at all pods of a service once, now; pod index → the judgement.

        Raises:
            StoreUnavailable: nothing is known of the service, and the store does not answer.
        """
        target = service_of(namespace, service)
        await self._look_at_all(target, await self._cache.asked(target))
        return self.health(namespace, service)

    def health(self, namespace: str, service: str) -> dict[int, Health]:
        """Pod index → the last judgement; a pod that was not looked at yet is missing."""
        return dict(self.book.of(service_of(namespace, service)))

    def on_changed(self, callback: OnHealth) -> None:
        """Call it with each first and each changed judgement: ``callback(service, pod, health)``.

        Calls for one pod come one after the other, the last with the judgement that stands; a callback that takes long
        holds up neither the checks nor calls for other pods. One that raises is logged, and called again at the pod's
        next check.

        This is where pods may be failed over. Have it look at `health` first: where most of the pods seem to be dead,
        the network or the probe is broken, not the pods.
        """
        self._callbacks = (*self._callbacks, callback)

    async def close(self) -> None:
        """Stop all, callbacks that are under way too."""
        while self._loops:
            _, loop = self._loops.popitem()
            await loop.stop()
        for crew in list(self._crews):
            await crew.dismiss()

    async def _round(self, service: Service) -> float:
        began = self._cache.clock()
        try:
            snapshot = await self._cache.snapshot(service)
        except StatefulRouteError as error:
            known = self._cache.known(service)
            if known is None:
                log.warning("the pods of %s are not known: %s", service, error)
                return self.options.period_seconds
            snapshot = known
        await self._look_at_all(service, snapshot)
        return max(0.0, self.options.period_seconds - (self._cache.clock() - began))

    async def _look_at_all(self, service: Service, snapshot: Snapshot) -> None:
        pods = [ordinal for ordinal, view in snapshot.pods.items() if _is_there(view)]
        for ordinal in self.book.of(service).keys() - set(pods):
            self.book.forget(service, ordinal)
        if pods:
            await each(pods, lambda ordinal: self._look_at(service, ordinal, snapshot), min(AT_ONCE, len(pods)))
        ended = [crew for crew in list(self._crews) if await crew.done(0)]
        with self._guard:
            self._crews = [crew for crew in self._crews if crew not in ended]

    async def _look_at(self, service: Service, ordinal: int, snapshot: Snapshot) -> None:
        before = self.book.of(service).get(ordinal)
        result = await self._found(service, ordinal, snapshot)
        health = self.book.note(service, ordinal, result, self.options.failures_allowed)
        pod = service, ordinal
        if before is None or before.healthy is not health.healthy:
            level = logging.INFO if health.healthy else logging.WARNING
            word = "healthy" if health.healthy else "unhealthy"
            log.log(level, "pod %s of %s is %s: %s", ordinal, service, word, health.why)
            self._untold[pod] = self._callbacks
        with self._guard:
            if pod not in self._telling and self._untold.get(pod):
                self._telling.add(pod)
                self._crews.append(Crew(deque([pod]), self._tell, at_once=1))

    async def _tell(self, pod: Pod) -> None:
        """Tell of one pod until there is nothing new; those who raise are told again after the next check."""
        service, ordinal = pod
        deaf: list[OnHealth] = []
        try:
            while callbacks := self._yet_to_hear(pod, deaf):
                health = self.book.of(service).get(ordinal)
                deaf = []
                for callback in callbacks if health is not None else ():
                    if not await tell(callback, service, ordinal, health):
                        deaf.append(callback)
        finally:
            self._telling.discard(pod)

    def _yet_to_hear(self, pod: Pod, deaf: Sequence[OnHealth]) -> tuple[OnHealth, ...]:
        """Who must hear of the pod now; nobody: then it is free to be told again, first to those who have raised."""
        with self._guard:
            callbacks = self._untold.pop(pod, ())
            if not callbacks:
                self._telling.discard(pod)
                if deaf:
                    self._untold[pod] = tuple(deaf)
            return callbacks

    async def _found(self, service: Service, ordinal: int, snapshot: Snapshot) -> ProbeResult:
        probe = self._probe
        if isinstance(probe, RecordAgeProbe):
            return probe.judged(snapshot.pods.get(ordinal), self._cache.clock() - snapshot.read_at)
        seconds = self.options.timeout_seconds
        found = await attempted(seconds, lambda: self._asked(probe, service, ordinal, snapshot))
        if isinstance(found, ProbeResult):
            return found
        late = isinstance(found, TimeoutError)
        why = f"no answer within {seconds:g} s" if late else f"{type(found).__name__}: {found}"
        log.debug("the probe of pod %s of %s failed", ordinal, service, exc_info=None if late else found)
        return ProbeResult(healthy=False, seconds=NOT_ASKED, why=why)

    async def _asked(self, probe: Probe, service: Service, ordinal: int, snapshot: Snapshot) -> ProbeResult:
        if self._address is not None:
            return await probe.probe(await self._address(service.namespace, service.name, ordinal))
        record = snapshot.pods[ordinal].record
        if record is None or record.address is None:
            return ProbeResult(healthy=False, seconds=NOT_ASKED, why="its address is not known")
        return await probe.probe(record.address)


def server_time(snapshot: Snapshot | None, now: float) -> datetime:
    """The time by the clock of Redis, reckoned from the last snapshot; by our own clock if there is none.

    ``now``: by the cache's clock.
    """
    if snapshot is None:
        return datetime.now(UTC)
    return datetime.fromtimestamp(snapshot.time_ms / 1000 + (now - snapshot.read_at), UTC)


def _is_there(view: PodView) -> bool:
    """Whether there is anybody to ask, as far as the operator knows."""
    return view.record is None or view.record.reason is not Reason.GONE
