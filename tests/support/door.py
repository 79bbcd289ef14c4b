"""A server that lets in whom it knows by a token, as an API server does: what is asked of one can be given anew."""

import asyncio
import ssl
from typing import Self

from aiohttp import web


class Door:
    """Answers everybody who shows a token of ``keys`` with that token, all others with 401.

    Attributes:
        keys: The tokens it takes.
        refused: How often it has answered with 401.
        busy: It answers everybody with 503.
    """

    def __init__(self, *keys: str, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.keys = set(keys)
        self.refused = 0
        self.busy = False
        self._tls, self._port = tls, port
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        if self.busy:
            return web.json_response({"kind": "Status", "code": 503, "message": "busy"}, status=503)
        key = request.headers.get("Authorization", "").partition(" ")[2]
        if key in self.keys:
            await asyncio.sleep(0.01)  # others may ask meanwhile
            return web.json_response({"key": key})
        self.refused += 1
        return web.json_response({"kind": "Status", "code": 401, "message": "Unauthorized"}, status=401)
