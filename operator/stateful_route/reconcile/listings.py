"""What the API server has of workloads and their pods: read for one service, or for all who ask at the same time."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from stateful_route.domain.selector import Selector
from stateful_route.domain.sharing import is_worth_a_list
from stateful_route.domain.workload_ref import WorkloadFacts, WorkloadRef
from stateful_route.kube.client import Kube
from stateful_route.kube.membership import workload_names
from stateful_route.kube.pods import list_pods, pages_of_pods
from stateful_route.kube.workloads import get_workload, list_stateful_sets

AT_ONCE = 8
"""Requests for one service alone that are under way."""

Name = tuple[str, str]
"""A namespace, and the name of a workload in it."""


class Pods(NamedTuple):
    """Pods that may be a workload's.

    Attributes:
        bodies: They, as the API server has them.
        version: The resource version of their list.
        complete: All that have anything to do with its name are there, whatever their labels.
    """

    bodies: list[Mapping[str, Any]]
    version: int
    complete: bool


class Listings:
    """The requests of one operator."""

    def __init__(self, kube: Kube, *, everywhere: bool) -> None:
        """``everywhere``: all namespaces are served, and may be listed in one request."""
        self._kube = kube
        self._everywhere = everywhere
        self._workloads = _Shared[WorkloadFacts | None](self._all_stateful_sets)
        self._pods = _Shared[Pods](self._all_pods)

    async def workload(self, namespace: str, ref: WorkloadRef) -> WorkloadFacts | None:
        """As `kube.workloads.get_workload`."""
        if not ref.built_in:
            return await get_workload(self._kube, namespace, ref)

        async def alone() -> WorkloadFacts | None:
            return await get_workload(self._kube, namespace, ref)

        return await self._workloads.read(self._scope(namespace), (namespace, ref.name), alone)

    async def pods(self, namespace: str, workload: str, selector: Selector) -> Pods:
        """The pods that may be those of a workload, by its name; at least those of them that are selected.

        Raises:
            KubeError: see there.
        """

        async def alone() -> Pods:
            bodies, version = await list_pods(self._kube, namespace, selector)
            return Pods(bodies, version, complete=selector == Selector())

        return await self._pods.read(self._scope(namespace), (namespace, workload), alone)

    async def close(self) -> None:
        """End what is under way; who waits for it is cancelled."""
        await self._workloads.close()
        await self._pods.close()

    def _scope(self, namespace: str) -> str | None:
        return None if self._everywhere else namespace

    async def _all_stateful_sets(self, scope: str | None) -> "_Everything[WorkloadFacts | None]":
        found = await list_stateful_sets(self._kube, scope)
        return _Everything(dict(found), None, len(found))

    async def _all_pods(self, scope: str | None) -> "_Everything[Pods]":
        bodies = defaultdict[Name, list[Mapping[str, Any]]](list)
        objects = version = 0
        async for page, of_list in pages_of_pods(self._kube, scope):
            version, objects = of_list, objects + len(page)
            for body in page:
                for name in workload_names(body):
                    bodies[body["metadata"]["namespace"], name].append(body)
        found = {name: Pods(those, version, complete=True) for name, those in bodies.items()}
        return _Everything(found, Pods([], version, complete=True), objects)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Everything(Generic[T]):
    """What a list says of each workload, of those that it does not name, and how many objects it has."""

    found: Mapping[Name, T]
    nothing: T
    objects: int


@dataclass(frozen=True, slots=True)
class _Ask(Generic[T]):
    name: Name
    alone: Callable[[], Awaitable[T]]
    answer: asyncio.Future[T]


class _Shared(Generic[T]):
    """Reads one kind of object, one thing at a time in each scope: those who ask meanwhile are answered together."""

    def __init__(self, everything: Callable[[str | None], Awaitable[_Everything[T]]]) -> None:
        self._everything = everything
        self._asks: dict[str | None, list[_Ask[T]]] = {}
        """Scope → who waits for the next reading there."""
        self._objects: dict[str | None, int] = {}
        self._serving: dict[str | None, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def read(self, scope: str | None, name: Name, alone: Callable[[], Awaitable[T]]) -> T:
        """What the API server has of a workload, read after this call has begun.

        Args:
            scope: The namespace whose list it is in; None: that of all.
            name: The workload.
            alone: Reads it alone.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asks.setdefault(scope, []).append(_Ask(name, alone, answer))
        if scope not in self._serving:
            self._serving[scope] = asyncio.create_task(self._serve(scope), name=f"read workloads of {scope or 'all'}")
        return await answer

    async def close(self) -> None:
        """End what is under way; who waits for it is cancelled."""
        tasks = list(self._serving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._serving.clear()
        while self._asks:  # a task that was cancelled before it had begun has cancelled nobody
            for ask in self._asks.popitem()[1]:
                ask.answer.cancel()

    async def _serve(self, scope: str | None) -> None:
        asks: list[_Ask[T]] = []
        try:
            while asks := [ask for ask in self._asks.pop(scope, ()) if not ask.answer.done()]:
                if is_worth_a_list(len(asks), self._objects.get(scope, 0)):
                    await self._answer_all(scope, asks)
                else:
                    await asyncio.gather(*(self._answer(ask) for ask in asks))
        finally:
            del self._serving[scope]
            for ask in asks:
                ask.answer.cancel()  # who has no answer by now: all of this ends

    async def _answer_all(self, scope: str | None, asks: list[_Ask[T]]) -> None:
        try:
            everything = await self._everything(scope)
        except Exception as error:  # noqa: BLE001  it is theirs
            for ask in asks:
                _fail(ask, error)
            return
        self._objects[scope] = everything.objects
        for ask in asks:
            if not ask.answer.done():
                ask.answer.set_result(everything.found.get(ask.name, everything.nothing))

    async def _answer(self, ask: _Ask[T]) -> None:
        try:
            async with self._slots:
                found = await ask.alone()
        except Exception as error:  # noqa: BLE001  likewise
            _fail(ask, error)
        else:
            if not ask.answer.done():
                ask.answer.set_result(found)


def _fail(ask: _Ask[Any], error: Exception) -> None:
    if not ask.answer.done():
        ask.answer.set_exception(error)
