"""The search for links that foreign clients made without our index: one walk over a store's keys for all services."""

import asyncio
import logging
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.kube.server_clock import steady
from stateful_route.reconcile.upkeep import note_repaired
from stateful_route.store.connection import Store
from stateful_route.store.index import SCAN_COUNT, Repaired, bucketed, glob_escaped, repair_services
from stateful_route.store.keys import Service, link_of
from stateful_route.store.rest import Rest

log = logging.getLogger(__name__)

ROUTINE_PAUSE_SECONDS = 10.0
"""From the beginning of one walk to the next one that nobody is in a hurry for: who asks meanwhile shares it."""
SOON_PAUSE_SECONDS = 1.0
"""The same where a service has lost links, and serves nobody until they have been looked for."""

Found = Repaired | StatefulRouteError
"""What was mended, or why the links of the service could not be."""


class Searched(Protocol):
    """A service whose links are looked for; both return at once."""

    def walk_begins(self) -> None:
        """A walk begins that sees every link which exists now."""

    def walk_ended(self, found: Found) -> None:
        """The walk that has begun is over; of one that was given up what it had mended is not told here."""


class KeyWalk:
    """The walks over one store: never two at once, slow enough not to be noticed by others, and none that nobody needs.

    Each serves all services that have joined before it began.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._services: dict[Service, Searched] = {}
        self._asked = self._in_a_hurry = False
        self._began_at = -math.inf
        self._part: dict[Service, Searched] = {}
        """Who has part in the present walk."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def join(self, service: Service, searched: Searched) -> None:
        """The links of the service are looked for from the next walk on."""
        self._services[service] = searched

    def leave(self, service: Service, searched: Searched) -> None:
        """They need not be any more."""
        if self._services.get(service) is searched:
            del self._services[service]

    def ask(self, *, soon: bool) -> None:
        """Have a walk begin after this: ``soon`` at once, even if one is under way that nobody is in a hurry for."""
        self._asked, self._in_a_hurry = True, self._in_a_hurry or soon
        self._wake.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"look for links in {self._store.label}")

    async def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self) -> None:
        try:
            while self._asked and self._services:
                await self._until_due()
                await self._walk()
        finally:
            self._task = None

    async def _until_due(self) -> None:
        while True:
            self._wake.clear()
            pause = SOON_PAUSE_SECONDS if self._in_a_hurry else ROUTINE_PAUSE_SECONDS
            left = self._began_at + pause - steady()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()  # somebody may be in a hurry by now
            except TimeoutError:
                return

    async def _walk(self) -> None:
        """Look at all keys, and tell what came of it."""
        found: dict[Service, Found] = {}
        whole: StatefulRouteError | None = None
        try:
            await self._look_at_all(found)
        except StatefulRouteError as error:
            whole = error
            log.warning("links not looked for", extra={"store": self._store.label, "error": str(error)})
        except Exception:
            log.exception("links not looked for", extra={"store": self._store.label})
            whole = StatefulRouteError("see the log")
        for service, searched in self._part.items():
            try:
                self._tell(service, searched, found.get(service, Repaired()), whole)
            except Exception:
                log.exception("links not looked for", extra={"service": str(service)})

    def _tell(self, service: Service, searched: Searched, found: Found, whole: StatefulRouteError | None) -> None:
        if isinstance(found, Repaired):
            note_repaired(self._store, service, found)
        else:
            log.warning("links not looked for", extra={"service": str(service), "error": str(found)})
        if self._services.get(service) is searched:
            searched.walk_ended(whole or found)

    async def _look_at_all(self, found: dict[Service, Found]) -> None:
        """Once; from the first key again when somebody is in a hurry, and nobody was when it began."""
        through = False
        while not through:
            hurried, self._asked, self._in_a_hurry = self._in_a_hurry, False, False
            self._began_at = steady()
            self._part = dict(self._services)
            for searched in self._part.values():
                searched.walk_begins()
            through = await self._pass_over(self._part, found, hurried=hurried)
            if not through:  # what was mended is mended; what could not be is met again
                mended = {s: replace(one, foreign=0) for s, one in found.items() if isinstance(one, Repaired)}
                found.clear()
                found.update(mended)

    async def _pass_over(
        self, members: dict[Service, Searched], totals: dict[Service, Found], *, hurried: bool
    ) -> bool:
        """Look at all keys once; False: it was given up for those who are in a hurry."""
        rest, pending = Rest(), defaultdict[Service, list[str]](list)
        waiting = 0
        async for keys in self._store.scan_pages(pattern_of(members), SCAN_COUNT):
            for key in keys:
                link = link_of(key)
                if link is not None and link.service in members:
                    pending[link.service].append(link.uid)
                    waiting += 1
            if waiting >= SCAN_COUNT:
                await self._mend(pending, totals)
                pending.clear()
                waiting = 0
            await rest.after(SCAN_COUNT)
            if self._in_a_hurry and not hurried:
                break
        await self._mend(pending, totals)
        return hurried or not self._in_a_hurry

    async def _mend(self, pending: dict[Service, list[str]], totals: dict[Service, Found]) -> None:
        found = await repair_services(self._store, {s: bucketed(s, uids) for s, uids in pending.items()})
        for service, latest in found.items():
            former = totals.get(service, Repaired())
            if isinstance(latest, StatefulRouteError) or isinstance(former, StatefulRouteError):
                totals[service] = latest if isinstance(latest, StatefulRouteError) else former
            else:
                totals[service] = former + latest


def pattern_of(services: Iterable[Service]) -> str:
    """A glob pattern that the links of these services match, and few other keys."""
    namespaces, names = {s.namespace for s in services}, {s.name for s in services}
    namespace = glob_escaped(*namespaces) if len(namespaces) == 1 else "*"
    name = glob_escaped(*names) if len(names) == 1 else "*"
    return f"sf:{{{namespace}:lk:*}}{name}"
