"""Callers' hints that they cannot reach a pod: the operator looks for itself, and believes what it sees alone."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.domain.health import ProbeResult
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.meter import UNMETERED, Meter
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.record import OperatorRecord
from stateful_route.kube.server_clock import steady
from stateful_route.reconcile.workload import Workload
from stateful_route.router.probes import Probe
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service
from stateful_route.store.states import HINT_SECONDS, get_hints

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""The least time between two looks at the hints, however many callers complain."""

PROBE_SECONDS = 1.0
"""From the end of one probe of a pod to the next one."""

FAILURES = 3
"""In a row: then the pod is not reachable."""

PROBES_AT_ONCE = 20
"""Of one service: a caller that reaches nobody reports every pod."""

OTHERS = 3
"""Pods that are asked for comparison."""

COMPLAINT_SECONDS = 600.0
"""Between two equal complaints about the same pod."""

NONE_ANSWERS = "may the operator reach the pods (network policies), and does spec.health.probe name the right port?"


@dataclass(slots=True)
class Suspect:
    """A pod that is being probed.

    Attributes:
        life: Which incarnation of it.
        since: When the first probe of the present row has failed, by `steady`; None: none has.
        failures: How many there are in that row.
        believed: It counts as unreachable.
        failed_at: When the last probe that has failed began, by `steady`.
    """

    life: Incarnation
    since: float | None = None
    failures: int = 0
    believed: bool = False
    failed_at: float = -math.inf


