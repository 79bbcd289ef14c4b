"""The examples' middlewares in this process, in front of scripted pods, over a real store."""

import asyncio
import importlib.util
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import Thread
from types import ModuleType
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

import httpx
import pytest
import uvicorn

from stateful_route import CacheOptions, RouteOptions, StatefulRoute, StoreOptions, sync
from stateful_route.store.executor import StatefulExecutor
from support.scripted_pods import ScriptedPod, StagedService

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NS, SVC = "games", "room"


@pytest.fixture
def examples_folder() -> Path:
    return EXAMPLES


@pytest.fixture
def module_of() -> Callable[[str], ModuleType]:
    """Load a module of the examples, which are no package: ``module_of("asgi/middleware.py")``."""

    def loaded(path: str) -> ModuleType:
        name = "example_" + path.removesuffix(".py").replace("/", "_")
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, EXAMPLES / path)
            assert spec is not None
            assert spec.loader is not None
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        return sys.modules[name]

    return loaded


@pytest.fixture(params=["asgi", "wsgi"])
def example(request: pytest.FixtureRequest) -> str:
    """Which of the examples."""
    return request.param


@pytest.fixture
async def executor(redis_url: str) -> AsyncIterator[StatefulExecutor]:
    """The store as pods and the operator see it; it is empty at first."""
    async with StatefulExecutor.from_url(redis_url) as made:
        await (await made.store()).command("FLUSHALL")
        yield made


@pytest.fixture
def pods() -> Iterator[list[ScriptedPod]]:
    """Two pods, which answer ``pod 0`` and ``pod 1``."""
    with ExitStack() as stack:
        made = [ScriptedPod(ordinal) for ordinal in range(2)]
        for pod in made:
            stack.callback(pod.close)
        yield made


@pytest.fixture
async def staged(executor: StatefulExecutor, pods: list[ScriptedPod]) -> StagedService:
    """The service of these pods; both are READY at first."""
    made = StagedService(executor, NS, SVC, pods)
    await made.say("READY", "READY")
    return made


Ask = Callable[..., Awaitable[httpx.Response]]
Front = Callable[..., Awaitable[Ask]]


@pytest.fixture
async def front(module_of: Callable[[str], ModuleType], example: str, redis_url: str) -> AsyncIterator[Front]:
    """An application behind the middleware: ``ask = await front(**routing)``, then ``await ask("GET", "/path", …)``.

    The uid is in the header X-User-Id; with ``uid="path"`` in the path, behind ``/users/``.
    """
    module = module_of(f"{example}/middleware.py")
    options: dict[str, Any] = {
        "store": StoreOptions(timeout_seconds=0.5, deadline_seconds=0.8),
        "cache": CacheOptions(refresh_seconds=600.0),
    }
    async with AsyncExitStack() as stack:

        async def made(url: str = redis_url, uid: str = "header", **settings: Any) -> Ask:
            whose = module.uid_in_header("X-User-Id") if uid == "header" else module.uid_in_path(r"/users/([^/]+)/")
            routing = module.Routing(namespace=NS, service=SVC, uid=whose, **settings)
            serve = served_by_uvicorn if example == "asgi" else served_by_wsgiref
            host = await asyncio.to_thread(stack.enter_context, serve(module, url, options, routing))
            client = httpx.AsyncClient(base_url=f"http://{host}", timeout=30)
            return (await stack.enter_async_context(client)).request

        yield made


@contextmanager
def served_by_uvicorn(module: ModuleType, url: str, options: dict[str, Any], routing: Any) -> Iterator[str]:
    """In a thread; where."""
    made: Future[uvicorn.Server] = Future()
    with closing(socket.create_server(("127.0.0.1", 0))) as listening, ThreadPoolExecutor(1) as pool:

        async def serve() -> None:
            async with StatefulRoute.connect(url, RouteOptions(**options)) as route, httpx.AsyncClient() as http:
                app = module.StatefulRouteMiddleware(asgi_application, route, http, routing)
                config = uvicorn.Config(app, lifespan="off", log_level="warning", proxy_headers=False)
                made.set_result(uvicorn.Server(config))
                await made.result().serve([listening])

        serving = pool.submit(asyncio.run, serve())
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            made.result(10).should_exit = True
            serving.result(10)


@contextmanager
def served_by_wsgiref(module: ModuleType, url: str, options: dict[str, Any], routing: Any) -> Iterator[str]:
    """In threads; where."""
    with sync.StatefulRoute.connect(url, sync.RouteOptions(**options)) as route:
        app = module.StatefulRouteMiddleware(wsgi_application, route, routing)
        with make_server("127.0.0.1", 0, app, ThreadingServer) as server:
            serving = Thread(target=server.serve_forever, args=[0.01])
            serving.start()
            try:
                yield f"127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                serving.join()


class ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


async def asgi_application(scope: Any, _receive: Any, send: Any) -> None:
    """The application behind the middleware: says what it was asked for."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"own {scope['path']}".encode()})


def wsgi_application(environ: Any, start_response: Any) -> list[bytes]:
    """The same."""
    start_response("200 OK", [])
    return [f"own {environ['PATH_INFO']}".encode()]
