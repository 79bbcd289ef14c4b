"""Writes a StatefulRoute's status and posts its Events: late rather than twice, and never in the way of the work."""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

from stateful_route.kube.client import Kube, KubeError, NotLeading
from stateful_route.kube.objects import Notice, patch_status, post_event
from stateful_route.reconcile.grants import GRANT
from stateful_route.reconcile.watchdog import Watchdog

log = logging.getLogger(__name__)

MIN_INTERVAL_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 5.0
LAST_WORDS_SECONDS = 2.0
MAX_NOTICES = 100
"""Events that wait for an API server which is away; older ones are dropped, the status tells the outcome."""

Status = Mapping[str, Any]


class Reporter:
    """One for each StatefulRoute; ``report`` and ``notice`` return at once, ``run`` does the writing."""

    def __init__(self, kube: Kube, meta: Mapping[str, str], status: Status, watchdog: Watchdog) -> None:
        self._kube = kube
        self._meta = meta
        self._watchdog = watchdog
        self._written: Status = status
        self._wanted: Status = status
        self._notices: deque[Notice] = deque(maxlen=MAX_NOTICES)
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._refused = ""
        """Why the API server does not let us write, as it has been told."""

    @property
    def status(self) -> Status:
        """The status as it was last asked for."""
        return self._wanted

    def report(self, status: Status) -> None:
        """The status should be this."""
        self._wanted = status
        if any(self._written.get(name) != value for name, value in status.items()):
            self._wake.set()

    def notice(self, notice: Notice) -> None:
        """Post this Event."""
        self._notices.append(notice)
        self._wake.set()

    async def run(self) -> None:
        """Write what is asked for until cancelled."""
        backoff = MIN_INTERVAL_SECONDS
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.flush()
                backoff = MIN_INTERVAL_SECONDS
            except NotLeading:
                self._wake.set()  # it may pass
            except KubeError as error:
                if error.not_found:
                    continue  # the StatefulRoute is gone: nobody reads its status any more
                if not error.forbidden:
                    log.warning("status not written", extra={**self._names, "error": str(error)})
                elif self._refused != str(error):  # once: it will be refused again and again
                    self._refused = str(error)
                    log.warning("status not written", extra={**self._names, "error": str(error), "advice": GRANT})
                self._wake.set()
                backoff = min(backoff * 2, MAX_BACKOFF_SECONDS)
            except Exception:
                log.exception("status not written", extra=self._names)
                backoff = MAX_BACKOFF_SECONDS
            await asyncio.sleep(backoff)

    async def close(self) -> None:
        """Write what is still asked for; give up, and say so, after `LAST_WORDS_SECONDS`."""
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self.flush()
        except NotLeading:
            pass  # whoever leads will say it
        except (KubeError, TimeoutError) as error:
            if not (isinstance(error, KubeError) and error.not_found):
                log.warning("status not written", extra={**self._names, "error": str(error) or "no time left"})

    async def flush(self) -> None:
        """Write all that is asked for, now.

        Raises:
            KubeError: see there; what was not written is kept.
        """
        async with self._writing:
            await self._flush()

    async def _flush(self) -> None:
        wanted = self._wanted
        changed = {
            name: _merged(self._written.get(name), value)
            for name, value in wanted.items()
            if self._written.get(name) != value
        }
        if changed:
            body = await patch_status(self._kube, self._meta["namespace"], self._meta["name"], changed)
            version = int(body["metadata"]["resourceVersion"])
            self._written = {**self._written, **wanted}
            of = (self._meta["namespace"], "statefulroutes")
            self._watchdog.expect(self._meta["uid"], f"StatefulRoute {self._meta['name']}", version, of)
            self._refused = ""
        while self._notices:
            try:
                await post_event(self._kube, self._meta, self._notices[0])
            except KubeError as error:
                if not error.refused:
                    raise
                advice = {"advice": GRANT} if error.forbidden else {}
                log.warning("Event refused", extra={**self._names, "error": str(error), **advice})
            self._notices.popleft()

    @property
    def _names(self) -> dict[str, str]:
        return {"route": f"{self._meta['namespace']}/{self._meta['name']}"}


def _merged(old: Any, new: Any) -> Any:
    """``new`` as a merge patch over ``old``: what it no longer has becomes null."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {**dict.fromkeys(old.keys() - new.keys()), **new}
    return new
