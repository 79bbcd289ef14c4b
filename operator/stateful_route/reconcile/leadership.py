"""The leader election: stands by, leads while the Lease is renewed, and stops all writes the moment it is not.

A deposed leader stands by again in the same process. It does not end, as others do for fear of what is still under
way: here every write to Redis carries a deadline, every write to Kubernetes is checked first, and all that a term has
made is thrown away with it. To end would gain nothing, and after an outage of the API server the kubelet would start
the process again minutes later only (it backs off), where one that stands by leads again within seconds.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from stateful_route.domain.errors import Deposed
from stateful_route.domain.leadership import (
    LeaseRecord,
    Rhythm,
    Sighting,
    free_in,
    given_back,
    renewed,
    sighted,
    taken,
)
from stateful_route.kube.client import Kube, KubeError, NotLeading
from stateful_route.kube.lease import Lease
from stateful_route.store.tenure import Tenure

log = logging.getLogger(__name__)

JITTER = 0.2
"""So that those who wait do not all look at the same moment."""

GIVE_BACK_SECONDS = 1.0
"""For giving the Lease back: the process has little time left to end in."""

Term = Callable[[], Coroutine[Any, Any, None]]
"""What a leader does, until it is cancelled."""


class Leadership:
    """One candidate for a Lease.

    Attributes:
        tenure: Whether it may write; its stores heed it.
    """

    def __init__(self, kube: Kube, namespace: str, name: str, rhythm: Rhythm, identity: str) -> None:
        self._kube = kube
        self._rhythm = rhythm
        self._lease = Lease(kube, namespace, name, rhythm.request_seconds)
        self._me = identity
        self.tenure = Tenure()
        self._held: LeaseRecord | None = None
        """The Lease as we hold it."""
        self._sighting: Sighting | None = None
        self._problem: str | None = "the Lease has not been looked at yet"
        self._beat_at = time.monotonic()
        self._announced: str | None = None

    # What others ask

    @property
    def leading(self) -> bool:
        """True while this process leads."""
        return self._held is not None

    @property
    def leader(self) -> str:
        """Who leads, as far as is known; empty: nobody."""
        record = self._sighting.record if self._sighting is not None else None
        return record.holder if record is not None else ""

    @property
    def problem(self) -> str | None:
        """Why this process could not lead if it had to, or None."""
        return self._problem

    def overdue(self) -> str | None:
        """What tells that the election is dead, in words; None: it lives."""
        silent = time.monotonic() - self._beat_at
        return (
            f"the leader election has done nothing for {silent:.0f} s" if silent > self._rhythm.dead_seconds else None
        )

    def guarded(self) -> Kube:
        """The API server for a leader's work: it writes nothing for one that leads no more.

        A request that has been sent is carried out all the same; what a successor finds it corrects, as it corrects
        whatever else stands there.
        """

        def check() -> None:
            try:
                self.tenure.check()
            except Deposed as error:
                raise NotLeading(0, str(error)) from None

        return self._kube.guarded(check)

    # Its task

    async def run(self, lead: Term) -> None:
        """Stand by, lead, stand by again, until cancelled; a leader that is cancelled gives the Lease back."""
        while True:
            held = await self._won()
            facts = {"lease": str(self._lease), "identity": self._me, "transitions": held.transitions}
            log.info("leading", extra=facts)
            term = asyncio.create_task(lead(), name="lead")
            try:
                why = await self._lost(term)
            except asyncio.CancelledError:
                await _ended(term)
                await self._give_back()
                raise
            except Exception:
                log.exception("the leader election has failed")
                why = "an error of its own"
            self.tenure.end()
            failed = term.done()
            log.warning("leadership lost", extra={**facts, "why": why})
            await _ended(term)
            if failed:  # another may do better; without the pause this one would be back at once
                await self._give_back()
                await asyncio.sleep(self._rhythm.renew_seconds)
            self._held = self._announced = None
            log.info("stopped to write; standing by again", extra=facts)

    async def _won(self) -> LeaseRecord:
        """Wait for the Lease, and take it."""
        while True:
            self._beat_at = time.monotonic()
            try:
                record = await self._lease.read()
                self._sighting = sighted(self._sighting, record, time.monotonic())
                if free_in(self._sighting, self._me) <= time.monotonic():
                    return await self._take(record)
                self._understood()
                if self.leader != self._announced:
                    self._announced = self.leader
                    log.info("standing by", extra={"lease": str(self._lease), "leader": self.leader})
            except KubeError as error:
                self._not_understood(error)
            await asyncio.sleep(self._until_next_look())

    def _until_next_look(self) -> float:
        pause = self._rhythm.look_seconds * random.uniform(1, 1 + JITTER)  # noqa: S311  jitter
        if self._sighting is None or self._problem is not None:
            return pause
        left = free_in(self._sighting, self._me) - time.monotonic()
        return min(pause, left) if left > 0 else pause

    async def _take(self, record: LeaseRecord | None) -> LeaseRecord:
        """Take the Lease, which is free.

        Raises:
            KubeError: ``conflict`` when another was quicker.
        """
        began = time.monotonic()
        with self.tenure.renewing():
            noted = await self.tenure.note(self._rhythm.note_seconds)
            wanted = taken(record, self._me, self._rhythm.lease_seconds, datetime.now(UTC))
            held = await self._lease.write(wanted)
            self._hold(held, began, noted)
        return held

    async def _lost(self, term: asyncio.Task[None]) -> str:
        """Renew the Lease until that fails; why it did."""
        rhythm, tenure = self._rhythm, self.tenure
        due, doubt_from = time.monotonic() + rhythm.renew_seconds, 0.0
        while True:
            self._beat_at = time.monotonic()
            await self._rest(due, doubt_from, term)
            if not tenure.holds:
                why = self._problem or "this process stood still"
                return f"it was not renewed for {rhythm.give_up_seconds:g} s: {why}"
            if term.done():
                return _how_it_ended(term)
            if time.monotonic() < due:
                doubt_from = time.monotonic() + rhythm.again_seconds
            elif tenure.refused:
                log.warning("writes put off", extra={"writes": tenure.refused, "why": tenure.why})
                tenure.refused = 0
            try:
                if (rival := await self._renewed()) is not None:
                    return rival
                due = time.monotonic() + rhythm.renew_seconds
            except KubeError as error:
                self._not_understood(error)
                due = time.monotonic() + rhythm.look_seconds

    async def _rest(self, due: float, doubt_from: float, term: asyncio.Task[None]) -> None:
        """Until the next renewal is due, somebody doubts that we lead, the tenure ends, or the term does."""
        doubting = asyncio.create_task(self._doubted(doubt_from))
        try:
            left = min(due, self.tenure.until) - time.monotonic()
            await asyncio.wait([doubting, term], timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            doubting.cancel()

    async def _doubted(self, doubt_from: float) -> None:
        await self.tenure.doubted.wait()
        await asyncio.sleep(max(0.0, doubt_from - time.monotonic()))

    async def _renewed(self) -> str | None:
        """Renew the Lease; why it is another's by now, or None.

        Raises:
            KubeError: it was not renewed; it may be tried again.
        """
        held, began = self._held, time.monotonic()
        assert held is not None  # noqa: S101  it leads
        with self.tenure.renewing():
            noted = await self.tenure.note(self._rhythm.note_seconds)
            try:
                held = await self._lease.write(renewed(held, datetime.now(UTC)))
            except KubeError as error:
                if not (error.conflict or error.not_found):
                    raise
                found = await self._lease.read()
                self._sighting = sighted(self._sighting, found, time.monotonic())
                if found is None:  # somebody has deleted it: it is made anew, unless a rival is quicker
                    found = replace(held, version="")
                if not found.same_term(held):
                    return f"{found.holder!r} has taken it" if found.holder else "somebody has emptied it"
                held = await self._lease.write(renewed(found, datetime.now(UTC)))
            self._hold(held, began, noted)
        return None

    def _hold(self, held: LeaseRecord, began: float, noted: dict[str, int]) -> None:
        self._held = held
        self._sighting = sighted(self._sighting, held, time.monotonic())
        self.tenure.extend(began + self._rhythm.give_up_seconds, noted, self._rhythm.lease_seconds)
        self._understood()

    async def _give_back(self) -> None:
        """The next one need not wait; only once nothing of ours can be written any more."""
        self.tenure.end()
        held, self._held = self._held, None
        if held is None:
            return
        try:
            async with asyncio.timeout(GIVE_BACK_SECONDS):
                await self._lease.write(given_back(held, datetime.now(UTC)))
            log.info("leadership given back", extra={"lease": str(self._lease)})
        except (KubeError, TimeoutError) as error:  # it runs out by itself
            facts = {"lease": str(self._lease), "error": str(error) or "no answer in time"}
            log.warning("leadership not given back", extra=facts)

    def _understood(self) -> None:
        self._problem = None

    def _not_understood(self, error: KubeError) -> None:
        """Say once of each problem what it is, and the way out."""
        if error.conflict:
            return  # another was quicker: the next look shows who
        what = f"Lease {self._lease}: {error}"
        if error.forbidden:
            what = (
                f"the operator may not use Lease {self._lease}: grant its ServiceAccount get, create and patch on "
                f"leases.coordination.k8s.io in namespace {self._lease.namespace!r} ({error})"
            )
        elif error.not_found:
            what = f"Lease {self._lease} cannot be made; is there such a namespace? ({error})"
        if what != self._problem:
            log.warning("no leadership", extra={"why": what})
        self._problem = what


async def _ended(term: asyncio.Task[None]) -> None:
    """Stop a term, and wait until all that it has begun has ended."""
    term.cancel()
    await asyncio.wait([term])
    if term.done() and not term.cancelled() and (error := term.exception()) is not None:
        log.error("a term has failed", exc_info=error)


def _how_it_ended(term: asyncio.Task[None]) -> str:
    failed = not term.cancelled() and term.exception() is not None
    return "the work has failed" if failed else "the work has ended"
