"""kopf's requests, sent by our own client."""

import asyncio
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from itertools import chain, repeat
from urllib.parse import parse_qsl, urlencode
from weakref import WeakSet

import aiohttp

from stateful_route.kube.client import Kube


class Backoffs:
    """Between the attempts of one of kopf's requests, without end: a watch that gives up is never begun again."""

    def __iter__(self) -> Iterator[float]:
        """Seconds."""
        return chain((1.0, 1.0, 2.0, 3.0), repeat(5.0))


class Transport:
    """Stands where kopf expects a session of aiohttp: each request has the credentials of the moment.

    kopf is never told that credentials are refused: it would close its session under its other requests, and end the
    whole process when it is given the same ones again, though the API server may take them by then. Its request waits.
    """

    closed = False

    def __init__(self, kube: Kube) -> None:
        """By the connections of ``kube``, which outlive this."""
        self._kube = kube
        self.headers: dict[str, str] = {}
        """kopf puts its name here."""
        self._open: WeakSet[aiohttp.ClientResponse] = WeakSet()
        """The answers of watches."""
        self._history = 0
        """How often the API server's data were put back."""
        self._begun: dict[str, int] = {}
        """Watch, without its resource version → in which history it was last begun."""

    def begin_anew(self) -> None:
        """End all watches; each begins with what is there, not with a version that the API server may not have.

        From such a one it would bring nothing, and kopf would not know.
        """
        self._history += 1
        for response in list(self._open):
            response.close()

    async def request(
        self,
        *,
        method: str,
        url: str,
        json: object | None,
        headers: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  it goes on to aiohttp
    ) -> aiohttp.ClientResponse:
        """As aiohttp's; ``url`` is a path. The answer is of any status but 401."""
        watch = _watch(url)
        for seconds in Backoffs():
            sent, history = {**self.headers, **(headers or {})}, self._history
            path = url if watch is None or self._begun.get(watch, 0) == history else watch
            response = await self._kube.open(method, path, sent, json=json, timeout=timeout)
            if response.status != HTTPStatus.UNAUTHORIZED:
                if watch is not None and response.ok:
                    self._follow(watch, history, response)
                return response
            await asyncio.sleep(seconds)
        raise AssertionError  # the pauses do not end

    def _follow(self, watch: str, history: int, response: aiohttp.ClientResponse) -> None:
        self._begun[watch] = history
        self._open.add(response)
        if history != self._history:  # since it was asked for: kopf asks again
            response.close()

    async def close(self) -> None:
        """Leave the connections to who has made them."""


def _watch(url: str) -> str | None:
    """A watch without the version from which it should go on; None: it is no watch."""
    path, _, query = url.partition("?")
    words = parse_qsl(query)
    if ("watch", "true") not in words:
        return None
    return f"{path}?{urlencode([(name, value) for name, value in words if name != 'resourceVersion'])}"
