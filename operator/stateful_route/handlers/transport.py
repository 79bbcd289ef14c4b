"""kopf's requests, sent by our own client."""

import asyncio
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from itertools import chain, repeat

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
        for seconds in Backoffs():
            sent = {**self.headers, **(headers or {})}
            response = await self._kube.open(method, url, sent, json=json, timeout=timeout)
            if response.status != HTTPStatus.UNAUTHORIZED:
                return response
            await asyncio.sleep(seconds)
        raise AssertionError  # the pauses do not end

    async def close(self) -> None:
        """Leave the connections to who has made them."""