class Hints:
    """Those of one service.

    A pod counts as unreachable when it has failed `FAILURES` probes in a row while another pod of the service answers:
    when none does, the operator's own network or the probe is what is broken. It is probed on until it answers.
    """

    def __init__(
        self, service: Service, workload: Workload, wake: Callable[[], None], meter: Meter = UNMETERED
    ) -> None:
        self._service = service
        self._meter = meter
        self._workload = workload
        self._wake = wake
        self._store: Store | None = None
        self._probe: Probe | None = None
        self._suspects: dict[int, Suspect] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(PROBES_AT_ONCE)
        self._news = False
        self._looking: asyncio.Task[None] | None = None
        self._look_at = 0.0
        self._handled: dict[int, int] = {}
        """When the last hint was given that was taken up of each pod, ms by the clock of Redis."""
        self._complained: dict[tuple[str, int], float] = {}
        self._resumed = False

    @property
    def unreachable(self) -> Mapping[int, float]:
        """The pods that do not answer, and since when, by `steady`."""
        return {o: known.since for o, known in self._suspects.items() if known.believed and known.since is not None}

    def confirmed(self, since: float) -> bool:
        """Whether each pod that counts as unreachable has failed a probe that began then or later, by `steady`."""
        return all(known.failed_at >= since for known in self._suspects.values() if known.believed)

    def prepare(
        self, store: Store, probe: Probe | None, records: Mapping[int, OperatorRecord], moment: Callable[[int], float]
    ) -> None:
        """Take in where hints are and how pods are probed (None: not at all); at first also what the records say.

        ``moment``: gives a moment that stands in a record by `steady`.
        """
        self._store, self._probe = store, probe
        if self._resumed:
            return
        self._resumed = True
        for ordinal, record in records.items():
            if record.unreachable_since is not None and record.incarnation is not None:
                since = moment(record.unreachable_since)
                self._begin(ordinal, Suspect(record.incarnation, since, FAILURES, believed=True))

    def look(self) -> None:
        """There may be hints: look soon."""
        self._news = True
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name=f"hints {self._service}")

    async def stop(self) -> None:
        """End all that is under way."""
        tasks = [*self._tasks.values(), *([self._looking] if self._looking else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Hints

    async def _look(self) -> None:
        try:
            while self._news and self._store is not None:
                await asyncio.sleep(max(0.0, self._look_at - time.monotonic()))
                self._news = False
                self._look_at = time.monotonic() + LOOK_SECONDS
                self._take(await get_hints(self._store, self._service))
        except StatefulRouteError as error:
            log.warning("hints not read", extra={"service": str(self._service), "error": str(error)})
        except Exception:
            log.exception("hints not read", extra={"service": str(self._service)})
        finally:
            self._looking = None

    def _take(self, hints: Mapping[int, int]) -> None:
        newest = max(hints.values(), default=0)
        pods = self._workload.by_ordinal()
        for ordinal, given in hints.items():
            known = self._handled.get(ordinal)  # one that was given anew differs, whatever the server's clock does
            if given == known or (known is None and given <= newest - HINT_SECONDS * 1000):
                continue
            self._handled[ordinal] = given
            pod = pods.get(ordinal)
            if pod is None or pod.finished or pod.terminating or pod.ip is None or ordinal in self._suspects:
                continue
            if self._probe is None:
                way_out = "set spec.health.probe, or spec.address.port, so that the operator can look for itself"
                self._complain("a caller cannot reach a pod, and nobody looks", ordinal, way_out)
                self._meter.hinted(self._service, "not_probed")
            else:
                self._begin(ordinal, Suspect(pod.incarnation))

    def _complain(self, what: str, ordinal: int, why: str) -> None:
        """Say it, but not again and again of the same pod."""
        now = time.monotonic()
        if now >= self._complained.get((what, ordinal), 0.0):
            self._complained[what, ordinal] = now + COMPLAINT_SECONDS
            log.warning(what, extra=self._facts(ordinal, why))

    # Probes

    def _begin(self, ordinal: int, suspect: Suspect) -> None:
        self._suspects[ordinal] = suspect
        name = f"probe {self._service} pod {ordinal}"
        self._tasks[ordinal] = asyncio.create_task(self._pursue(ordinal, suspect), name=name)

    async def _pursue(self, ordinal: int, suspect: Suspect) -> None:
        """Probe the pod until it answers, is gone, or has failed for no fault of its own."""
        try:
            began = steady()
            while (result := await self._probed(ordinal, suspect)) is not None and not result.healthy:
                suspect.failures += 1
                suspect.failed_at = began
                suspect.since = suspect.since or steady()
                if suspect.failures == FAILURES:
                    if not await self._others_answer(ordinal):
                        self._complain("no pod answers the operator", ordinal, f"{result.why}; {NONE_ANSWERS}")
                        self._meter.hinted(self._service, "none_answers")
                        return
                    suspect.believed = True
                    log.warning("pod does not answer", extra=self._facts(ordinal, result.why))
                    self._meter.hinted(self._service, "unreachable")
                    self._wake()
                await asyncio.sleep(PROBE_SECONDS)
                began = steady()
            if result is None:
                return
            if suspect.believed:
                log.info("pod answers again", extra=self._facts(ordinal, result.why))
            else:
                self._complain("a caller cannot reach a pod that answers the operator", ordinal, result.why)
                self._meter.hinted(self._service, "answers")
        except Exception:
            log.exception("probe failed", extra={"service": str(self._service), "ordinal": ordinal})
        finally:
            del self._suspects[ordinal], self._tasks[ordinal]
            if suspect.believed:
                self._wake()

    async def _probed(self, ordinal: int, suspect: Suspect) -> ProbeResult | None:
        """What a probe has found; None: that pod is not there any more, or nobody says how to probe it."""
        pod, probe = self._workload.by_ordinal().get(ordinal), self._probe
        if probe is None or pod is None or pod.incarnation != suspect.life or pod.finished or pod.ip is None:
            return None
        return await self._ask(probe.probe, pod.ip)

    async def _others_answer(self, ordinal: int) -> bool:
        """Whether one of some other pods answers the same probe; those that nobody has complained about come first."""
        probe = self._probe
        pods = [pod for pod in self._workload.by_ordinal().values() if pod.ordinal != ordinal and _should_answer(pod)]
        pods.sort(key=lambda pod: pod.ordinal in self._suspects)
        for host in [pod.ip for pod in pods if pod.ip is not None][:OTHERS]:
            if probe is not None and (await self._ask(probe.probe, host)).healthy:
                return True
        return False

    async def _ask(self, probe: Callable[[str], Awaitable[ProbeResult]], host: str) -> ProbeResult:
        async with self._slots:
            return await probe(host)

    def _facts(self, ordinal: int, why: str) -> dict[str, object]:
        return {"service": str(self._service), "ordinal": ordinal, "why": why}


def _should_answer(pod: PodFacts) -> bool:
    return pod.ready and not pod.finished and not pod.terminating
