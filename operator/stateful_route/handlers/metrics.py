"""``/metrics`` for Prometheus."""

from collections.abc import Callable

from aiohttp import web

from stateful_route.handlers.serving import Site


def metrics_site(page: Callable[[], tuple[bytes, str]]) -> Site:
    """The site that serves them; ``page`` gives their text and its content type at each request."""

    async def answer(_: web.Request) -> web.Response:
        body, content_type = page()
        return web.Response(body=body, headers={"Content-Type": content_type})

    return Site("--metrics-port", {"/metrics": answer})
