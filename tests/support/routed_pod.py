"""A routed pod as a process: ``python -m support.routed_pod <role>``.

It answers requests on a unix socket, one line of JSON each: ``{"uid": …, "write": bool}``. The answer is ``served``;
``moved`` with the pod that has the uid, or None; or ``busy``: ask again. For a write it asks the fence first.
"""

import asyncio
import contextlib
import json
import random
import signal
import time
from collections import deque
from typing import Any

from stateful_route.domain.errors import InTransit, NotRunning, Replaced, StoreUnavailable
from stateful_route.domain.routing import RoutingState
from stateful_route.drivers.identity import Identity
from stateful_route.drivers.server_options import ServerHooks
from support.journal import Journal
from support.routed_service import SVC, Drivers, Role, pulse, socket_of

SAVE_PAUSE_SECONDS = 0.01
HOLDS_SECONDS = 0.5
PLANNED = 20

SERVED = {"answer": "served"}
BUSY = {"answer": "busy"}


class RoutedPod:
    """The app: it has the states of its uids in memory, serves those that it owns, and saves them now and then."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._journal = Journal(role.journal, name=role.name, ordinal=role.ordinal, wall=time.time())
        self._drivers = Drivers(role, self._journal)
        self._me = role.ordinal
        self._memory: dict[str, bool] = {}
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = {}
        hooks = ServerHooks(
            on_release=self._release if role.colour == "async" else self._forget_released,
            on_gained=lambda uid, source: self._journal.note("gained", uid=uid, source=source),
            on_moved=self._moved,
            on_replaced=lambda: self._journal.note("replaced"),
            on_assume_replaced=lambda: self._journal.note("assume replaced"),
        )
        self._server = self._drivers.server(Identity(role.namespace, SVC, role.ordinal, role.pod_uid), hooks)

    async def run(self) -> None:
        """From start to SIGTERM."""
        loop = asyncio.get_running_loop()
        background = [loop.create_task(work) for work in (pulse(self._journal), self._save(), self._tell_held())]
        listening = await self._listen()
        await self._server.start()
        self._journal.note("ready")
        if self._role.colour == "async":
            await self._server.run_until_terminated()
        else:
            asked = asyncio.Event()
            loop.add_signal_handler(signal.SIGTERM, asked.set)
            await asked.wait()
            await self._server.stop()
        for task in background:
            task.cancel()
        listening.close()
        self._journal.note("stats", **_stats(self._server))
        await self._hang_up()
        await self._drivers.close()
        self._journal.note("end")

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_unix_server(self._converse, socket_of(self._role.folder, self._me))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections[writer] = asyncio.current_task()
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                writer.write(await self._reply(line))
                await writer.drain()
        del self._connections[writer]
        writer.close()

    async def _reply(self, line: bytes) -> bytes:
        asked = json.loads(line)
        answer = await self._answer(asked["uid"], write=asked["write"])
        return json.dumps(answer).encode() + b"\n"

    async def _hang_up(self) -> None:
        tasks = [task for task in self._connections.values() if task is not None]
        for writer in list(self._connections):
            writer.close()
        if tasks:
            await asyncio.wait(tasks)

    async def _answer(self, uid: str, *, write: bool) -> dict[str, Any]:
        try:
            if not self._server.owns(uid) and (answer := await self._take(uid)) is not None:
                return answer
            at, owned, epoch = time.monotonic(), self._server.owns(uid), self._server.token(uid)
            if not owned or epoch is None:
                return BUSY
            if write and not await self._server.is_owner(uid):
                return {"answer": "moved", "to": None}
        except (NotRunning, Replaced):
            return {"answer": "moved", "to": None}
        except (StoreUnavailable, InTransit):
            return BUSY
        self._memory[uid] = True
        self._journal.note("served", uid=uid, epoch=epoch, since=at, write=write)
        return SERVED

    async def _take(self, uid: str) -> dict[str, Any] | None:
        """Own the uid from now on; None: done, else what to answer. Who denies takes no new uids, only linked ones."""
        if self._server.effective_state is not RoutingState.READY:
            link = await self._drivers.executor.get_link(self._role.namespace, uid, SVC)
            if link is None or link.ordinal != self._me:
                return {"answer": "moved", "to": None if link is None else link.ordinal}
        done, pod = await self._server.try_set_linked_pod(uid)
        return None if done else {"answer": "moved", "to": pod}

    async def _save(self) -> None:
        """Save states as it was planned a while ago, whoever has the uids by now: it is the fence that has to know."""
        planned: deque[str] = deque()
        while True:
            await asyncio.sleep(SAVE_PAUSE_SECONDS)
            if self._memory:
                planned.append(random.choice(list(self._memory)))
            if len(planned) > PLANNED or (planned and not self._memory):
                uid = planned.popleft()
                with contextlib.suppress(StoreUnavailable):
                    saved = await self._server.is_owner(uid)
                    self._journal.note("save", uid=uid, saved=saved)

    async def _tell_held(self) -> None:
        while True:
            await asyncio.sleep(HOLDS_SECONDS)
            self._journal.note("holds", uids=self._server.owned(), **_stats(self._server))

    async def _release(self, uid: str) -> None:
        self._forget_released(uid)
        await asyncio.sleep(0.002)

    def _forget_released(self, uid: str) -> None:
        self._journal.note("release", uid=uid, epoch=self._server.token(uid))
        self._memory.pop(uid, None)

    def _moved(self, uid: str, target: int | None) -> None:
        self._journal.note("moved", uid=uid, to=target)
        self._memory.pop(uid, None)


def _stats(server: Any) -> dict[str, int]:
    stats = server.stats
    return {name: getattr(stats, name) for name in stats.__slots__}


if __name__ == "__main__":
    asyncio.run(RoutedPod(Role.mine()).run())
