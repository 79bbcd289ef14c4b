"""kopf's watches, by our own connections: they begin anew when the API server's data were put back."""

import asyncio

import pytest
from aiohttp import ClientConnectionError, ClientTimeout, web
from kubernetes.client import Configuration

from stateful_route.handlers.transport import Transport
from stateful_route.kube.client import Kube

WATCH = "/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=90&labelSelector=a%21%3Db"


class ApiServer:
    """Tells nothing by its watches; ``asked``: from which version each was to go on, None: from what is there."""

    def __init__(self):
        self.asked = []

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _answer(self, request):
        assert request.query["labelSelector"] == "a!=b"
        self.asked.append(request.query.get("resourceVersion"))
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(60)
        return response


@pytest.fixture
async def api_server():
    async with ApiServer() as server:
        yield server


@pytest.fixture
async def transport(api_server):
    configuration = Configuration()
    configuration.host = api_server.url
    kube = Kube(configuration)
    yield Transport(kube)
    await kube.close()


async def begin(transport):
    return await transport.request(method="GET", url=WATCH, json=None, headers=None, timeout=ClientTimeout(total=30))


async def test_a_watch_goes_on_from_its_version(transport, api_server):
    await begin(transport)
    await begin(transport)
    assert api_server.asked == ["90", "90"]


async def test_when_the_data_were_put_back_a_watch_ends_and_begins_once_with_what_is_there(transport, api_server):
    response = await begin(transport)
    reading = asyncio.create_task(response.content.readline())
    await asyncio.sleep(0)
    transport.begin_anew()
    with pytest.raises(ClientConnectionError):
        await reading
    await begin(transport)
    await begin(transport)
    assert api_server.asked == ["90", None, "90"]


async def test_a_watch_that_was_asked_for_before_the_data_were_put_back_begins_anew_too(transport, api_server):
    transport.begin_anew()
    await begin(transport)
    assert api_server.asked == [None]
