"""``/healthz`` and ``/readyz`` for the kubelet's probes."""

from collections.abc import Callable
from typing import NamedTuple

from aiohttp import web

from stateful_route.handlers.serving import Site


class Readiness(NamedTuple):
    """Whether this process can do its part, and what there is to say about it."""

    ready: bool
    text: str = "ok"


class Health:
    """Alive: no watch has silently died, and no task.

    Ready: all StatefulRoutes have been looked at once; or another process leads, and this one could take over. If a
    standby were not ready, the rollout of a Deployment of two would wait for ever.
    """

    def __init__(self, problem: Callable[[], str | None], readiness: Callable[[], Readiness]) -> None:
        """What is asked at each request; ``problem``: None, or why this process should be started anew."""
        self._problem = problem
        self._readiness = readiness
        self.site = Site("--health-port", {"/healthz": self._healthz, "/readyz": self._readyz})
        """Where it is asked."""

    async def _healthz(self, _: web.Request) -> web.Response:
        problem = self._problem()
        return web.Response(text=f"{problem or 'ok'}\n", status=503 if problem else 200)

    async def _readyz(self, _: web.Request) -> web.Response:
        readiness = self._readiness()
        return web.Response(text=f"{readiness.text}\n", status=200 if readiness.ready else 503)
