"""An HTTP proxy between the operator and the API server, which loses what a test wants it to lose."""

import asyncio
import base64
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

Event = Mapping[str, Any]
NOT_FORWARDED = {"host", "connection", "transfer-encoding", "content-length", "content-encoding", "accept-encoding"}
MAX_LINE = 2**24
GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}


class ApiProxy:
    """Plain HTTP on loopback for the operator, whose token it passes on, TLS towards the API server.

    It runs in a thread of its own, so that a test may block. Resources are named by their plural: ``pods``.

    Attributes:
        kubeconfig: The user's of the kubeconfig that was given, by way of the proxy; there once it has been entered.
        drops: Says of each watch event whether it is lost.
        stalled: Resources whose watches are accepted and bring nothing, those that are open included.
        refused: Resources whose requests are answered with 503.
        watched: Resources of which a watch has been asked for.
    """

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self.kubeconfig = folder / "proxied.kubeconfig"
        self.drops: Callable[[Event], bool] = lambda _event: False
        self.stalled: set[str] = set()
        self.refused: set[str] = set()
        self.watched: set[str] = set()
        self._generation = 0
        self._server, self._tls, self._user = _access(kubeconfig, folder)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None
        self._session: ClientSession | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def expire_watches(self) -> None:
        """Answer the next event of each open watch with 410 Gone, as after a compaction."""
        self._generation += 1

    async def _start(self) -> None:
        connector = TCPConnector(ssl=self._tls, limit=0)
        self._session = ClientSession(connector=connector, timeout=ClientTimeout(total=None), read_bufsize=MAX_LINE)
        app = web.Application(client_max_size=MAX_LINE)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        named = {"name": "proxied"}
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "proxied",
                    "clusters": [named | {"cluster": {"server": f"http://127.0.0.1:{port}"}}],
                    "users": [named | {"user": self._user}],
                    "contexts": [named | {"context": {"cluster": "proxied", "user": "proxied"}}],
                }
            )
        )

    async def _stop(self) -> None:
        assert self._runner is not None
        assert self._session is not None
        await self._runner.cleanup()
        await self._session.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        resource = request.path.rstrip("/").rpartition("/")[2]
        if resource in self.refused:
            return web.json_response({"kind": "Status", "code": 503, "message": "refused by the test"}, status=503)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in NOT_FORWARDED}
        url = f"{self._server}{request.raw_path}"
        body = await request.read()
        try:
            async with self._session.request(request.method, url, headers=headers, data=body or None) as reply:
                kept = {name: value for name, value in reply.headers.items() if name.lower() not in NOT_FORWARDED}
                if request.query.get("watch") not in {"true", "1"} or reply.status != web.HTTPOk.status_code:
                    return web.Response(body=await reply.read(), status=reply.status, headers=kept)
                self.watched.add(resource)
                answer = web.StreamResponse(headers=kept)
                await answer.prepare(request)
                generation = self._generation
                async for line in reply.content:
                    if generation != self._generation:
                        await answer.write(json.dumps(GONE).encode() + b"\n")
                        return answer
                    if resource not in self.stalled and not self.drops(json.loads(line)):
                        await answer.write(line)
                return answer
        except ClientError as error:
            return web.json_response({"kind": "Status", "code": 502, "message": str(error)}, status=502)


def _access(kubeconfig: Path, folder: Path) -> tuple[str, ssl.SSLContext, Mapping[str, str]]:
    """The API server's address, how it proves to be itself, and how the user does, by a token."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    authority = folder / "certificate-authority.pem"
    authority.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    tls = ssl.create_default_context(cafile=authority)
    tls.check_hostname = False
    return str(cluster["server"]).rstrip("/"), tls, {"token": user["token"]}
