"""``/healthz`` and ``/readyz`` for the kubelet's probes."""

from collections.abc import Callable

from aiohttp import web

from stateful_route.reconcile.watchdog import Watchdog


class Health:
    """Alive: no watch has silently died. Ready: all StatefulRoutes have been looked at once."""

    def __init__(self, watchdog: Watchdog, is_ready: Callable[[], bool]) -> None:
        self._watchdog = watchdog
        self._is_ready = is_ready
        self._runner: web.AppRunner | None = None

    async def start(self, port: int) -> None:
        """Serve on all addresses; 0: do not serve.

        Raises:
            OSError: the port is taken.
        """
        if not port:
            return
        app = web.Application()
        app.add_routes([web.get("/healthz", self._healthz), web.get("/readyz", self._readyz)])
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, None, port).start()

    async def stop(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        problem = self._watchdog.overdue()
        return web.Response(text=f"{problem or 'ok'}\n", status=503 if problem else 200)

    async def _readyz(self, _: web.Request) -> web.Response:
        ready = self._is_ready()
        return web.Response(
            text="ok\n" if ready else "not all StatefulRoutes have been looked at\n", status=200 if ready else 503
        )
