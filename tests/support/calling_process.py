"""A caller as a process, ``python -m support.calling_process <role>``: at full speed from start to SIGTERM."""

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

from stateful_route.domain.address import split_address
from stateful_route.domain.errors import NoPodAvailable, StoreUnavailable
from stateful_route.store.keys import Service
from support.journal import BEGUN, Journal
from support.routed_service import SVC, UIDS, Drivers, Role, pulse, socket_of
from support.waiting import PATIENCE_SECONDS

TASKS = 5
WRITE_SHARE = 0.1
PAUSE_SECONDS = 0.02

NICE = 3
"""Callers have machines of their own in real life: at full speed they must not starve pods and store here."""


class Eyes:
    """Takes down what the process's snapshot says, at the moment from which on it counts."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._last: object = None

    def changed(self, service: Any, before: Any, now: Any) -> None:
        del service, before
        view = {
            "states": {str(pod): str(state) for pod, state in now.states().items()},
            "ready": sorted(now.routable),
            "alive": sorted(now.alive),
            "dead": sorted(now.dead),
            "held": now.held,
        }
        if view != self._last:
            self._last = view
            self._journal.note("view", **view)

    def concerned(self, service: Any, source: int, targets: Any) -> bool:
        del service, source, targets
        return False

    def moved(self, service: Any, moves: Any, *, missed: bool) -> None:
        del service, moves, missed


class CallingProcess:
    """Some tasks that ask for one uid after the other."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._namespace = role.namespace
        self._journal = Journal(role.journal, name=role.name, wall=time.time())
        self._drivers = Drivers(role, self._journal)
        self._client = self._drivers.client
        self._over = asyncio.Event()
        self._uids = self._rounds()
        self._pods: dict[tuple[int, int], tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def run(self) -> None:
        """From start to SIGTERM."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._over.set)
        states = self._drivers.states
        states.listen(Eyes(self._journal))
        self._journal.context = lambda: _known(states, Service(self._namespace, SVC))
        self._drivers.info.register_routing_state_changed(self._called_back)
        pulsing = loop.create_task(pulse(self._journal))
        await self._begin()
        async with asyncio.TaskGroup() as group:
            for task in range(TASKS):
                group.create_task(self._ask_on(task))
        pulsing.cancel()
        await self._drivers.close()
        self._journal.note("end")

    async def _begin(self) -> None:
        """As a process that is started anew until it can: a busy store may take longer than a call waits."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(StoreUnavailable):
                    return await self._client.init(self._namespace, SVC)

    def _called_back(self, _service: Any, _previous: Any, now: Any) -> None:
        self._journal.note("callback", states={str(pod): str(state) for pod, state in now.items()})

    def _rounds(self) -> Iterator[str]:
        uids = random.sample(UIDS, len(UIDS))
        while True:
            yield from uids
            self._journal.note("round")

    async def _ask_on(self, task: int) -> None:
        while not self._over.is_set():
            uid = next(self._uids)
            began = time.monotonic()
            hops: list[list[Any]] = []
            error = await self._request(task, uid, random.random() < WRITE_SHARE, hops)
            self._journal.note("call", uid=uid, began=began, hops=hops, error=error)
            if error or (hops and hops[-1][-1] != "served"):
                await asyncio.sleep(PAUSE_SECONDS)
            elif self._role.pause_seconds:
                await asyncio.sleep(self._role.pause_seconds)

    async def _request(self, task: int, uid: str, write: bool, hops: list[list[Any]]) -> str | None:
        """Ask until somebody serves; adds ``[pod, cached, compute began, compute ended, answer]`` for each attempt."""
        for _ in range(self._role.hops):
            cached = self._client.get_linked_in_cache(self._namespace, uid, SVC) is not None
            began = time.monotonic()
            BEGUN.set(began if self._role.colour == "sync" else None)
            try:
                pod = await self._client.compute_linked_pod(self._namespace, uid, SVC)
            except (StoreUnavailable, NoPodAvailable) as error:
                hops.append([None, cached, began, time.monotonic(), "error"])
                return type(error).__name__
            except Exception as error:  # noqa: BLE001  no other may come: the test says so
                return repr(error)
            found = time.monotonic()
            answer = await self._ask(task, pod, uid, write)
            kind = "unreachable" if answer is None else answer["answer"]
            hops.append([pod, cached, began, found, kind])
            if answer is None:
                self._client.cache_expired(self._namespace, uid, SVC)
                await self._client.report_unreachable(self._namespace, SVC, pod)
                if not self._role.again:
                    break
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if kind == "served":
                break
            if kind == "busy":
                await asyncio.sleep(PAUSE_SECONDS)
            elif answer["to"] is None:
                self._client.cache_expired(self._namespace, uid, SVC)
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self._client.set_cache(self._namespace, uid, SVC, answer["to"])
        return None

    async def _ask(self, task: int, pod: int, uid: str, write: bool) -> dict[str, Any] | None:
        """The pod's answer; None: it gives none."""
        try:
            async with asyncio.timeout(self._role.answer_seconds):
                if (task, pod) in self._pods and self._pods[task, pod][0].at_eof():
                    self._pods.pop((task, pod))[1].close()  # the pod that has hung up may have a successor
                if (task, pod) not in self._pods:
                    self._pods[task, pod] = await self._connect(pod)
                reader, writer = self._pods[task, pod]
                writer.write(json.dumps({"uid": uid, "write": write}).encode() + b"\n")
                if line := await reader.readline():
                    answer: dict[str, Any] = json.loads(line)
                    return answer
        except (OSError, TimeoutError):
            pass
        if (connection := self._pods.pop((task, pod), None)) is not None:
            connection[1].close()
        return None

    async def _connect(self, pod: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not self._role.port:
            return await asyncio.open_unix_connection(socket_of(self._role.folder, pod))
        host, port = split_address(await self._client.address(self._namespace, SVC, pod))
        return await asyncio.open_connection(host, port or self._role.port)


def _known(states: Any, service: Service) -> dict[str, object]:
    known = states.known(service)
    return {"read": None if known is None else known.read_at}


if __name__ == "__main__":
    os.nice(NICE)
    asyncio.run(CallingProcess(Role.mine()).run())
