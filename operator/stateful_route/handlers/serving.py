"""A port of the operator's own, on which some pages are served."""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

Page = Callable[[web.Request], Awaitable[web.Response]]


class PortTaken(Exception):  # noqa: N818  names the fact
    """Nothing can be served on a port; the message names it and the way out."""


class Site:
    """Some pages on one port, on all addresses."""

    def __init__(self, flag: str, pages: Mapping[str, Page]) -> None:
        """``flag``: the option that says which port; ``pages``: by path."""
        self._flag = flag
        self._pages = pages
        self._runner: web.AppRunner | None = None

    async def start(self, port: int) -> None:
        """Serve; 0: do not.

        Raises:
            PortTaken: another process has the port, or this one may not.
        """
        if not port:
            return
        app = web.Application()
        app.add_routes([web.get(path, page) for path, page in self._pages.items()])
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, None, port).start()
        except OSError as error:
            raise PortTaken(
                f"nothing can be served on port {port} ({error.strerror}): give another {self._flag}, or 0"
            ) from error

    async def stop(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()
