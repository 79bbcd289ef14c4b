"""Which services of a store have no links at all: one look at the keys for all who ask at the same time."""

import asyncio
import logging
import math

from stateful_route.domain.errors import StoreRejected
from stateful_route.kube.server_clock import steady
from stateful_route.store.connection import Store
from stateful_route.store.index import indexed_services
from stateful_route.store.keys import Service

log = logging.getLogger(__name__)

FULL_STORE_SECONDS = 3600.0
"""So long a store counts as too full to be looked at, once it has been."""


class Vacancies:
    """The looks at one store, never two at once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[asyncio.Future[set[Service] | None]] = []
        """Of those who are answered by the next look."""
        self._task: asyncio.Task[None] | None = None
        self._not_before = -math.inf

    async def has_none(self, service: Service) -> bool:
        """Whether the service has no index, seen after this was asked; False: it has one, or nobody can tell.

        Raises:
            StoreUnavailable: see there.
        """
        if steady() < self._not_before:
            return False
        answer: asyncio.Future[set[Service] | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        if self._task is None:
            self._task = asyncio.create_task(self._serve(), name=f"look for indexes in {self._store.label}")
        indexed = await answer
        return indexed is not None and service not in indexed

    async def close(self) -> None:
        """End what is under way; who waits for it is cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        while self._waiting:
            self._waiting.pop().cancel()

    async def _serve(self) -> None:
        waiting: list[asyncio.Future[set[Service] | None]] = []
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                await self._answer(waiting)
        finally:
            self._task = None
            for answer in waiting:
                answer.cancel()  # who has no answer by now: all of this ends

    async def _answer(self, waiting: list[asyncio.Future[set[Service] | None]]) -> None:
        try:
            indexed = await self._look()
        except Exception as error:  # noqa: BLE001  it is theirs
            for answer in waiting:
                if not answer.done():
                    answer.set_exception(error)
            return
        for answer in waiting:
            if not answer.done():
                answer.set_result(indexed)

    async def _look(self) -> set[Service] | None:
        try:
            indexed = await indexed_services(self._store)
        except StoreRejected as error:  # an ACL without SCAN
            log.info("services without links are counted, too", extra={"why": str(error)})
            indexed = None
        if indexed is None:
            self._not_before = steady() + FULL_STORE_SECONDS
        return indexed
